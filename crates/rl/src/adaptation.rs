//! Inner steps on one task, and their derivative.

use innerloop_engine::{Key, Params, Tensor};

use crate::programs::{Memory, Programs};
use crate::sampler::Sampler;
use crate::{Advantage, Batch, MakeEnvironment, Method, Rollouts};

/// The resources of one thread.
pub(crate) struct Worker {
    pub(crate) memory: Memory,
    pub(crate) sampler: Sampler,
}

impl Worker {
    pub(crate) fn new(make: &MakeEnvironment, programs: &Programs) -> Worker {
        Worker { memory: programs.memory(), sampler: Sampler::new(make, programs) }
    }
}

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) programs: Programs,
    pub(crate) advantage: Advantage,
    /// 1 for an element that adapts, else 0.
    pub(crate) mask: Vec<f64>,
    /// Rates of the inner gradients in training.
    pub(crate) rates: Vec<f64>,
    pub(crate) method: Method,
}

/// A task of the meta-batch: the samples of every inner step and of the adapted policy.
#[derive(Default)]
pub(crate) struct Task {
    /// Samples drawn with φ_0 to φ_{K−1}.
    pub(crate) support: Vec<Batch>,
    /// φ_0 to φ_K.
    pub(crate) phi: Vec<Params<Tensor>>,
    /// Samples drawn with φ_K.
    query: Option<Batch>,
    /// Mean return with φ_0 to φ_K.
    pub(crate) returns: Vec<f64>,
    /// Steps acted in the environment.
    pub(crate) steps: usize,
}

impl Shared {
    /// The policy that a gradient step on some samples leads to: `φ − α M ∇L(φ)`.
    pub(crate) fn step(
        &self,
        memory: &mut Memory,
        phi: &Params<Tensor>,
        samples: &Batch,
        rate: f64,
    ) -> Params<Tensor> {
        let programs = &self.programs;
        let gradient = programs.vector(&programs.policy_gradient, memory, [phi, phi], samples);
        let mut moved = programs.flat(phi);
        for ((phi, g), mask) in moved.iter_mut().zip(gradient).zip(&self.mask) {
            *phi -= rate * mask * g;
        }
        programs.params(&moved)
    }

    fn sample(
        &self,
        worker: &mut Worker,
        phi: &Params<Tensor>,
        keys: [Key; 2],
        n: usize,
    ) -> Rollouts {
        worker.sampler.sample(&self.programs, &mut worker.memory, phi, keys, n)
    }

    /// Episodes of the task `key` after `step` inner steps have been taken.
    pub(crate) fn episodes(
        &self,
        worker: &mut Worker,
        phi: &Params<Tensor>,
        (key, stage): (Key, usize),
        n: usize,
    ) -> Rollouts {
        self.sample(worker, phi, [key, key.with_stream(&format!("stage {stage}"))], n)
    }

    /// Samples and adapts as in training: `n` episodes before each inner step and after the last.
    pub(crate) fn gather(
        &self,
        worker: &mut Worker,
        theta: &Params<Tensor>,
        key: Key,
        n: usize,
    ) -> Task {
        let mut task = Task { phi: vec![theta.clone()], ..Task::default() };
        for stage in 0..=self.rates.len() {
            let phi = task.phi[stage].clone();
            let rollouts = self.episodes(worker, &phi, (key, stage), n);
            task.returns.push(rollouts.mean_return());
            task.steps += rollouts.steps();
            let batch = Batch::new(&rollouts, self.advantage, self.programs.dtype());
            match self.rates.get(stage) {
                Some(&rate) => {
                    task.phi.push(self.step(&mut worker.memory, &phi, &batch, rate));
                    task.support.push(batch);
                }
                None => task.query = Some(batch),
            }
        }
        task
    }
}

impl Task {
    pub(crate) fn query(&self) -> &Batch {
        self.query.as_ref().expect("samples are gathered first")
    }

    fn adapted(&self) -> &Params<Tensor> {
        self.phi.last().expect("φ_0 at least")
    }

