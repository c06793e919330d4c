//! Configurations by name. Each states only what differs from the defaults.

mod data_sets;
mod omniglot;
mod rl;
mod strokes;
mod transfer;

use super::Kind;

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

/// Every preset of few-shot learning, in the order a list shows them.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    of(Kind::FewShot)
}

/// Presets of a kind, in the order a list shows them.
pub fn of(kind: Kind) -> impl Iterator<Item = &'static Preset> {
    let parts: &[&[Preset]] = match kind {
        Kind::FewShot => &[strokes::ALL, SINUSOIDS, omniglot::ALL, DATA_SETS],
        Kind::Rl => &[rl::ALL],
        Kind::Transfer => &[transfer::ALL],
    };
    parts.iter().copied().flatten()
}

const SINUSOIDS: &[Preset] = &[
    Preset {
        name: "sinusoid-maml",
        about: "MAML on sinusoids from 10 points",
        text: SINUSOID_MAML,
    },
    Preset {
        name: "sinusoid-cavia",
        about: "CAVIA on sinusoids from 10 points: 5 context parameters adapt",
        text: SINUSOID_CAVIA,
    },
    Preset {
        name: "sinusoid-pretrained",
        about: "the baseline: one network trained on all sinusoids together, then fine-tuned",
        text: SINUSOID_PRETRAINED,
    },
];

const DATA_SETS: &[Preset] = &[
    Preset {
        name: "double-mnist-5w1s-maml",
        about: "MAML on Double MNIST at 32×32, 5-way 1-shot",
        text: data_sets::DOUBLE_MNIST_MAML,
    },
    Preset {
        name: "triple-mnist-5w1s-maml",
        about: "MAML on Triple MNIST at 42×42, 5-way 1-shot",
        text: data_sets::TRIPLE_MNIST_MAML,
    },
    Preset {
        name: "cifar-fs-5w1s-maml",
        about: "MAML on CIFAR-FS, 5-way 1-shot",
        text: data_sets::CIFAR_FS_MAML,
    },
    Preset {
        name: "fc100-5w1s-maml",
        about: "MAML on FC100, 5-way 1-shot",
        text: data_sets::FC100_MAML,
    },
    Preset {
        name: "mini-imagenet-5w1s-maml",
        about: "MAML on miniImageNet at 84×84, 5-way 1-shot",
        text: data_sets::MINI_IMAGENET_MAML,
    },
    Preset {
        name: "images-5w1s-maml",
        about: "MAML on images of your own (tasks.data), 5-way 1-shot",
        text: data_sets::IMAGES_MAML,
    },
    Preset {
        name: "ozone-maml",
        about: "MAML on curves of ozone over 72 months at 576 places, from 10 months",
        text: data_sets::OZONE_MAML,
    },
    Preset {
        name: "gapminder-maml",
        about: "MAML on curves of life expectancy in 142 countries, from 4 years",
        text: data_sets::GAPMINDER_MAML,
    },
    Preset {
        name: "spruce-maml",
        about: "MAML on curves of growth of 79 spruce trees, from 4 days",
        text: data_sets::SPRUCE_MAML,
    },
    Preset {
        name: "sine-line-maml",
        about: "MAML on sine curves and lines with noise, from 5 points",
        text: data_sets::SINE_LINE_MAML,
    },
    Preset {
        name: "sine-line-shot",
        about: "first-order MAML with SHOT's regularizer on sine curves and lines, as in its authors' code",
        text: data_sets::SINE_LINE_SHOT,
    },
];

/// The TOML text of a preset of few-shot learning.
pub fn find(name: &str) -> Option<&'static str> {
    find_of(Kind::FewShot, name)
}

/// The TOML text of a preset of a kind.
pub fn find_of(kind: Kind, name: &str) -> Option<&'static str> {
    of(kind).find(|preset| preset.name == name).map(|preset| preset.text)
}

/// Names of the presets of every kind.
pub fn names() -> Vec<&'static str> {
    Kind::ALL.into_iter().flat_map(of).map(|preset| preset.name).collect()
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

const SINUSOID_CAVIA: &str = r#"[tasks]
family = "sinusoid"
shots = 10
query = 100
train_query = 10

[model]
kind = "mlp"
hidden = [40, 40]
activation = "relu"

[algorithm]
name = "cavia"
inner_lr = 1.0
adaptation_steps = 1
context_parameters = 5

[outer]
optimizer = "adam"
lr = 0.001
meta_batch_size = 25
clip_value = 10
# 50,000 in the publication
iterations = 15000

[evaluation]
steps = 5
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
