//! Line charts as hand-written SVG: a chart here is a few hundred bytes of markup, whereas a plotting library would
//! bring fixed colours that are invisible on either light or dark pages.

use std::fmt::Write;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences have equal lengths.
    Linear,
    /// The same, with labels at whole numbers only.
    Whole,
    /// Equal ratios have equal lengths; values not above zero are omitted.
    Log,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How it is divided.
    pub scale: Scale,
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// `x`, `y`, and half the width of the interval around `y`, in the order of `x`. Points that are not finite are
    /// omitted.
    pub points: Vec<[f64; 3]>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), scale: Scale::Linear }
    }

    /// An axis of whole numbers.
    pub fn whole(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), scale: Scale::Whole }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), scale: Scale::Log }
    }
}

/// Width and height of a chart with its labels.
const SIZE: [f64; 2] = [440.0, 300.0];
/// Room for labels: left, right, top, bottom.
const MARGIN: [f64; 4] = [66.0, 16.0, 34.0, 48.0];
const LEGEND_LINE: f64 = 18.0;
const LEGEND_COLUMN: f64 = 214.0;
/// Six colours that colour-blind readers can distinguish (Okabe and Ito 2008) and an olive, dark enough for a light
/// page and light enough for a dark one; dashes distinguish a second and a third round of them.
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00"];
const DASHES: [&str; 3] = ["none", "6 3", "2 3"];
const STYLE: &str = "svg{--ink:#222;--grid:#ddd;--paper:#fff}\
@media(prefers-color-scheme:dark){svg{--ink:#ddd;--grid:#444;--paper:#161616}}\
text{font:12px sans-serif;fill:var(--ink)}.title{font-weight:bold}\
.grid{stroke:var(--grid)}.frame{fill:none;stroke:var(--ink)}.line{fill:none;stroke-width:1.8}\
.band{stroke-width:1;opacity:.55}";

/// The charts side by side, `columns` in a row; above one common legend if all have the same lines, else each above its
/// own.
pub fn svg(charts: &[Chart], columns: usize) -> String {
    let shared = charts.windows(2).all(|pair| pair[0].names() == pair[1].names());
    let width = SIZE[0] * columns.min(charts.len()) as f64;
    let across = if shared { width } else { SIZE[0] };
    let in_row = ((across / LEGEND_COLUMN) as usize).max(1);
    let most = charts.iter().map(|chart| chart.lines.len()).max().unwrap_or(0);
    let legend_height = LEGEND_LINE * (most.div_ceil(in_row) as f64 + 1.0);
    let cell = if shared { SIZE[1] } else { SIZE[1] + legend_height };
    let top = cell * charts.len().div_ceil(columns) as f64;
    let height = if shared { top + legend_height } else { top };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\"><style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill:var(--paper)\"/>\n"
    );
    for (i, chart) in charts.iter().enumerate() {
        let at = [SIZE[0] * (i % columns) as f64, cell * (i / columns) as f64];
        let _ = writeln!(out, "<g transform=\"translate({},{})\">", at[0], at[1]);
        chart.draw(&mut out);
        if !shared {
            legend(&chart.names(), (SIZE[1], in_row), &mut out);
        }
        out.push_str("</g>\n");
    }
    if let (true, Some(first)) = (shared, charts.first()) {
        legend(&first.names(), (top, in_row), &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn legend(names: &[&str], (top, in_row): (f64, usize), out: &mut String) {
    for (i, name) in names.iter().enumerate() {
        let x = MARGIN[0] / 2.0 + LEGEND_COLUMN * (i % in_row) as f64;
        let y = top + LEGEND_LINE * ((i / in_row) as f64 + 0.5);
        let _ = writeln!(
            out,
            "<path class=\"line\" {} d=\"M{x} {y}h20\"/><text x=\"{}\" y=\"{}\">{}</text>",
            looks(i),
            x + 25.0,
            y + 4.0,
            escaped(name)
        );
    }
}

impl Chart {
    fn names(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.name.as_str()).collect()
    }

    fn draw(&self, out: &mut String) {
        let middle = SIZE[0] / 2.0;
        let _ = writeln!(
            out,
            "<text class=\"title\" x=\"{middle}\" y=\"20\" text-anchor=\"middle\">{}</text>",
            escaped(&self.title)
        );
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let x = Range::of(self.x.scale, all().map(|p| p[0]));
        let y = Range::of(self.y.scale, all().flat_map(|p| [p[1], p[1] - p[2], p[1] + p[2]]));
        let (Some(x), Some(y)) = (x, y) else {
            let _ = writeln!(
                out,
                "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">nothing to show</text>",
                SIZE[1] / 2.0
            );
            return;
        };
        let [left, right, top, bottom] = MARGIN;
        let (width, height) = (SIZE[0] - left - right, SIZE[1] - top - bottom);
        let place_x = |v: f64| left + width * x.share(v);
        let place_y = |v: f64| top + height * (1.0 - y.share(v));
        for tick in x.ticks() {
            let at = place_x(tick);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{at:.1} {top}v{height}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                top + height + 16.0,
                label(tick)
            );
        }
        for tick in y.ticks() {
            let at = place_y(tick);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left} {at:.1}h{width}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                label(tick)
            );
        }
        let _ = writeln!(
            out,
            "<rect class=\"frame\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(14,{})rotate(-90)\" text-anchor=\"middle\">{}</text>",
            left + width / 2.0,
            SIZE[1] - 12.0,
            escaped(&self.x.label),
            top + height / 2.0,
            escaped(&self.y.label)
        );
        for (i, line) in self.lines.iter().enumerate() {
            let (mut path, mut bars) = (String::new(), String::new());
            let shown = line.points.iter().filter(|p| x.holds(p[0]) && y.holds(p[1]));
            for &[at, value, half] in shown {
                let step = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{step}{:.1} {:.1}", place_x(at), place_y(value));
                if half > 0.0 && y.holds(value - half) && y.holds(value + half) {
                    let (low, high) = (place_y(value - half), place_y(value + half));
                    let _ = write!(bars, "M{:.1} {low:.1}V{high:.1}", place_x(at));
                }
            }
            // A single point is a line of no length, which a round cap makes visible.
            if path.matches('L').count() == 0 && !path.is_empty() {
                path.push_str("h0.01");
            }
            let looks = looks(i);
            let _ = writeln!(
                out,
                "<path class=\"line\" stroke-linecap=\"round\" {looks} d=\"{path}\"/>\
                 <path class=\"band\" {looks} d=\"{bars}\"/>"
            );
        }
    }
}

