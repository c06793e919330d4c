//! Networks on points, curves and images, with and without batch statistics.

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};
use innerloop_meta::{Loss, Point, Problem};
use innerloop_nn::{
    Activation, Conv4, Downsampling, Head, Init, Mlp, Model, NormStatistics, initialise, loss,
};

use super::{Case, Task, draw};

/// The loss of a network's outputs.
#[derive(Clone, Copy)]
enum Fit {
    Values,
    Classes,
}

/// A network on labelled examples; batch statistics normalise and are reported.
struct Supervised {
    model: Box<dyn Model>,
    fit: Fit,
    x: Shape,
    support: usize,
    query: usize,
}

impl Supervised {
    fn shapes(&self, examples: usize) -> Vec<Shape> {
        let y = match self.fit {
            Fit::Values => vec![examples, 1],
            Fit::Classes => vec![examples],
        };
        vec![[&[examples], self.x.as_slice()].concat(), y]
    }
}

impl Problem for Supervised {
    fn parameters(&self) -> Params<Shape> {
        self.model.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        self.model.statistics()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        self.shapes(examples)
    }

    fn support_examples(&self) -> usize {
        self.support
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.shapes(self.query)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let norm = NormStatistics::Batch { groups: 1 };
        let forward = self.model.forward(&at.params, support[0], &norm);
        let value = match self.fit {
            Fit::Values => loss::mean_squared_error(forward.output, support[1]),
            Fit::Classes => loss::cross_entropy(forward.output, support[1]),
        };
        Loss { value, output: forward.output, statistics: forward.statistics }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        self.support_loss(at, query)
    }
}

/// `n` points of the curve `a sin(x₁ + x₂ − p)` that the key names.
fn curve(key: Key, n: usize, set: &str) -> Vec<Tensor> {
    let shape = random(key.with_stream("curve"), &[2], 1.0);
    let (a, p) = (1.5 + 0.5 * shape.get(0).tanh(), shape.get(1));
    let x = random(key.with_stream(set), &[n, 2], 1.0);
    let y = (0..n).map(|i| a * (x.get(2 * i) + x.get(2 * i + 1) - p).sin()).collect();
    vec![x, Tensor::from_f64(&[n, 1], y)]
}

/// Regression of random curves by a smooth network: layers of 2, 6, 4 and 1 units.
pub(crate) fn mlp(support: usize, query: usize) -> Case {
    let model = Mlp::new(&[2, 6, 4, 1], Activation::Tanh, Init::Torch);
    let theta = initialise(model.parameters(), Key::new(71), Dtype::F64);
    let (fit, x) = (Fit::Values, vec![2]);
    Case {
        name: "mlp",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: curve(key, support, "support"),
            query: curve(key, query, "query"),
            key,
        }),
    }
}

/// Classification of noisy points in the plane into 3 classes by a smooth network.
pub(crate) fn classes() -> Case {
    ways(3)
}

/// The same with another number of classes.
pub(crate) fn ways(ways: usize) -> Case {
    let model = Mlp::new(&[2, 6, ways], Activation::Tanh, Init::Torch);
    let theta = initialise(model.parameters(), Key::new(79), Dtype::F64);
    let (fit, x, support, query) = (Fit::Classes, vec![2], 2 * ways, 3 * ways);
    let points = move |key: Key, n: usize, set: &str| {
        let centres = random(key.with_stream("centres"), &[ways, 2], 1.5);
        let noise = random(key.with_stream(set), &[n, 2], 0.5);
        let at = |i: usize| noise.get(i) + centres.get((i / 2 % ways) * 2 + i % 2);
        let x = Tensor::from_f64(&[n, 2], (0..2 * n).map(at).collect());
        vec![x, Tensor::from_f64(&[n], (0..n).map(|i| (i % ways) as f64).collect())]
    };
    Case {
        name: "classes",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.3,
        draw: Box::new(move |key| Task {
            support: points(key, support, "support"),
            query: points(key, query, "query"),
            key,
        }),
    }
}

