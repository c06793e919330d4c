//! An inner loop as a graph, and its derivative in the sense of the method.

use innerloop_engine::{Params, Var, grad, grad_params};

use super::backward::{Backward, Cotangents};
use super::objective::{displacement, objective};
use super::path::{Path, Run};
use super::scope::Scope;
use super::structure::Structure;
use crate::{Algorithm, Loss, MetaGradient, Moved, Point, Problem, Sharing, Vars};

/// The ingredients of a trace.
pub(super) struct Trace<'a, 'g, 's> {
    scope: &'a Scope<'g, 's>,
    structure: &'a Structure,
    problem: &'a dyn Problem,
    algorithm: &'a dyn Algorithm,
    omega: Vars<'g>,
    support: Vec<Var<'g>>,
    query: Vec<Var<'g>>,
    /// Support examples of every step.
    batches: Vec<Vec<Var<'g>>>,
    /// θ at step 0.
    start: Point<'g>,
}

/// A traced inner loop.
pub(super) struct Trajectory<'g> {
    path: Path,
    /// φ and the state before each step, and at the end.
    places: Vec<Moved<'g>>,
    /// The support loss before each step.
    pub(super) losses: Vec<Var<'g>>,
    /// Its gradient there, if the backward pass reads those of all steps.
    gradients: Vec<Vars<'g>>,
    /// The statistics of each pass.
    pub(super) statistics: Vec<Var<'g>>,
}

impl<'g> Trajectory<'g> {
    pub(super) fn end(&self) -> &Moved<'g> {
        &self.places[self.places.len() - 1]
    }

    /// The start of the differentiated steps.
    fn origin(&self, kind: MetaGradient) -> &Moved<'g> {
        &self.places[self.path.cut(kind)]
    }
}