/// The range of an axis, on its own scale.
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Range {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Range> {
        let fits = |v: &f64| v.is_finite() && (scale != Scale::Log || *v > 0.0);
        let measured = |v: f64| if scale == Scale::Log { v.log10() } else { v };
        let (low, high) = values
            .filter(fits)
            .map(measured)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        let slack = if high > low { 0.03 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
        Some(Range { scale, low: low - slack, high: high + slack })
    }

    fn measured(&self, v: f64) -> f64 {
        if self.scale == Scale::Log { v.log10() } else { v }
    }

    fn holds(&self, v: f64) -> bool {
        let at = self.measured(v);
        at >= self.low && at <= self.high
    }

    fn share(&self, v: f64) -> f64 {
        (self.measured(v) - self.low) / (self.high - self.low)
    }

    /// Four to ten round values; on a logarithmic axis, powers of ten, with round values in between if those are too
    /// few.
    fn ticks(&self) -> Vec<f64> {
        let (first, last) = (self.low.ceil(), self.high.floor());
        if self.scale == Scale::Log && last - first >= 2.0 {
            let every = ((last - first) / 6.0).ceil().max(1.0) as usize;
            return (first as i32..=last as i32).step_by(every).map(|e| 10f64.powi(e)).collect();
        }
        let values = |v: f64| if self.scale == Scale::Log { 10f64.powf(v) } else { v };
        let (low, high) = (values(self.low), values(self.high));
        if self.scale == Scale::Log && high > 4.0 * low {
            let powers = self.low.floor() as i32..=self.high.ceil() as i32;
            let all = powers.flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e)));
            return all.filter(|v| (low..=high).contains(v)).collect();
        }
        let rough = (high - low) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough);
        let step = step.unwrap_or(rough);
        let step = if self.scale == Scale::Whole { step.max(1.0) } else { step };
        let (from, to) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        (from..=to).map(|i| i as f64 * step).collect()
    }
}

/// A number in few characters.
fn label(v: f64) -> String {
    if v != 0.0 && !(1e-3..1e5).contains(&v.abs()) {
        return format!("{v:.0e}");
    }
    let text = format!("{v:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

fn looks(i: usize) -> String {
    let (colour, dash) = (COLOURS[i % COLOURS.len()], DASHES[i / COLOURS.len() % DASHES.len()]);
    format!("stroke=\"{colour}\" stroke-dasharray=\"{dash}\"")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: Vec<[f64; 3]>) -> Chart {
        let y = Axis { label: "loss <nats>".into(), scale };
        let line = Line { name: "a & b".into(), points };
        Chart { title: "T".into(), x: Axis::linear("time (s)"), y, lines: vec![line] }
    }

    #[test]
    fn a_chart_has_its_labels_its_line_and_a_legend() {
        let points = vec![[0.0, 1.0, 0.1], [1.0, 3.0, 0.1], [2.0, f64::NAN, 0.1]];
        let text = svg(&[chart(Scale::Linear, points)], 2);
        for part in ["time (s)", "loss &lt;nats&gt;", "a &amp; b", "prefers-color-scheme:dark"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let path = text.split("d=\"M").find(|part| part.contains('L')).unwrap();
        assert_eq!(path.split('"').next().unwrap().matches('L').count(), 1, "NaN is left out");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn what_is_empty_or_not_positive_is_no_panic() {
        assert!(svg(&[chart(Scale::Linear, vec![])], 1).contains("nothing to show"));
        let text = svg(&[chart(Scale::Log, vec![[0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])], 1);
        assert!(text.contains("nothing to show"));
        let text = svg(&[chart(Scale::Log, vec![[0.0, 5.0, 9.0], [0.0, 5.0, f64::NAN]])], 1);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |scale, values: [f64; 2]| {
            let range = Range::of(scale, values.into_iter()).unwrap();
            range.ticks().into_iter().map(label).collect::<Vec<_>>()
        };
        assert_eq!(ticks(Scale::Linear, [0.0, 10.0]), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(ticks(Scale::Log, [0.5, 200.0]), ["1", "10", "100"]);
        assert_eq!(ticks(Scale::Log, [2.0, 40.0]), ["2", "5", "10", "20"]);
        assert_eq!(ticks(Scale::Whole, [0.0, 1.0]), ["0", "1"]);
        assert_eq!(ticks(Scale::Log, [2.0, 4.0]), ["2", "2.5", "3", "3.5", "4"]);
        assert_eq!(ticks(Scale::Linear, [-0.2, 0.2]), ["-0.2", "-0.1", "0", "0.1", "0.2"]);
    }
}
