//! MAML++: Antoniou, Edwards, Storkey 2019, arXiv 1810.09502, wrapping another method, which in the paper is MAML.
//!
//! G = ∇ Σ_k w_k L_Q(φ_k)      k = 1..K      multi-step loss: every inner step's query loss counts
//! w_k = max((1 − x)/K, 0.03/K)  for k < K   x the fraction of the first phase that is over
//! w_K = 1 − Σ_{k<K} w_k                     after that phase w_K = 1 and the others are zero
//!
//! Derivative-order annealing: g_k is held constant in G until a fraction of training is over. θ then gets first-order
//! MAML's gradient; learned rates still get theirs through `φ_k − α_k g_k`.
//!
//! The other parts of the paper are elsewhere: rates per tensor and step are [`super::LearnedRates`], the cosine is the
//! outer schedule, statistics, scales and shifts per step belong to the network, the ensemble at test to the run.
//!
//! Departures: the weights change with every iteration, in the authors' code with every epoch. Holding gradients
//! constant saves no time, because the same programs serve the whole training. The network's statistics per step
//! normalise the query set at evaluation, as the paper has it; the authors' code stores them and uses those of the
//! batch. There, the query pass after a step shares that step's scales and shifts; here it has those of the next one.

use innerloop_engine::{Dtype, Params, Shape, Tensor, Var};

use crate::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing, Vars};

/// Another method with MAML++'s multi-step loss and derivative-order annealing.
pub struct MamlPlusPlus {
    base: Box<dyn Algorithm>,
    name: String,
    /// Fraction of training after which only the last step's query loss counts; 0 means from the start.
    pub losses_until: f64,
    /// Fraction of training after which derivatives flow through the inner gradients; 0 means from the start.
    pub second_order_from: f64,
}

/// Whether derivatives flow through the inner gradients: 1 or 0.
const SECOND_ORDER: &str = "second_order";
/// Smallest weight of a step while all count, as a multiple of 1/K.
const LEAST: f64 = 0.03;

impl MamlPlusPlus {
    /// Wraps `base`; each share may be 0 to switch that part off.
    pub fn new(
        base: Box<dyn Algorithm>,
        losses_until: f64,
        second_order_from: f64,
    ) -> MamlPlusPlus {
        let name = match base.name() {
            "maml" => "maml_plus_plus".to_string(),
            other => format!("{other}++"),
        };
        MamlPlusPlus { base, name, losses_until, second_order_from }
    }
}

impl Algorithm for MamlPlusPlus {
    fn name(&self) -> &str {
        &self.name
    }

    fn loss_weights(&self, steps: usize, done: f64) -> Option<Vec<f64>> {
        if self.losses_until == 0.0 || steps < 2 {
            return None;
        }
        let over = done / self.losses_until;
        let k = steps as f64;
        let early = if over < 1.0 { (1.0 - over).max(LEAST) / k } else { 0.0 };
        let mut weights = vec![early; steps];
        weights[steps - 1] = 1.0 - (k - 1.0) * early;
        Some(weights)
    }

    fn scheduled(&self, done: f64) -> Params<Tensor> {
        let mut values = self.base.scheduled(done);
        if self.second_order_from > 0.0 {
            let on = if done < self.second_order_from { 0.0 } else { 1.0 };
            values.push(SECOND_ORDER, Tensor::scalar(Dtype::F64, on));
        }
        values
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let Some(&on) = step.scheduled.get(SECOND_ORDER) else { return self.base.advance(step) };
        // The same value, with a switched derivative.
        let switched = |&g: &Var<'g>| {
            let held = g.stop_gradient();
            held + (g - held) * on
        };
        let gradient = step.gradient.map(switched);
        self.base.advance(&InnerStep { gradient, ..step.clone() })
    }

    as_in_base! {
        adapts learns rates learns_rates scaled reach state keeps_state sharing meta_gradient companion objective
        penalty direction
    }
}
