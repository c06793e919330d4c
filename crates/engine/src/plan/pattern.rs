//! How a smaller array is repeated over a larger one, or a larger one summed into a smaller one.

/// Consecutive axes that are either all kept or all repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    len: usize,
    kept: bool,
}

/// The axes of a domain as runs of kept and repeated ones, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    runs: Vec<Run>,
}

impl Pattern {
    /// How `small` (aligned at the innermost axis) lies in `large`; axes of extent one do not count.
    pub(crate) fn new(small: &[usize], large: &[usize]) -> Pattern {
        let mut runs: Vec<Run> = Vec::new();
        let missing = large.len() - small.len();
        for (axis, &extent) in large.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let kept = axis >= missing && small[axis - missing] == extent;
            match runs.last_mut() {
                Some(run) if run.kept == kept => run.len *= extent,
                _ => runs.push(Run { len: extent, kept }),
            }
        }
        Pattern { runs }
    }

    /// The inner sizes at which kept axes meet repeated ones, outermost first.
    pub(crate) fn boundaries(&self) -> Vec<usize> {
        let mut inner = 1;
        let mut cuts = Vec::new();
        for run in self.runs.iter().skip(1).rev() {
            inner *= run.len;
            cuts.push(inner);
        }
        cuts.reverse();
        cuts
    }

    /// Whether cutting the large array into that many equal parts cuts the small one into the same number.
    pub(crate) fn splits_into(&self, parts: usize) -> bool {
        self.runs.first().is_some_and(|run| run.kept && run.len.is_multiple_of(parts))
    }

    /// Strides of the small array along the three axes `[groups, rows, columns]` of the domain, zero
    /// where it is repeated. Every boundary of the pattern is a boundary of those axes.
    pub(crate) fn strides(&self, dims: [usize; 3]) -> [usize; 3] {
        let mut strides = [0; 3];
        let mut stride = 1;
        let mut inner = 1;
        for axis in (0..3).rev() {
            if dims[axis] > 1 {
                if self.kept_at(inner) {
                    strides[axis] = stride;
                    stride *= dims[axis];
                }
                inner *= dims[axis];
            }
        }
        strides
    }

    /// Whether the axis whose elements are `inner` apart in the domain is kept.
    fn kept_at(&self, inner: usize) -> bool {
        let mut covered = 1;
        for run in self.runs.iter().rev() {
            covered *= run.len;
            if inner < covered {
                return run.kept;
            }
        }
        false
    }
}

/// Adds the cuts of a pattern to those of a loop; `None` when more than two would be needed.
pub(crate) fn union(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let mut all: Vec<usize> = a.iter().chain(b).copied().collect();
    all.sort_unstable_by(|x, y| y.cmp(x));
    all.dedup();
    // Each cut must divide the next, or the axes would not nest.
    let nested = all.windows(2).all(|pair| pair[0] % pair[1] == 0);
    (all.len() <= 2 && nested).then_some(all)
}

/// `[groups, rows, columns]` of a domain cut at the given inner sizes.
pub(crate) fn dims(volume: usize, cuts: &[usize]) -> [usize; 3] {
    match *cuts {
        [] => [1, 1, volume],
        [columns] => [1, volume / columns, columns],
        [outer, columns] => [volume / outer, outer / columns, columns],
        _ => unreachable!("a loop has at most two cuts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_of_the_usual_patterns() {
        let channel = Pattern::new(&[4], &[2, 3, 3, 4]);
        assert_eq!(channel.boundaries(), [4]);
        assert_eq!(channel.strides([1, 18, 4]), [0, 0, 1]);
        let row = Pattern::new(&[5, 1], &[5, 7]);
        assert_eq!(row.boundaries(), [7]);
        assert_eq!(row.strides([1, 5, 7]), [0, 1, 0]);
        let grouped = Pattern::new(&[2, 1, 4], &[2, 9, 4]);
        assert_eq!(grouped.boundaries(), [36, 4]);
        assert_eq!(grouped.strides([2, 9, 4]), [4, 0, 1]);
        assert_eq!(Pattern::new(&[], &[6]).strides([1, 1, 6]), [0, 0, 0]);
        assert_eq!(Pattern::new(&[1, 3, 1], &[2, 3, 4]).strides([2, 3, 4]), [0, 1, 0]);
    }

    #[test]
    fn cuts_that_do_not_nest_are_refused() {
        assert_eq!(union(&[6], &[4]), None);
        assert_eq!(union(&[12], &[4]), Some(vec![12, 4]));
        assert_eq!(union(&[12, 4], &[2]), None);
    }
}
