//! The backward view of inner steps: from derivatives with respect to their end point to derivatives with respect to
//! their start and everything they use.

use innerloop_engine::{Var, grad, grad_params, hvp, vjp};

use crate::{MetaGradient, Moved, Vars};

type Advance<'a, 'g> = dyn Fn(&Moved<'g>, (Var<'g>, &[Vars<'g>])) -> Vec<Moved<'g>> + 'a;

/// Steps that share one gradient, most often a single step.
pub(super) struct Backward<'a, 'g> {
    pub(super) kind: MetaGradient,
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
    /// Turns a cotangent of φ and the state after the steps into one before them, each followed by the running
    /// totals for what the inner loop does not move. With `S` the steps and `g = ∇_φ L_S`:
    ///
    /// ```text
    /// u  ←  (∂S/∂φ)ᵀ u + H ḡ          ḡ = (∂S/∂g)ᵀ u, summed over the gradients
    /// totals  +=  (∂S/∂η)ᵀ u + [∂g/∂η]ᵀ ḡ
    /// ```
    ///
    /// There are several cotangents where terms are distinguished by their number of Hessians: the `m`-th holds those
    /// with at most `m`, so its `ḡ` comes from the previous one, and that of the first is zero.
    ///
    /// `between` has, for each step but the last and each cotangent, what is added to it after that step: derivatives
    /// of a query loss there. It may be empty.
    ///
    /// An implicit gradient is one such step, at the end of the inner loop.
    pub(super) fn pull(
        &self,
        later: &[Vec<Var<'g>>],
        between: &[Vec<Vec<Var<'g>>>],
    ) -> Vec<Vec<Var<'g>>> {
        if let MetaGradient::Implicit { proximal, iterations, damping } = self.kind {
            return later
                .iter()
                .map(|u| self.implicit(u, (proximal, iterations, damping)))
                .collect();
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
        let direct = |(m, u): (usize, &Vec<Var<'g>>)| -> Vec<Var<'g>> {
            let joining = between.iter().flat_map(|orders| &orders[m]);
            let u: Vec<_> = u[..moves].iter().chain(joining).copied().collect();
            let mut all = vjp(&ends, &u, &wrt);
            for other in all.split_off(of.len() + phi.len()).chunks(phi.len().max(1)) {
                all[of.len()..].iter_mut().zip(other).for_each(|(sum, &x)| *sum = *sum + x);
            }
            all
        };
        let direct: Vec<_> = later.iter().enumerate().map(direct).collect();
        let second = |m: usize| match self.kind {
            MetaGradient::HeldGradients => None,
            MetaGradient::Binomial { .. } if m == 0 => None,
            MetaGradient::Binomial { .. } => {
                Some(hvp(loss, phi.values(), &direct[m - 1][of.len()..], &of))
            }
            MetaGradient::Differences { epsilon } => {
                Some(self.difference(&direct[m][of.len()..], epsilon))
            }
            _ => Some(hvp(loss, phi.values(), &direct[m][of.len()..], &of)),
        };
        let pulled = |(m, u): (usize, &Vec<Var<'g>>)| {
            let mut all = direct[m][..of.len()].to_vec();
            if let Some(second) = second(m) {
                all.iter_mut().zip(second).for_each(|(sum, x)| *sum = *sum + x);
            }
            all.iter_mut().zip(u).skip(moves).for_each(|(x, &total)| *x = total + *x);
            all
        };
        later.iter().enumerate().map(pulled).collect()
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
        u: &[Var<'g>],
        (proximal, iterations, damping): (f64, usize, f64),
    ) -> Vec<Var<'g>> {
        let Moved { phi, state } = &self.start;
        let loss = (self.loss)(phi);
        let matrix = |x: &[Var<'g>]| -> Vec<Var<'g>> {
            let curved = hvp(loss, phi.values(), x, phi.values());
            x.iter().zip(curved).map(|(&x, h)| x * (1.0 + damping) + h * (1.0 / proximal)).collect()
        };
        let w = conjugate_gradients(matrix, &u[..phi.len()], iterations);
        let pulled: Vec<_> = w.iter().map(|&w| w * (-1.0 / proximal)).collect();
        // Partial derivatives: φ is held constant while the rest varies.
        let of = [phi.values(), self.fixed.values()].concat();
        let mixed = hvp(loss, phi.values(), &pulled, &of).split_off(phi.len());
        let totals = u[phi.len() + state.len()..].iter().zip(mixed).map(|(&total, x)| total + x);
        let unmoved = state.values().iter().map(|x| x.full_like(0.0));
        w.into_iter().chain(unmoved).chain(totals).collect()
    }
}

/// Gradients held constant, each as a separate value: parameters with identical gradients, such as the shifts of two
/// layers whose outputs are added, have different cotangents, and so do steps.
fn cut_off<'g>(gradients: &[Vars<'g>]) -> Vec<Vars<'g>> {
    let mut cut: Vec<Var<'g>> = Vec::new();
    let mut one = |g: &Var<'g>| {
        let mut held = g.stop_gradient();
        while cut.contains(&held) {
            held = held.stop_gradient();
        }
        cut.push(held);
        held
    };
    gradients.iter().map(|gradient| gradient.map(&mut one)).collect()
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
