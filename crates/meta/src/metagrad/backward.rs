//! The backward view of inner steps: from derivatives with respect to their end point to derivatives with respect to
//! their start and everything they use.

use innerloop_engine::{Var, grad, grad_params, hvp, vjp};

use super::path::Orders;
use crate::{MetaGradient, Moved, Vars};

type Advance<'a, 'g> = dyn Fn(&Moved<'g>, (Var<'g>, &[Vars<'g>])) -> Vec<Moved<'g>> + 'a;

/// Derivatives with respect to a point of the inner loop.
pub(super) struct Cotangents<'g> {
    /// For each order, those with respect to φ and then the inner optimizer's state.
    pub(super) moving: Vec<Vec<Var<'g>>>,
    /// Those with respect to what the inner loop does not move, through the steps from here on.
    pub(super) totals: Vec<Var<'g>>,
}

impl<'g> Cotangents<'g> {
    pub(super) fn into_values(self) -> Vec<Var<'g>> {
        let Cotangents { moving, totals } = self;
        moving.into_iter().flatten().chain(totals).collect()
    }
}

/// Steps that share one gradient, most often a single step.
pub(super) struct Backward<'a, 'g> {
    pub(super) kind: MetaGradient,
    pub(super) orders: Orders,
    /// φ and the inner optimizer's state at the start of the steps.
    pub(super) start: Moved<'g>,
    /// Learned meta-parameters that the inner loop does not move.
    pub(super) fixed: Vars<'g>,
    /// The support loss of these steps as a function of the fast weights.
    pub(super) loss: &'a dyn Fn(&Vars<'g>) -> Var<'g>,
    /// Gradients of the steps after the first, if they used others; their derivatives are taken to be the first's.
    pub(super) own: Vec<Vars<'g>>,
    /// The end point of each step, given their start, some loss, and one gradient or one per step.
    pub(super) advance: &'a Advance<'a, 'g>,
}

impl<'g> Backward<'_, 'g> {
    /// Turns cotangents of φ and the state after the steps into those before them, and adds to the totals. With `S` the
    /// steps and `g = ∇_φ L_S`:
    ///
    /// ```text
    /// u  ←  (∂S/∂φ)ᵀ u + H ḡ          ḡ = (∂S/∂g)ᵀ u, summed over the gradients
    /// totals  +=  (∂S/∂η)ᵀ u + [∂g/∂η]ᵀ ḡ
    /// ```
    ///
    /// Where terms are distinguished by their number of Hessians, the `ḡ` of an order comes from the `u` of the order
    /// below, and the totals from the highest order.
    ///
    /// `between` has, for each step but the last, what is added to every `u` after that step: derivatives of a query loss
    /// there. It may be empty.
    ///
    /// An implicit gradient is one such step, at the end of the inner loop.
    pub(super) fn pull(&self, later: &Cotangents<'g>, between: &[Vec<Var<'g>>]) -> Cotangents<'g> {
        if let MetaGradient::Implicit { proximal, iterations, damping } = self.kind {
            return self.implicit(later, (proximal, iterations, damping));
        }
        let Moved { phi, state } = &self.start;
        let loss = (self.loss)(phi);
        // The steps as a function of φ, the state, ω and g, with g cut off from the φ it was computed at.
        let g = cut_off(&[&[grad_params(loss, phi)], self.own.as_slice()].concat());
        let mut places = (self.advance)(&self.start, (loss, &g));
        let end = places.pop().expect("there is a step");
        let values = |place: &Moved<'g>| [place.phi.values(), place.state.values()].concat();
        let on_the_way = places.iter().take(between.len()).flat_map(values);
        let moves = phi.len() + state.len();
        let ends: Vec<_> = values(&end).into_iter().chain(on_the_way).collect();
        let starts = phi.values().iter().chain(state.values());
        let of: Vec<_> = starts.chain(self.fixed.values()).copied().collect();
        let wrt: Vec<_> = of.iter().chain(g.iter().flat_map(Vars::values)).copied().collect();
        let direct = |u: &Vec<Var<'g>>| -> Vec<Var<'g>> {
            let u: Vec<_> = u.iter().chain(between.iter().flatten()).copied().collect();
            let mut all = vjp(&ends, &u, &wrt);
            for other in all.split_off(of.len() + phi.len()).chunks(phi.len().max(1)) {
                all[of.len()..].iter_mut().zip(other).for_each(|(sum, &x)| *sum = *sum + x);
            }
            all
        };
        let direct: Vec<_> = later.moving.iter().map(direct).collect();
        let second = |m: usize| match self.kind {
            MetaGradient::HeldGradients => None,
            MetaGradient::Differences { epsilon } => {
                Some(self.difference(&direct[m][of.len()..], epsilon))
            }
            _ => Some(hvp(loss, phi.values(), &direct[m][of.len()..], &of)),
        };
        let pulled = |(own, below): (usize, Option<usize>)| {
            let mut all = direct[own][..of.len()].to_vec();
            if let Some(second) = below.and_then(second) {
                all.iter_mut().zip(second).for_each(|(sum, x)| *sum = *sum + x);
            }
            all
        };
        let mut moving: Vec<_> = self.orders.sources().map(pulled).collect();
        let mut of_fixed = Vec::new();
        for all in &mut moving {
            of_fixed = all.split_off(moves);
        }
        let totals = later.totals.iter().zip(of_fixed).map(|(&total, x)| total + x).collect();
        Cotangents { moving, totals }
    }

    /// `[∇L_S(φ + δḡ) − ∇L_S(φ − δḡ)] / 2δ` with `δ = ε/‖ḡ‖`, in place of both second-order products.
    fn difference(&self, g_bar: &[Var<'g>], epsilon: f64) -> Vec<Var<'g>> {
        // Added to ‖ḡ‖²: it matters for no cotangent, however small, except zero.
        const FLOOR: f64 = 1e-30;
        let Moved { phi, state } = &self.start;
        let square = g_bar.iter().map(|g| g.dot(*g)).reduce(|a, b| a + b);
        let unmoved = state.values().iter().chain(self.fixed.values());
        let Some(square) = square else { return unmoved.map(|x| x.full_like(0.0)).collect() };
        let norm = (square + FLOOR).sqrt();
        let gradient = |sign: f64| {
            let delta = norm.recip() * (sign * epsilon);
            let there = phi.with_values(
                phi.values().iter().zip(g_bar).map(|(&phi, &g)| phi + delta * g).collect(),
            );
            let of = there.values().iter().chain(state.values()).chain(self.fixed.values());
            grad((self.loss)(&there), &of.copied().collect::<Vec<_>>())
        };
        let over = norm * (0.5 / epsilon);
        let pairs = gradient(1.0).into_iter().zip(gradient(-1.0));
        pairs.map(|(ahead, behind)| (ahead - behind) * over).collect()
    }

    /// `w = ((1 + δ) I + H/λ)⁻¹ u` in place of `u`, and `totals −= [∂g/∂η]ᵀ w / λ`.
    fn implicit(
        &self,
        later: &Cotangents<'g>,
        (proximal, iterations, damping): (f64, usize, f64),
    ) -> Cotangents<'g> {
        let Moved { phi, state } = &self.start;
        let loss = (self.loss)(phi);
        let matrix = |x: &[Var<'g>]| -> Vec<Var<'g>> {
            let curved = hvp(loss, phi.values(), x, phi.values());
            x.iter().zip(curved).map(|(&x, h)| x * (1.0 + damping) + h * (1.0 / proximal)).collect()
        };
        let w = conjugate_gradients(matrix, &later.moving[0][..phi.len()], iterations);
        let pulled: Vec<_> = w.iter().map(|&w| w * (-1.0 / proximal)).collect();
        // Partial derivatives: φ is held constant while the rest varies.
        let of = [phi.values(), self.fixed.values()].concat();
        let mixed = hvp(loss, phi.values(), &pulled, &of).split_off(phi.len());
        let totals = later.totals.iter().zip(mixed).map(|(&total, x)| total + x).collect();
        let unmoved = state.values().iter().map(|x| x.full_like(0.0));
        Cotangents { moving: vec![w.into_iter().chain(unmoved).collect()], totals }
    }
}

/// Gradients held constant, each as a variable of its own: parameters with identical gradients, such as the shifts of two
/// layers whose outputs are added, have different cotangents, and so do steps.
fn cut_off<'g>(gradients: &[Vars<'g>]) -> Vec<Vars<'g>> {
    gradients.iter().map(|gradient| gradient.map(|g| g.new_variable())).collect()
}

