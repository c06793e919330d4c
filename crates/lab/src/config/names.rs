//! The names of choices in configurations.

use innerloop_engine::Dtype;
use innerloop_meta::Strategy;
use innerloop_meta::algorithms::{Comparison, Decay, Distance, Role};
use innerloop_nn::{Activation, BatchNorm, Downsampling, Head};
use innerloop_rl::Observation;
use innerloop_tasks::Rotations;
use innerloop_tasks::omniglot::OmniglotSplit;

choices! {
    /// A random augmentation of training images, drawn anew for each image of each task.
    pub Augment {
        /// Shifted by up to an eighth of the side, padded with black.
        Crop = "crop",
        /// Mirrored left to right, with probability one half.
        Flip = "flip",
        /// Rotated by a multiple of 90 degrees.
        Rotate = "rotate",
    }

    /// Where tasks, inputs and targets are in a CSV file.
    pub Layout {
        /// Each row is a point, with columns for its task, inputs and targets.
        Long = "long",
        /// Each row holds the inputs, and each of the other columns the target of one task.
        Wide = "wide",
        /// Each cell is a point: columns are named `place.x`, and every place has one task per row.
        Grid = "grid",
    }

    /// Initial weights; `fan_in` and `fan_out` are those of the whole kernel.
    pub Init {
        /// N(0, 2 / fan_in).
        He = "he",
        /// U(±√(6 / (fan_in + fan_out))).
        Xavier = "xavier",
        /// U(±1/√fan_in), biases too: PyTorch's default.
        PyTorch = "pytorch",
        /// N(0, 0.01²) truncated at two standard deviations, biases 0: MAML's code on sinusoids.
        TruncatedNormal = "truncated_normal",
    }

    /// The rule of the inner loop.
    pub InnerOptimizer {
        /// φ ← φ − α g
        Sgd = "sgd",
        /// Adam with β₁ = 0, β₂ = 0.999, as Reptile's code uses; Reptile only.
        Adam = "adam",
    }
}

named! {
    OmniglotSplit {
        Vinyals = "vinyals",
        Finn = "finn",
        Lake = "lake",
    }
    Rotations {
        None = "none",
        Train = "train",
        All = "all",
    }
    Downsampling {
        MaxPool = "max_pool",
        Strided = "strided",
    }
    Head {
        Flatten = "flatten",
        Mean = "mean",
    }
    BatchNorm {
        Transductive = "transductive",
        WithSupport = "with_support",
        Running = "running",
        PerStep = "per_step",
        PerStepBatch = "per_step_batch",
        Episode = "episode",
    }
    Activation {
        Relu = "relu",
        Tanh = "tanh",
    }
    Strategy {
        Auto = "auto",
        Unrolled = "unrolled",
        Adjoint = "adjoint",
    }
    Decay {
        Constant = "constant",
        Linear = "linear",
    }
    Comparison {
        Whole = "whole",
        PerTensor = "per_tensor",
        PerLayer = "per_layer",
    }
    Distance {
        ReferenceToTarget = "kl_reference_target",
        TargetToReference = "kl_target_reference",
        CrossEntropy = "cross_entropy",
        Outputs = "outputs",
        Parameters = "parameters",
    }
    Role {
        Reference = "reference",
        Target = "target",
    }
    Observation {
        State = "state",
        StateAndGoal = "state_and_goal",
    }
    Dtype {
        F32 = "f32",
        F64 = "f64",
    }
}
