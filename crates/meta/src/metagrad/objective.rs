//! The outer objective.

use innerloop_engine::{Var, grad};

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

/// `θ − φ_K` of what the inner loop moves, plus the gradient of the algorithm's penalty if there is a second inner loop.
pub(super) fn displacement<'g>(
    algorithm: &dyn Algorithm,
    (theta, phi): (&Vars<'g>, &Vars<'g>),
    companion: Option<&Vars<'g>>,
) -> Vars<'g> {
    let way = theta.zip_map(phi, |&theta, &phi| theta - phi);
    let Some(other) = companion.filter(|_| !phi.is_empty()) else { return way };
    let Some(penalty) = algorithm.penalty(phi, other) else {
        panic!("{}: a method without a query set has no such penalty", algorithm.name())
    };
    let gradient = grad(penalty, &[phi.values(), other.values()].concat());
    let (of_base, of_other) = gradient.split_at(phi.len());
    // Both end points are θ plus constants.
    let slope = of_base.iter().zip(of_other).map(|(&a, &b)| a + b);
    way.with_values(way.values().iter().zip(slope).map(|(&way, slope)| way + slope).collect())
}