/// Solves `A x = b` in a given number of steps from zero (Hestenes and Stiefel 1952). It stops once the residual
/// vanishes, and where `A` is not positive in the search direction. If that direction is `b` itself, the result is `b`,
/// as if `A` were the identity: a task whose curvature cannot be used contributes its first-order gradient.
fn conjugate_gradients<'g>(
    matrix: impl Fn(&[Var<'g>]) -> Vec<Var<'g>>,
    b: &[Var<'g>],
    iterations: usize,
) -> Vec<Var<'g>> {
    /// Square of a residual that counts as zero.
    const NONE: f64 = 1e-30;
    let dot = |a: &[Var<'g>], b: &[Var<'g>]| {
        let products = a.iter().zip(b).map(|(&a, &b)| a.dot(b));
        products.reduce(|a, b| a + b).expect("something adapts")
    };
    let along = |x: &[Var<'g>], by: Var<'g>, p: &[Var<'g>]| -> Vec<Var<'g>> {
        x.iter().zip(p).map(|(&x, &p)| x + by * p).collect()
    };
    let mut x: Vec<_> = b.iter().map(|b| b.full_like(0.0)).collect();
    if b.is_empty() {
        return x;
    }
    let (mut residual, mut p) = (b.to_vec(), b.to_vec());
    let mut square = dot(&residual, &residual);
    let mut goes_on = (square - NONE).step();
    let mut begun = None;
    for _ in 0..iterations {
        let curved = matrix(&p);
        let curvature = dot(&p, &curved);
        goes_on = goes_on * curvature.step();
        begun.get_or_insert(goes_on);
        // A quotient whose divisor is replaced by one where it is not used.
        let over = |divisor: Var<'g>, goes_on: Var<'g>| {
            (divisor * goes_on + (goes_on * -1.0 + 1.0)).recip() * goes_on
        };
        let by = square * over(curvature, goes_on);
        x = along(&x, by, &p);
        residual = along(&residual, by * -1.0, &curved);
        let next = dot(&residual, &residual);
        p = along(&residual, next * over(square, goes_on), &p);
        square = next;
        goes_on = goes_on * (square - NONE).step();
    }
    match begun {
        Some(begun) => along(&x, begun * -1.0 + 1.0, b),
        None => x,
    }
}
