//! Pictures, as SVG.

use std::fmt::Write;

/// Paths of a point on one task of navigation.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPaths {
    /// Where it should go.
    pub goal: [f64; 2],
    /// Its paths before adaptation.
    pub before: Vec<Vec<[f64; 2]>>,
    /// Its paths after.
    pub after: Vec<Vec<[f64; 2]>>,
}

/// Side of one task's frame, in pixels, and what of the plane it shows.
const SIDE: f64 = 240.0;
const REACH: f64 = 0.9;
const GREY: &str = "#9a9a9a";
const BLUE: &str = "#1f6fb4";
const RED: &str = "#c23b22";

/// Paths of several tasks side by side: grey before adaptation, blue after, the goal a red ring.
pub fn paths(tasks: &[TaskPaths]) -> String {
    let at = |[x, y]: [f64; 2]| {
        let place = |value: f64| (value / REACH + 1.0) * SIDE / 2.0;
        format!("{:.1},{:.1}", place(x), place(-y))
    };
    let mut out = header(SIDE * tasks.len() as f64, SIDE + 24.0);
    for (i, task) in tasks.iter().enumerate() {
        let _ = writeln!(
            out,
            "<svg x=\"{:.0}\" y=\"0\" width=\"{SIDE}\" height=\"{SIDE}\"><rect width=\"{SIDE}\" height=\"{SIDE}\" \
             fill=\"none\" stroke=\"#cccccc\"/>",
            i as f64 * SIDE
        );
        for (paths, colour) in [(&task.before, GREY), (&task.after, BLUE)] {
            for path in paths {
                let points: Vec<String> = path.iter().map(|&point| at(point)).collect();
                let _ = writeln!(
                    out,
                    "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>",
                    points.join(" ")
                );
            }
        }
        let goal = at(task.goal);
        let (x, y) = goal.split_once(',').expect("two coordinates");
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"none\" stroke=\"{RED}\" stroke-width=\"2\"/></svg>"
        );
    }
    legend(&mut out, SIDE + 16.0, &[("before adaptation", GREY), ("after", BLUE), ("goal", RED)]);
    out + "</svg>\n"
}

/// Mean return by iteration, a line for every return that an iteration has, named by its place: `rows` are iterations.
/// Zero is always in the frame.
pub fn learning_curve(rows: &[(u64, Vec<f64>)], name: impl Fn(usize) -> String) -> String {
    let (width, height, left) = (640.0, 320.0, 56.0);
    let all = || rows.iter().flat_map(|(_, returns)| returns.iter().copied());
    let [low, high] = [f64::min, f64::max].map(|pick| all().fold(0.0, pick));
    let range = (high - low).max(1.0);
    let last = rows.last().map_or(1, |(iteration, _)| *iteration).max(1) as f64;
    let x = |iteration: u64| left + iteration as f64 / last * (width - left - 8.0);
    let y = |value: f64| 8.0 + (high - value) / range * (height - 32.0);
    let mut out = header(width, height + 24.0);
    for tick in 0..=4 {
        // Zero added, so that none is shown as −0.
        let value = high - range * f64::from(tick) / 4.0 + 0.0;
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{width}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{value:.0}</text>",
            y(value),
            left - 6.0,
            y(value) + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">iteration {last:.0}</text>",
        width - 8.0,
        height - 8.0
    );
    let lines = rows.first().map_or(0, |(_, returns)| returns.len());
    let colours = [GREY, BLUE, RED, "#3a8f4d", "#7d4fa3"];
    let colour = |k: usize| colours[k % colours.len()];
    for k in 0..lines {
        let points: Vec<String> = rows
            .iter()
            .filter(|(_, returns)| returns.len() > k)
            .map(|(iteration, returns)| format!("{:.1},{:.1}", x(*iteration), y(returns[k])))
            .collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>",
            colour(k),
            points.join(" ")
        );
    }
    let names: Vec<String> = (0..lines).map(name).collect();
    let entries: Vec<(&str, &str)> =
        names.iter().enumerate().map(|(k, name)| (name.as_str(), colour(k))).collect();
    legend(&mut out, height + 16.0, &entries);
    out + "</svg>\n"
}

fn header(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

fn legend(out: &mut String, y: f64, entries: &[(&str, &str)]) {
    let mut x = 8.0;
    for (name, colour) in entries {
        let _ = writeln!(
            out,
            "<line x1=\"{x:.0}\" x2=\"{:.0}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.0}\" y=\"{y:.0}\">{name}</text>",
            x + 16.0,
            y - 4.0,
            y - 4.0,
            x + 20.0
        );
        x += 36.0 + 7.0 * name.len() as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heights of the points of every line of a curve.
    fn heights(svg: &str) -> Vec<Vec<f64>> {
        let lines = svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let height = |point: &str| point.split_once(',').unwrap().1.parse().unwrap();
        lines.map(|line| line.split(' ').map(height).collect()).collect()
    }

    #[test]
    fn returns_of_either_sign_stay_in_the_frame() {
        for (low, high) in [(-80.0, -3.0), (-50.0, 310.0), (90.0, 300.0), (0.0, 0.0)] {
            let rows = [(1, vec![low, high]), (2, vec![high, low])];
            let svg = learning_curve(&rows, |k| format!("line {k}"));
            assert!(svg.contains(">line 1</text>") && !svg.contains("NaN"), "{svg}");
            let [one, two] = heights(&svg).try_into().unwrap();
            let inside = |y: &f64| (8.0..=296.0).contains(y);
            assert!(one.iter().chain(&two).all(inside), "{low} to {high}: {one:?} {two:?}");
            assert!(low == high || one[0] > one[1], "higher returns lie higher");
        }
    }
}
