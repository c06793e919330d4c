//! What was matched, as SVG.

use std::fmt::Write;

use crate::course::Matched;

const CELL: f64 = 96.0;
const MARGIN: f64 = 76.0;
const GAP: f64 = 10.0;

/// One cell per pair, source layers down, target layers across: the darker, the larger its weight λ, which is written
/// in it. Below are bars with the weight of each channel of the source layer in decreasing order; the line marks where
/// all of them would be with equal weights.
pub fn matched(all: &[Matched]) -> String {
    let count = |axis: usize| all.iter().map(|one| one.pair[axis] + 1).max().unwrap_or(0);
    let (rows, columns) = (count(0), count(1));
    let most = all.iter().map(|one| one.weight).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) =
        (MARGIN + columns as f64 * (CELL + GAP), MARGIN + rows as f64 * (CELL + GAP));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut text = |x: f64, y: f64, what: &str, fill: &str| {
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\" text-anchor=\"middle\">{what}</text>"
        )
        .expect("strings take text");
    };
    for column in 0..columns {
        let x = MARGIN + (CELL + GAP) * column as f64 + CELL / 2.0;
        text(x, MARGIN - 14.0, &format!("target {}", column + 1), "#222222");
    }
    for row in 0..rows {
        let y = MARGIN + (CELL + GAP) * row as f64 + CELL / 2.0;
        text(MARGIN / 2.0, y, &format!("source {}", row + 1), "#222222");
    }
    for one in all {
        let [row, column] = one.pair.map(|at| MARGIN + (CELL + GAP) * at as f64);
        let share = (one.weight / most).clamp(0.0, 1.0);
        let tone = |full: f64| 245.0 + (full - 245.0) * share;
        let fill = format!("rgb({:.0},{:.0},{:.0})", tone(24.0), tone(78.0), tone(140.0));
        let ink = if share > 0.55 { "#ffffff" } else { "#222222" };
        writeln!(
            svg,
            "<rect x=\"{column:.1}\" y=\"{row:.1}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{fill}\" \
             stroke=\"#999999\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{ink}\" text-anchor=\"middle\">{:.2}</text>",
            column + CELL / 2.0,
            row + 24.0,
            one.weight
        )
        .expect("strings take text");
        bars(&mut svg, [column + 8.0, row + 34.0], &one.channels, ink);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Bars of channel weights; the box is four times as high as equal weights.
fn bars(svg: &mut String, [x, y]: [f64; 2], channels: &[f64], ink: &str) {
    let (width, height) = (CELL - 16.0, CELL - 42.0);
    let mut sorted = channels.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let step = width / sorted.len().max(1) as f64;
    for (i, weight) in sorted.iter().enumerate() {
        let tall = (weight * sorted.len() as f64 / 4.0).clamp(0.0, 1.0) * height;
        writeln!(
            svg,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\" fill=\"{ink}\" fill-opacity=\"0.7\"/>",
            x + i as f64 * step,
            y + height - tall,
            0.8 * step
        )
        .expect("strings take text");
    }
    let level = y + 0.75 * height;
    writeln!(
        svg,
        "<line x1=\"{x:.1}\" y1=\"{level:.1}\" x2=\"{:.1}\" y2=\"{level:.1}\" stroke=\"{ink}\" stroke-dasharray=\"2 2\"/>",
        x + width
    )
    .expect("strings take text");
}
