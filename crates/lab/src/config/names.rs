//! Names of choices: the values that keys of a configuration may have.

use innerloop_engine::Dtype;

choices! {
    /// Order and mapping of Omniglot's characters into training, validation and test classes.
    pub Split {
        /// The alphabets and rotations listed by Vinyals et al. 2016: 1,028 / 172 / 423 characters.
        Vinyals = "vinyals",
        /// A fixed shuffle of all characters, 1,100 / 100 / 423, as in Finn et al. 2017.
        Finn = "finn",
        /// Whole alphabets, as in Lake et al. 2015: 659 characters of the evaluation set for test; of the background set
        /// 172 for validation, those of Vinyals et al., and 792 for training.
        Lake = "lake",
    }

    /// Which classes are also seen turned by 90, 180 and 270 degrees, each turn a class of its own.
    pub Rotations {
        /// None.
        None = "none",
        /// Training classes.
        Train = "train",
        /// Training, validation and test classes.
        All = "all",
    }

    /// A random change of training images, each image of each task anew.
    pub Augment {
        /// Shifted by up to an eighth of the side, what comes in black.
        Crop = "crop",
        /// Left and right exchanged, every other time.
        Flip = "flip",
        /// Turned by a multiple of 90 degrees.
        Rotate = "rotate",
    }

    /// Where tasks, inputs and targets are in a CSV file.
    pub Layout {
        /// A row is a point; columns name its task, inputs and targets.
        Long = "long",
        /// A row has the inputs, and the target of a task in each of the other columns.
        Wide = "wide",
        /// A cell is a point: columns are named `place.x`, and each place has a task in each row.
        Grid = "grid",
    }

    /// How a convolution block halves its maps.
    pub Variant {
        /// Convolution with stride 1, then 2×2 max-pooling.
        MaxPool = "max_pool",
        /// Convolution with stride 2.
        Strided = "strided",
    }

    /// What the linear layer sees of the last maps.
    pub Head {
        /// All of them.
        Flatten = "flatten",
        /// Their mean over positions.
        Mean = "mean",
    }

    /// Which statistics normalise the query set; the support set always uses its own.
    pub BatchNorm {
        /// Those of the whole query set: queries see each other, as in MAML's code.
        Transductive = "transductive",
        /// Those of each query in a batch with the support set: Reptile's non-transductive protocol.
        WithSupport = "with_support",
        /// Running means gathered in training.
        Running = "running",
        /// Running means gathered in training, one set for each inner step: MAML++'s paper. Scales and shifts have a set
        /// for each step too, and the inner loop leaves them alone.
        PerStep = "per_step",
        /// Those of the whole query set, with scales and shifts for each step as before: MAML++'s code.
        PerStepBatch = "per_step_batch",
        /// Those of the support set in a task's own inner steps, averaged: the LSTM meta-learner.
        Episode = "episode",
    }

    /// Function between the layers of a multilayer perceptron.
    pub Activation {
        /// max(x, 0)
        Relu = "relu",
        /// tanh x: smooth, for checks by finite differences.
        Tanh = "tanh",
    }

    /// Initial weights; `fan_in` and `fan_out` are those of the whole kernel.
    pub Init {
        /// N(0, 2 / fan_in).
        He = "he",
        /// U(±√(6 / (fan_in + fan_out))).
        Xavier = "xavier",
        /// U(±1/√fan_in), biases too: PyTorch's default.
        PyTorch = "pytorch",
        /// N(0, 0.01²) redrawn outside two standard deviations, biases 0: MAML's code on sinusoids.
        TruncatedNormal = "truncated_normal",
    }

    /// The rule of the inner loop.
    pub InnerOptimizer {
        /// φ ← φ − α g
        Sgd = "sgd",
        /// Adam with β₁ = 0, β₂ = 0.999, as Reptile's code uses; Reptile only.
        Adam = "adam",
    }

    /// How the exact meta-gradient is computed; all give the same numbers to rounding.
    pub Strategy {
        /// The faster one that fits.
        Auto = "auto",
        /// One graph of the whole inner loop.
        Unrolled = "unrolled",
        /// Snapshots and one Hessian-vector product a step.
        Adjoint = "adjoint",
    }
    /// The type of numbers.
    pub DtypeName {
        /// Single precision.
        F32 = "f32",
        /// Double precision.
        F64 = "f64",
    }
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Dtype {
        match name {
            DtypeName::F32 => Dtype::F32,
            DtypeName::F64 => Dtype::F64,
        }
    }
}
