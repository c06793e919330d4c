//! Compares expected with computed arrays.

use std::fmt;

use innerloop_engine::Tensor;

use super::case::Case;
use super::compute::Results;

/// One array, or a group of them taken together, compared with the file.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Name of the array without the precision's prefix.
    pub name: String,
    /// ‖ours − theirs‖ / ‖theirs‖. A tensor whose expected value is zero up to rounding (a bias before batch norm) is
    /// measured against the norm of its whole group.
    pub error: f64,
    /// Whether the tensor was measured that way.
    pub negligible: bool,
    /// Whether this is one tensor of a group that is also compared as a whole.
    pub part: bool,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.negligible {
            "  (zero up to rounding: measured against the whole)"
        } else {
            ""
        };
        write!(f, "{:<36} {:9.2e}{note}", self.name, self.error)
    }
}

/// A tensor smaller than this share of its group counts as zero up to rounding.
const NEGLIGIBLE: f64 = 1e-10;

/// Groups of arrays, with one array per parameter.
const GROUPS: [&str; 5] =
    ["meta_grad", "fomaml_grad", "task0.support_grad", "task0.hvp_g", "task0.fast"];

/// Compares everything that the file expects in double precision and that was computed.
pub(super) fn all(case: &Case, results: &Results) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    let expected = |name: &str| case.arrays.get(&format!("f64.{name}"));
    for name in ["inner_loss", "query_loss", "query_logits", "lr_grad"] {
        if let Some(theirs) = expected(name) {
            let ours = &results.arrays[name];
            let error = distance(ours, theirs) / norm(theirs).max(f64::MIN_POSITIVE);
            comparisons.push(Comparison {
                name: name.into(),
                error,
                negligible: false,
                part: false,
            });
        }
    }
    for group in GROUPS {
        let prefix = format!("{group}.");
        let members: Vec<(&str, &Tensor, &Tensor)> = results
            .arrays
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(name, ours)| Some((name, ours, expected(name)?)))
            .collect();
        if members.is_empty() {
            continue;
        }
        let root = |squares: f64| squares.sqrt();
        let whole = root(members.iter().map(|(_, _, theirs)| norm(theirs).powi(2)).sum());
        let apart = root(members.iter().map(|(_, a, b)| distance(a, b).powi(2)).sum());
        for (name, ours, theirs) in &members {
            let own = norm(theirs);
            let negligible = own <= NEGLIGIBLE * whole;
            let scale = if negligible { whole } else { own };
            let error = distance(ours, theirs) / scale.max(f64::MIN_POSITIVE);
            comparisons.push(Comparison { name: (*name).into(), error, negligible, part: true });
        }
        let error = apart / whole.max(f64::MIN_POSITIVE);
        let name = format!("{group} in all");
        comparisons.push(Comparison { name, error, negligible: false, part: false });
    }
    comparisons
}

fn norm(t: &Tensor) -> f64 {
    t.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Norm of the difference; infinite when the shapes differ.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    if a.shape() != b.shape() {
        return f64::INFINITY;
    }
    a.iter().zip(b.iter()).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}
