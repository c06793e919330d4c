//! Batch normalisation with the modes that meta-learning distinguishes.

use innerloop_engine::Var;

use crate::Vars;

/// Whose statistics normalise a batch. Reports print the mode's name, since scores under different modes
/// are not comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNorm {
    /// Statistics of the current batch: of the support set while adapting, of the whole query set when predicting, so
    /// predictions depend on each other (MAML's protocol).
    Transductive,
    /// The support set's statistics while adapting; when predicting, each query example is normalised in a batch with
    /// the whole support set and sees no other query (Reptile's non-transductive protocol).
    WithSupport,
    /// Batch statistics while meta-training and adapting; their running averages for queries at evaluation.
    Running,
    /// Like [`BatchNorm::Running`], with separate averages, scales and shifts for every inner step: MAML++ as its paper
    /// describes it.
    PerStep,
    /// Like [`BatchNorm::Transductive`], with separate scales and shifts for every inner step: MAML++ as its code
    /// computes it, which gathers averages but does not use them.
    PerStepBatch,
    /// Batch statistics while meta-training and adapting; at evaluation, queries use averages gathered in the support
    /// passes of their own task (Ravi and Larochelle 2017).
    Episode,
}

impl BatchNorm {
    /// Whether every inner step has its own scales and shifts.
    pub fn has_steps(self) -> bool {
        matches!(self, BatchNorm::PerStep | BatchNorm::PerStepBatch)
    }

    /// Name in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            BatchNorm::Transductive => "transductive",
            BatchNorm::WithSupport => "with_support",
            BatchNorm::Running => "running",
            BatchNorm::PerStep => "per_step",
            BatchNorm::PerStepBatch => "per_step_batch",
            BatchNorm::Episode => "episode",
        }
    }
}

/// The statistics a forward pass normalises with.
pub enum NormStatistics<'g> {
    /// Statistics of the batch itself, cut into this many equal groups of consecutive examples, each with its own
    /// statistics.
    Batch {
        /// Number of groups; 1 for the whole batch.
        groups: usize,
    },
    /// Given statistics, under the names of [`crate::Model::statistics`].
    Given(Vars<'g>),
}

/// `y = γ (x − μ) / √(σ² + ε) + β` per channel, with the mean and the **biased** variance over examples
/// and positions. `x` is `[n, .., c]`, `γ` and `β` are `[c]`; derivatives flow through μ and σ².
///
/// `bias` is what the previous layer adds to every channel. Batch statistics cancel it, so `y` does not depend on it
/// and its derivative is zero: it only moves the mean.
///
/// Batch statistics taken over one group are appended to `collected` as `{name}.mean` and `{name}.var`.
#[track_caller]
pub(crate) fn batch_norm<'g>(
    x: Var<'g>,
    bias: Var<'g>,
    params: &Vars<'g>,
    name: &str,
    eps: f64,
    statistics: &NormStatistics<'g>,
    collected: &mut Vars<'g>,
) -> Var<'g> {
    let (gamma, beta) = (params[&format!("{name}.weight")], params[&format!("{name}.bias")]);
    let (mean_name, var_name) = (format!("{name}.mean"), format!("{name}.var"));
    let shape = x.shape();
    let channels = shape[shape.len() - 1];
    match statistics {
        NormStatistics::Given(given) => {
            let scale = (given[&var_name] + eps).sqrt().recip() * gamma;
            (x - (given[&mean_name] - bias)) * scale + beta
        }
        NormStatistics::Batch { groups } => {
            let groups = *groups;
            let rows = shape[..shape.len() - 1].iter().product::<usize>() / groups;
            // [groups, rows, channels], statistics over the rows.
            let grouped = if groups == 1 { x } else { x.reshape(&[groups, rows, channels]) };
            let small = if groups == 1 { vec![channels] } else { vec![groups, 1, channels] };
            let over_rows = 1.0 / rows as f64;
            let mean = grouped.mean_to(&small);
            let centred = grouped - mean;
            let var = grouped.deviation_to(&small) * over_rows;
            if groups == 1 {
                collected.push(mean_name, mean + bias);
                collected.push(var_name, var);
            }
            let scale = (var + eps).sqrt().recip() * gamma;
            (centred * scale + beta).reshape(&shape)
        }
    }
}
