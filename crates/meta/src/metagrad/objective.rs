//! The outer objective.

use innerloop_engine::Var;

use crate::{Algorithm, Loss, Outcome, Vars};

/// What the outer loop descends: the query loss, or what the algorithm makes of it and of a second inner loop.
pub(super) fn objective<'g>(
    algorithm: &dyn Algorithm,
    base: (&Loss<'g>, &Vars<'g>),
    companion: Option<(&Loss<'g>, &Vars<'g>)>,
) -> Var<'g> {
    let outcome = |(loss, phi): (&Loss<'g>, &Vars<'g>)| Outcome {
        phi: phi.clone(),
        loss: loss.value,
        output: loss.output,
    };
    match companion {
        Some(companion) => algorithm.objective(&outcome(base), &outcome(companion)),
        None => base.0.value,
    }
}
