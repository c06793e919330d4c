//! Pictures, as SVG.

use std::fmt::Write;

/// Paths of a point on one task of navigation.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPaths {
    /// The goal.
    pub goal: [f64; 2],
    /// Paths before adaptation.
    pub before: Vec<Vec<[f64; 2]>>,
    /// Paths after adaptation.
    pub after: Vec<Vec<[f64; 2]>>,
}

/// Side of one task's frame in pixels, and the part of the plane it shows.
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