/// Classification of noisy images by four convolutional blocks with batch norm: 3 ways, 2 shots.
pub(crate) fn conv() -> Case {
    const WAYS: usize = 3;
    let options = (Downsampling::MaxPool, Head::Flatten);
    let model = Conv4::new([16, 16, 1], 4, WAYS, options, (Init::Xavier, 1e-3));
    let theta = initialise(model.parameters(), Key::new(73), Dtype::F64);
    let (fit, x, support, query) = (Fit::Classes, vec![16, 16, 1], 2 * WAYS, 3 * WAYS);
    let images = |key: Key, n: usize, set: &str| {
        let classes = random(key.with_stream("classes"), &[WAYS, 256], 1.0);
        let noise = random(key.with_stream(set), &[n, 256], 0.5);
        let pixel = |at: usize| noise.get(at) + classes.get((at / 256 % WAYS) * 256 + at % 256);
        let x = Tensor::from_f64(&[n, 16, 16, 1], (0..n * 256).map(pixel).collect());
        vec![x, Tensor::from_f64(&[n], (0..n).map(|i| (i % WAYS) as f64).collect())]
    };
    Case {
        name: "conv",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.02,
        draw: Box::new(move |key| Task {
            support: images(key, support, "support"),
            query: images(key, query, "query"),
            key,
        }),
    }
}

/// A smooth body and head with every feature a problem can have: queries are normalised by the support set's
/// statistics, which are reported, and a carried row that depends on the step is added.
struct Normalised {
    steps: usize,
    support: usize,
    query: usize,
}

const UNITS: usize = 4;

impl Normalised {
    /// The loss of `data`, normalised by the statistics of `reference`.
    fn loss<'g>(at: &Point<'g>, reference: Var<'g>, data: &[Var<'g>]) -> Loss<'g> {
        let p = &at.params;
        let units = |x: Var<'g>| x.matmul_t(p["body.weight"]);
        let over = 1.0 / reference.shape()[0] as f64;
        let mean = units(reference).sum_to(&[UNITS]) * over;
        let centred = units(reference) - mean;
        let var = (centred * centred).sum_to(&[UNITS]) * over;
        let shift = at.carried["shift"];
        let row = at.step.reshape(&[1, shift.shape()[0]]).matmul(shift).reshape(&[UNITS]);
        let normal = (units(data[0]) - mean) * (var + 0.1).sqrt().recip();
        let hidden = (normal * p["body.gain"] + row).tanh();
        let output = hidden.matmul_t(p["head.weight"]) + p["head.bias"];
        let statistics = [("body.mean".to_string(), mean), ("body.var".to_string(), var)];
        Loss {
            value: loss::mean_squared_error(output, data[1]),
            output,
            statistics: statistics.into_iter().collect(),
        }
    }
}

impl Problem for Normalised {
    fn parameters(&self) -> Params<Shape> {
        let shapes = [
            ("body.weight", vec![UNITS, 2]),
            ("body.gain", vec![UNITS]),
            ("head.weight", vec![1, UNITS]),
            ("head.bias", vec![1]),
        ];
        shapes.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect()
    }

    fn carried(&self) -> Params<Shape> {
        [("shift".to_string(), vec![self.steps + 1, UNITS])].into_iter().collect()
    }

    fn statistics(&self) -> Params<Shape> {
        ["body.mean", "body.var"].into_iter().map(|name| (name.to_string(), vec![UNITS])).collect()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        vec![vec![examples, 2], vec![examples, 1]]
    }

    fn support_examples(&self) -> usize {
        self.support
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.support_shapes(self.query)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        Normalised::loss(at, support[0], support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        Normalised::loss(at, support[0], query)
    }
}

/// Regression of random curves with statistics and with carried values for `steps` inner steps.
pub(crate) fn normalised(steps: usize) -> Case {
    let problem = Normalised { steps, support: 7, query: 5 };
    Case {
        name: "normalised",
        theta: problem.parameters().map_named(|name, shape| draw("theta", name, shape, 0.8)),
        problem: Box::new(problem),
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: curve(key, 7, "support"),
            query: curve(key, 5, "query"),
            key,
        }),
    }
}
