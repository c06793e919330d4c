//! Configurations by name. Each states only what differs from the defaults.

mod strokes;

/// A configuration with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The TOML text.
    pub text: &'static str,
}

/// Name of the preset that `train` runs when told nothing.
pub const DEFAULT: &str = "strokes-maml";

/// Every preset, in the order a list shows them.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    strokes::ALL.iter().chain(OTHERS)
}

const OTHERS: &[Preset] = &[
    Preset {
        name: "sinusoid-maml",
        about: "MAML on sinusoids from 10 points",
        text: SINUSOID_MAML,
    },
    Preset {
        name: "sinusoid-pretrained",
        about: "the baseline: one network trained on all sinusoids together, then fine-tuned",
        text: SINUSOID_PRETRAINED,
    },
    Preset {
        name: "omniglot-5w1s-maml",
        about: "MAML on Omniglot, 5-way 1-shot, within 20 minutes",
        text: OMNIGLOT_MAML,
    },
    Preset {
        name: "omniglot-5w1s-fomaml",
        about: "first-order MAML on Omniglot, 5-way 1-shot, within 20 minutes",
        text: OMNIGLOT_FOMAML,
    },
    Preset {
        name: "omniglot-5w1s-reptile",
        about: "Reptile on Omniglot, 5-way 1-shot, within 20 minutes",
        text: OMNIGLOT_REPTILE,
    },
    Preset {
        name: "omniglot-5w1s-anil",
        about: "ANIL on Omniglot, 5-way 1-shot, within 20 minutes",
        text: OMNIGLOT_ANIL,
    },
    Preset {
        name: "omniglot-5w1s-meta-sgd",
        about: "Meta-SGD on Omniglot, 5-way 1-shot, within 20 minutes",
        text: OMNIGLOT_META_SGD,
    },
];

/// The TOML text of a preset.
pub fn find(name: &str) -> Option<&'static str> {
    all().find(|preset| preset.name == name).map(|preset| preset.text)
}

/// Names of the presets, in the order of [`all`].
pub fn names() -> Vec<&'static str> {
    all().map(|preset| preset.name).collect()
}

const SINUSOID_MAML: &str = r#"[tasks]
family = "sinusoid"
shots = 10
query = 100
train_query = 10

[model]
kind = "mlp"
hidden = [40, 40]
activation = "relu"

[algorithm]
name = "maml"
inner_lr = 0.01
adaptation_steps = 1

[outer]
optimizer = "adam"
lr = 0.001
meta_batch_size = 25
# 70,000 in the publication: experiments/sinusoid-10shot-maml.toml
iterations = 15000

[evaluation]
steps = 10
validate_every = 1000

[run]
checkpoint_every = 1000
log_every = 50
"#;

const SINUSOID_PRETRAINED: &str = r#"[tasks]
family = "sinusoid"
shots = 10
query = 100
train_query = 10

[model]
kind = "mlp"
hidden = [40, 40]
activation = "relu"

[algorithm]
name = "maml"
inner_lr = 0.01
# No inner loop in training: the meta-gradient is that of the joint loss.
adaptation_steps = 0

[outer]
optimizer = "adam"
lr = 0.001
meta_batch_size = 25
iterations = 15000

[evaluation]
steps = 10
validate_every = 1000

[run]
checkpoint_every = 1000
log_every = 50
"#;

const OMNIGLOT_MAML: &str = r#"[tasks]
family = "omniglot"
ways = 5
shots = 1
query = 15
train_query = 2
split = "vinyals"
rotations = "train"

[model]
kind = "conv4"
filters = 64
variant = "max_pool"

[algorithm]
name = "maml"
inner_lr = 0.4
adaptation_steps = 1

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 10_000

[evaluation]
steps = 3
validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#;

const OMNIGLOT_FOMAML: &str = r#"[tasks]
family = "omniglot"
ways = 5
shots = 1
query = 15
train_query = 2
split = "vinyals"
rotations = "train"

[model]
kind = "conv4"
filters = 64
variant = "max_pool"

[algorithm]
name = "fomaml"
inner_lr = 0.1
adaptation_steps = 1

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 10_000

[evaluation]
steps = 3
validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#;

const OMNIGLOT_REPTILE: &str = r#"[tasks]
family = "omniglot"
ways = 5
shots = 1
query = 15
train_shots = 10
train_query = 1
split = "vinyals"
rotations = "train"

[model]
kind = "conv4"
filters = 64
variant = "max_pool"

[algorithm]
name = "reptile"
inner_lr = 0.001
adaptation_steps = 5
inner_batch = 10
inner_optimizer = "adam"

[outer]
# One step of the whole way to the adapted weights, falling to none.
optimizer = "sgd"
lr = 1.0
schedule = "linear"
meta_batch_size = 5
iterations = 10_000

[evaluation]
steps = 10
validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#;

const OMNIGLOT_ANIL: &str = r#"[tasks]
family = "omniglot"
ways = 5
shots = 1
query = 15
train_query = 2
split = "vinyals"
rotations = "train"

[model]
kind = "conv4"
filters = 64
variant = "max_pool"

[algorithm]
name = "anil"
inner_lr = 0.4
adaptation_steps = 1

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 10_000

[evaluation]
steps = 3
validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#;

const OMNIGLOT_META_SGD: &str = r#"[tasks]
family = "omniglot"
ways = 5
shots = 1
query = 15
train_query = 2
split = "vinyals"
rotations = "train"

[model]
kind = "conv4"
filters = 64
variant = "max_pool"

[algorithm]
name = "meta_sgd"
# Where every learned rate starts.
inner_lr = 0.1
adaptation_steps = 1

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 10_000

[evaluation]
steps = 3
validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#;