    /// `θ − φ_K`
    pub(crate) fn displacement(&self, shared: &Shared) -> Vec<f64> {
        let (from, to) = (shared.programs.flat(&self.phi[0]), shared.programs.flat(self.adapted()));
        from.iter().zip(to).map(|(from, to)| from - to).collect()
    }

    /// Adapts another θ on the samples already drawn: the inner loop as a function of θ.
    pub(crate) fn readapt(&mut self, shared: &Shared, memory: &mut Memory, theta: &Params<Tensor>) {
        self.phi = vec![theta.clone()];
        for (batch, &rate) in self.support.iter().zip(&shared.rates) {
            let next = shared.step(memory, self.adapted(), batch, rate);
            self.phi.push(next);
        }
    }

    /// Surrogate loss and mean divergence at φ_K(θ), for a θ that is not kept.
    pub(crate) fn evaluate(
        &self,
        shared: &Shared,
        memory: &mut Memory,
        theta: &Params<Tensor>,
    ) -> [f64; 2] {
        let mut phi = theta.clone();
        for (batch, &rate) in self.support.iter().zip(&shared.rates) {
            phi = shared.step(memory, &phi, batch, rate);
        }
        shared.programs.evaluate(memory, &phi, self.query())
    }

    /// `Jᵀ ∇L_Q(φ_K)` of the surrogate loss.
    pub(crate) fn gradient(&self, shared: &Shared, memory: &mut Memory) -> Vec<f64> {
        self.outer_gradient(shared, memory, &shared.programs.surrogate_gradient)
    }

    /// The same for PPO's clipped loss.
    pub(crate) fn clipped_gradient(&self, shared: &Shared, memory: &mut Memory) -> Vec<f64> {
        self.outer_gradient(shared, memory, shared.programs.clipped_gradient())
    }

    fn outer_gradient(
        &self,
        shared: &Shared,
        memory: &mut Memory,
        program: &innerloop_engine::Program,
    ) -> Vec<f64> {
        let phi = self.adapted();
        let gradient = shared.programs.vector(program, memory, [phi, phi], self.query());
        self.pull(shared, memory, gradient)
    }

    /// `Jᵀ F J v`: the Hessian in θ of the mean divergence of the adapted policy from itself.
    pub(crate) fn fisher_product(
        &self,
        shared: &Shared,
        memory: &mut Memory,
        v: &[f64],
    ) -> Vec<f64> {
        let programs = &shared.programs;
        let moved = programs.params(&self.push(shared, memory, v));
        let phi = self.adapted();
        let product =
            programs.vector(programs.fisher_product(), memory, [phi, &moved], self.query());
        self.pull(shared, memory, product)
    }

    /// `J v`, forwards: `v ← v − α M H_k v`.
    fn push(&self, shared: &Shared, memory: &mut Memory, v: &[f64]) -> Vec<f64> {
        let mut v = v.to_vec();
        if shared.method.differentiates() {
            for (k, rate) in shared.rates.iter().enumerate() {
                let product = self.hessian_product(shared, memory, k, &v);
                for ((v, h), mask) in v.iter_mut().zip(product).zip(&shared.mask) {
                    *v -= rate * mask * h;
                }
            }
        }
        v
    }

    /// `Jᵀ u`, backwards: `u ← u − α H_k M u`.
    fn pull(&self, shared: &Shared, memory: &mut Memory, mut u: Vec<f64>) -> Vec<f64> {
        if shared.method.differentiates() {
            for (k, rate) in shared.rates.iter().enumerate().rev() {
                let masked: Vec<f64> = u.iter().zip(&shared.mask).map(|(u, m)| u * m).collect();
                let product = self.hessian_product(shared, memory, k, &masked);
                u.iter_mut().zip(product).for_each(|(u, h)| *u -= rate * h);
            }
        }
        u
    }

    /// `H_k v`
    fn hessian_product(
        &self,
        shared: &Shared,
        memory: &mut Memory,
        k: usize,
        v: &[f64],
    ) -> Vec<f64> {
        let programs = &shared.programs;
        let v = programs.params(v);
        programs.vector(&programs.hessian_product, memory, [&self.phi[k], &v], &self.support[k])
    }
}
