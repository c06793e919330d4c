//! The inner loop, and how the outer gradient flows through it.
//!
//! In every method the inner loop is the policy gradient on its own trajectories, drawn by the policy that the step
//! starts from:
//!
//! φ_0 = θ     φ_{k+1} = φ_k − α M ∇L_k(φ_k)     L_k(φ) = −1/n Σ A_i log π_φ(a_i | s_i)
//!
//! with M the projection to the parameters that adapt. The trajectories, and so the advantages A, are data: no
//! derivative flows through how they were drawn. With `J = Π_k (I − α M H_k)` and `H_k = ∇²L_k(φ_k)`, the outer
//! gradient of an outer loss L_Q at φ_K is `Jᵀ ∇L_Q(φ_K)`.

/// A meta-learning method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Finn, Abbeel, Levine 2017, arXiv 1703.03400, Algorithm 3: all parameters adapt, J is exact.
    Maml,
    /// The same, section 5.2: J is taken to be the identity.
    Fomaml,
    /// Raghu et al. 2020, arXiv 1909.09157: only the head adapts, including `log σ`; J is exact.
    Anil,
    /// Nichol, Achiam, Schulman 2018, arXiv 1803.02999: the outer "gradient" is θ − φ_K.
    Reptile,
    /// Kim, Park, Choi 2020, arXiv 2006.04298, as far as its abstract describes it: in training, a window of inner
    /// steps shares one gradient, hence its trajectories and its Hessian: `J = Π_j (I − αW H_j)`.
    MultiStep {
        /// Steps W that share a gradient.
        window: usize,
    },
}

/// How to adapt to a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InnerLoop {
    /// The method.
    pub method: Method,
    /// α.
    pub rate: f64,
    /// Inner steps K in training; with zero, θ is trained on all tasks together.
    pub steps: usize,
}

impl Method {
    /// Whether the inner loop moves the parameter of this name.
    pub fn adapts(self, name: &str) -> bool {
        match self {
            Method::Anil => name.starts_with("head."),
            Method::Maml | Method::Fomaml | Method::Reptile | Method::MultiStep { .. } => true,
        }
    }

    /// Whether the outer gradient goes through the inner steps.
    pub fn differentiates(self) -> bool {
        match self {
            Method::Maml | Method::Anil | Method::MultiStep { .. } => true,
            Method::Fomaml | Method::Reptile => false,
        }
    }
}

impl InnerLoop {
    /// Rates of the gradients taken in training, one per gradient: α times the number of steps that share it.
    pub fn training_rates(&self) -> Vec<f64> {
        let window = match self.method {
            Method::MultiStep { window } => window.max(1),
            Method::Maml | Method::Fomaml | Method::Anil | Method::Reptile => 1,
        };
        let starts = (0..self.steps).step_by(window);
        starts.map(|at| self.rate * window.min(self.steps - at) as f64).collect()
    }

    /// Rate of a step of adaptation after training, where each step has its own gradient: α for the first, then α/2, as
    /// in the code of Finn et al. 2017.
    pub fn test_rate(&self, step: usize) -> f64 {
        if step == 0 { self.rate } else { 0.5 * self.rate }
    }
}