impl<'a, 'g, 's> Trace<'a, 'g, 's> {
    pub(super) fn new(
        scope: &'a Scope<'g, 's>,
        structure: &'a Structure,
        problem: &'a dyn Problem,
        algorithm: &'a dyn Algorithm,
    ) -> Trace<'a, 'g, 's> {
        let (omega, support, query) = (scope.omega(), scope.support(), scope.query());
        let batches = match structure.batch {
            Some(_) => (0..structure.most_steps().max(1)).map(|k| scope.batch(k)).collect(),
            None => vec![support.clone(); structure.most_steps().max(1)],
        };
        let theta = structure.adapted.map_named(|name, _| omega[name]);
        let start = scope.point(&omega, &theta, scope.constant_step(0));
        Trace { scope, structure, problem, algorithm, omega, support, query, batches, start }
    }

    fn point(&self, phi: &Vars<'g>, k: usize) -> Point<'g> {
        self.scope.point_from(&self.start, phi, self.scope.constant_step(k))
    }

    /// The support loss before a step, or after the last one.
    pub(super) fn support_loss(&self, path: Path, phi: &Vars<'g>, run: Run) -> Loss<'g> {
        let at = self.point(phi, self.structure.step_index(run.first));
        let at = Point { closing: run.closing, ..at };
        self.problem.support_loss(&at, &self.batches[path.batch(run.first)])
    }

    pub(super) fn query_loss(&self, phi: &Vars<'g>, k: usize) -> Loss<'g> {
        let at = self.point(phi, k);
        self.problem.query_loss(&at, &self.support, &self.query)
    }

    /// The query loss at the end of the second inner loop.
    fn companion_query_loss(&self, phi: &Vars<'g>) -> Loss<'g> {
        let at = self.point(phi, self.structure.steps);
        let query = self.problem.companion_query(&self.query);
        self.problem.query_loss(&at, &self.support, &query)
    }

    fn advance(
        &self,
        path: Path,
        from: &Moved<'g>,
        slope: (Var<'g>, &[Vars<'g>]),
        run: Run,
    ) -> Vec<Moved<'g>> {
        let step = |k| self.scope.constant_step(self.structure.step_index(k));
        let steps: Vec<_> = (run.first..run.first + run.length).map(step).collect();
        self.scope.advance(self.algorithm, &self.omega, from, slope, (path, &steps))
    }

    /// The inner loop of adaptation.
    pub(super) fn base(&self) -> Trajectory<'g> {
        let path = self.structure.path;
        let cut = if self.recursive() { 0 } else { path.cut(self.structure.kind) };
        self.trajectory(path, cut)
    }

    /// The second inner loop.
    fn companion(&self, path: Path) -> Trajectory<'g> {
        let cut = if self.recursive() { path.steps } else { path.cut(self.structure.kind) };
        self.trajectory(path, cut)
    }

    /// An inner loop. Its moving values become new variables at the step `cut`, unless that is the first: another inner
    /// loop may reach the same values, and the state depends on parameters that do not move.
    fn trajectory(&self, path: Path, cut: usize) -> Trajectory<'g> {
        let theta = self.structure.adapted.map_named(|name, _| self.omega[name]);
        let mut places = vec![Moved { phi: theta, state: self.scope.start_state() }];
        let (mut losses, mut gradients, mut statistics) = (Vec::new(), Vec::new(), Vec::new());
        // The gradient at the first of the steps that share its derivative.
        let mut shared: Vars<'g> = Params::new();
        for run in path.forward() {
            let place = &places[places.len() - 1];
            let loss = self.support_loss(path, &place.phi, run);
            let mut gradient = grad_params(loss.value, &place.phi);
            if path.keeps_gradients {
                gradients.push(gradient.clone());
            }
            match path.sharing {
                Sharing::Backward(_) if !path.opens(run.first) => {
                    gradient = gradient.zip_map(&shared, |g, shared| {
                        g.stop_gradient() + (*shared - shared.stop_gradient())
                    });
                }
                _ => shared = gradient.clone(),
            }
            if self.structure.kind == MetaGradient::HeldGradients {
                gradient = gradient.map(|g| g.stop_gradient());
            }
            let mut moved = self.advance(path, place, (loss.value, &[gradient]), run);
            if cut == run.first + run.length {
                let end = moved.last_mut().expect("a run has steps");
                let cut = |values: &Vars<'g>| values.map(|x| x.new_variable());
                *end = Moved { phi: cut(&end.phi), state: cut(&end.state) };
            }
            places.extend(moved);
            losses.extend(vec![loss.value; run.length]);
            (0..run.length).for_each(|_| statistics.extend(loss.statistics.values()));
        }
        Trajectory { path, places, losses, gradients, statistics }
    }

    fn learned(&self) -> Vars<'g> {
        self.structure.learned.map_named(|name, _| self.omega[name])
    }

    /// All variables of differentiation, with φ at some point.
    fn varied(&self, phi: &Vars<'g>) -> Vars<'g> {
        self.structure.varied.map_named(|name, _| self.omega[name]).overlay(phi)
    }

    /// Inner steps, other than the last, after which a query loss counts.
    fn on_the_way(&self) -> std::ops::Range<usize> {
        1..if self.structure.weighs_steps() { self.structure.steps } else { 1 }
    }

    /// The weighted query loss after `k` inner steps.
    fn loss_on_the_way(&self, base: &Trajectory<'g>, k: usize) -> Var<'g> {
        let loss = self.query_loss(&base.places[k].phi, k);
        self.scope.weighted(loss.value, self.scope.constant_step(k))
    }

    /// The gradient of the outer objective, in the sense of the method, given the end points of the inner loops.
    pub(super) fn meta_gradient(&self, base: &Trajectory<'g>, loss: &Loss<'g>) -> Vars<'g> {
        let kind = self.structure.kind;
        let beside = self.structure.companion.map(|path| {
            let trajectory = self.companion(path);
            (self.companion_query_loss(&trajectory.end().phi), trajectory)
        });
        let ends = beside.as_ref().map(|(loss, there)| (loss, &there.end().phi));
        let last = self.scope.weighted(loss.value, self.scope.constant_step(self.structure.steps));
        let mut objective = objective(
            self.algorithm,
            (last, loss.output, &base.end().phi),
            ends,
            self.scope.scheduled(),
        );
        let beside = beside.map(|(_, trajectory)| trajectory);
        if self.recursive() {
            return self.recursion(base, beside.as_ref(), objective);
        }
        let cut = base.path.cut(kind);
        for k in self.on_the_way().filter(|&k| k >= cut) {
            objective = objective + self.loss_on_the_way(base, k);
        }
        // What an inner loop moves is taken at the start of its differentiated steps; the rest is differentiated wherever
        // it is used from there on. If both inner loops start at θ, θ represents both.
        let origin = &base.origin(kind).phi;
        let varied = self.varied(origin);
        let other = match &beside {
            Some(of) if cut + of.path.cut(kind) > 0 => of.origin(kind).phi.clone(),
            _ => Params::new(),
        };
        let gradient = grad(objective, &[varied.values(), other.values()].concat());
        let (of_base, of_other) = gradient.split_at(varied.len());
        let mut gradient = varied.with_values(of_base.to_vec());
        for (name, &x) in other.with_values(of_other.to_vec()).iter() {
            let at = gradient.position(name).expect("what adapts is varied");
            gradient.values_mut()[at] = gradient[name] + x;
        }
        // φ before the differentiated steps is θ plus a constant.
        for k in self.on_the_way().filter(|&k| k < cut) {
            let varied = self.varied(&base.places[k].phi);
            let early = grad_params(self.loss_on_the_way(base, k), &varied);
            gradient = gradient.zip_map(&early, |&sum, &x| sum + x);
        }
        if kind == MetaGradient::FirstOrder {
            let of = origin.map_named(|name, _| gradient[name]);
            let end = self.scope.end(of, base.end().state.clone());
            gradient = gradient.overlay(&self.algorithm.direction(&end));
        }
        self.structure.learned.map_named(|name, _| gradient[name])
    }

    /// Whether the meta-gradient is not a derivative, so that the recursion defines it.
    fn recursive(&self) -> bool {
        matches!(
            self.structure.kind,
            MetaGradient::Binomial { .. }
                | MetaGradient::Differences { .. }
                | MetaGradient::Implicit { .. }
        )
    }

    /// The adjoint recursion, step by step.
    fn recursion(
        &self,
        base: &Trajectory<'g>,
        beside: Option<&Trajectory<'g>>,
        objective: Var<'g>,
    ) -> Vars<'g> {
        let fixed = self.scope.fixed(&self.omega);
        let moving = |of: &Trajectory<'g>| of.end().phi.merge(&of.end().state);
        let all = moving(base).merge(&fixed);
        let other = beside.map(moving).unwrap_or_default();
        let mut v = grad(objective, &[all.values(), other.values()].concat());
        let w = v.split_off(all.len());
        let totals = v.split_off(all.len() - fixed.len());
        let mut u = self.back(base, self.on_the_way(), Cotangents { moving: vec![v], totals });
        if let Some(beside) = beside {
            // The totals are carried on.
            let end = Cotangents { moving: vec![w], totals: u.totals };
            let other = self.back(beside, 1..1, end);
            join(&mut u.moving[0], &other.moving[0]);
            u.totals = other.totals;
        }
        let all = all.with_values(u.into_values());
        self.structure.learned.map_named(|name, _| all[name])
    }

    /// From cotangents at an inner loop's end to those at θ, including the query losses of intermediate steps.
    fn back(
        &self,
        of: &Trajectory<'g>,
        on_the_way: std::ops::Range<usize>,
        mut u: Cotangents<'g>,
    ) -> Cotangents<'g> {
        let kind = self.structure.kind;
        let fixed = self.scope.fixed(&self.omega);
        for (run, orders) in of.path.backward(kind) {
            let start = of.places[run.first].clone();
            let after = run.first + 1..run.first + run.length;
            let mut between = Vec::new();
            for k in after.clone().filter(|k| on_the_way.contains(k)) {
                let (moving, of_fixed) = self.slope_on_the_way(of, k);
                between.push(moving);
                join(&mut u.totals, &of_fixed);
            }
            let back = Backward {
                own: of.gradients.get(after).map_or_else(Vec::new, <[_]>::to_vec),
                kind,
                orders,
                start: start.clone(),
                fixed: fixed.clone(),
                loss: &|phi| self.support_loss(of.path, phi, run).value,
                advance: &|start, slope| self.advance(of.path, start, slope, run),
            };
            u = back.pull(&u, &between);
            if on_the_way.contains(&run.first) {
                let (moving, of_fixed) = self.slope_on_the_way(of, run.first);
                u.moving.iter_mut().for_each(|u| join(u, &moving));
                join(&mut u.totals, &of_fixed);
            }
        }
        u
    }

    /// The derivatives of the weighted query loss after `k` inner steps with respect to φ and the state there, and to
    /// everything that the inner loop does not move.
    fn slope_on_the_way(&self, of: &Trajectory<'g>, k: usize) -> (Vec<Var<'g>>, Vec<Var<'g>>) {
        let Moved { phi, state } = &of.places[k];
        let wrt = phi.merge(state).merge(&self.scope.fixed(&self.omega));
        let mut moving = grad(self.loss_on_the_way(of, k), wrt.values());
        let of_fixed = moving.split_off(phi.len() + state.len());
        (moving, of_fixed)
    }

    /// The gradient of a method without a query set.
    pub(super) fn displacement(&self, base: &Trajectory<'g>) -> Vars<'g> {
        let phi = &base.end().phi;
        let theta = phi.map_named(|name, _| self.omega[name]);
        let beside = self.structure.companion.map(|path| self.companion(path));
        let other = beside.as_ref().map(|there| &there.end().phi);
        let of = displacement(self.algorithm, (&theta, phi), other);
        let still = |theta: &Var<'g>| theta.full_like(0.0);
        self.learned().map_named(|name, theta| of.get(name).copied().unwrap_or(still(theta)))
    }
}

/// Adds values one by one.
fn join<'g>(sum: &mut [Var<'g>], other: &[Var<'g>]) {
    sum.iter_mut().zip(other).for_each(|(sum, &x)| *sum = *sum + x);
}
