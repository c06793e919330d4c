//! The outer objective.

use innerloop_engine::Var;

use crate::{Algorithm, Loss, Outcome, Vars};

/// What the outer loop descends: the query loss, a weighted sum of several, or the algorithm's objective of it and of a
/// second inner loop.
pub(super) fn objective<'g>(
    algorithm: &dyn Algorithm,
    (loss, output, phi): (Var<'g>, Var<'g>, &Vars<'g>),
    companion: Option<(&Loss<'g>, &Vars<'g>)>,
    scheduled: Vars<'g>,
) -> Var<'g> {
    let Some((there, other)) = companion else { return loss };
    let base = Outcome { phi: phi.clone(), loss, output, scheduled: scheduled.clone() };
    let (loss, output) = (there.value, there.output);
    let beside = Outcome { phi: other.clone(), loss, output, scheduled };
    algorithm.objective(&base, &beside)
}
