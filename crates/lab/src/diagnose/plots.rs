//! Charts of a diagnosis: over training, then at the last checkpoint.

use super::{Average, Diagnosis, Point};
use crate::plot::{self, Axis, Chart, Line};

/// A quantity over training or over inner steps, with its name in the legend.
const NORMS: [(&str, &str); 2] = [("gradient_norm", "‖g‖"), ("hessian_gradient_norm", "‖H g‖")];
const CURVATURES: [(&str, &str); 3] = [
    ("top_eigenvalue", "largest eigenvalue of H"),
    ("curvature", "gᵀHg / ‖g‖²"),
    ("bottom_eigenvalue", "smallest eigenvalue of H"),
];
const COSINES: [(&str, &str); 3] = [
    ("cosine_with_path", "cos(θ − φ_K, g_k)"),
    ("cosine_with_first", "cos(g_0, g_k)"),
    ("support_query_cosine", "cos(support, query gradient)"),
];

pub(super) fn svg(found: &Diagnosis) -> String {
    let last = found.points.last().expect("a run has a start");
    let charts = [
        training(found, "at θ: gradient", "norm", &NORMS),
        steps(last, "along the inner loop: gradient", "norm", &NORMS),
        training(found, "at θ: curvature", "second derivative of the support loss", &CURVATURES),
        steps(
            last,
            "along the inner loop: curvature",
            "second derivative of the support loss",
            &CURVATURES,
        ),
        paths(found),
        steps(last, "along the inner loop: directions", "cosine", &COSINES),
        approximations(found, "meta-gradients: direction", "cosine with the exact one", |a| {
            a.cosine
        }),
        approximations(found, "meta-gradients: length", "norm over that of the exact one", |a| {
            a.ratio
        }),
        lines(last),
    ];
    plot::svg(&charts, 2)
}

fn point(x: f64, y: Average) -> [f64; 3] {
    [x, y.mean, y.ci95]
}

/// A line over training.
fn over(found: &Diagnosis, name: &str, of: impl Fn(&Point) -> Average) -> Line {
    let points = found.points.iter().map(|at| point(at.iteration as f64, of(at))).collect();
    Line { name: name.into(), points }
}

fn iterations() -> Axis {
    Axis::whole("outer iterations")
}

fn axis(label: &str) -> Axis {
    if label.starts_with("norm") { Axis::log(label) } else { Axis::linear(label) }
}

fn training(found: &Diagnosis, title: &str, y: &str, of: &[(&'static str, &str)]) -> Chart {
    let line = |&(key, name): &(&str, &str)| over(found, name, |point| point.steps[0][key]);
    let lines = of.iter().map(line).collect();
    Chart { title: title.into(), x: iterations(), y: axis(y), lines }
}

fn steps(last: &Point, title: &str, y: &str, of: &[(&'static str, &str)]) -> Chart {
    let line = |&(key, name): &(&str, &str)| {
        let steps = last.steps.iter().enumerate();
        Line { name: name.into(), points: steps.map(|(k, at)| point(k as f64, at[key])).collect() }
    };
    let title = format!("{title}, iteration {}", last.iteration);
    let x = Axis::whole("inner steps k");
    Chart { title, x, y: axis(y), lines: of.iter().map(line).collect() }
}

fn paths(found: &Diagnosis) -> Chart {
    let lines = vec![
        over(found, "straightness ‖φ_K − θ‖ / path", |at| at.straightness),
        over(found, "mean cos(θ − φ_K, g_k)", |at| at.mean_cosine_with_path),
        over(found, "cos(support, query gradient)", |at| at.steps[0]["support_query_cosine"]),
    ];
    let y = Axis::linear("cosine, quotient");
    Chart { title: "path of the inner loop".into(), x: iterations(), y, lines }
}

fn approximations(
    found: &Diagnosis,
    title: &str,
    y: &str,
    of: impl Fn(&super::Approximation) -> Average,
) -> Chart {
    let names = found.points[0].approximations.iter().enumerate();
    let line = |(i, a): (usize, &super::Approximation)| {
        over(found, &a.name, |at| of(&at.approximations[i]))
    };
    Chart { title: title.into(), x: iterations(), y: axis(y), lines: names.map(line).collect() }
}

fn lines(last: &Point) -> Chart {
    let line = |name: &str, of: fn(&super::Line) -> Average| Line {
        name: name.into(),
        points: last.lines.iter().map(|at| point(at.at, of(at))).collect(),
    };
    Chart {
        title: format!("loss along lines from θ, iteration {}", last.iteration),
        x: Axis::linear("distance (lengths of the first inner step)"),
        y: Axis::linear("loss"),
        lines: vec![
            line("support, down the gradient", |at| at.support_down_gradient),
            line("query, down the gradient", |at| at.query_down_gradient),
            line("support, random direction", |at| at.support_random),
            line("query, random direction", |at| at.query_random),
        ],
    }
}
