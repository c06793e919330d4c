//! Methods on Omniglot, 5-way 1-shot, within 20 minutes.

use super::Preset;

/// `[algorithm]` is all that differs, and the steps at test where there are none.
macro_rules! omniglot {
    ($algorithm:literal) => {
        omniglot!($algorithm, "steps = 3\n")
    };
    ($algorithm:literal, $steps:literal) => {
        concat!(
            r#"[tasks]
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
"#,
            $algorithm,
            r#"
[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 10_000

[evaluation]
"#,
            $steps,
            r#"validate_every = 2500
validation_tasks = 200

[run]
minutes = 20
"#
        )
    };
}

pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "omniglot-5w1s-maml",
        about: "MAML on Omniglot, 5-way 1-shot, within 20 minutes",
        text: omniglot!(
            r#"name = "maml"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "omniglot-5w1s-fomaml",
        about: "first-order MAML on Omniglot, 5-way 1-shot, within 20 minutes",
        text: omniglot!(
            r#"name = "fomaml"
inner_lr = 0.1
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "omniglot-5w1s-reptile",
        about: "Reptile on Omniglot, 5-way 1-shot, within 20 minutes",
        text: REPTILE,
    },
    Preset {
        name: "omniglot-5w1s-anil",
        about: "ANIL on Omniglot, 5-way 1-shot, within 20 minutes",
        text: omniglot!(
            r#"name = "anil"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "omniglot-5w1s-meta-sgd",
        about: "Meta-SGD on Omniglot, 5-way 1-shot, within 20 minutes",
        text: omniglot!(
            r#"name = "meta_sgd"
# Where every learned rate starts.
inner_lr = 0.1
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "omniglot-5w1s-protonet",
        about: "prototypical networks on Omniglot, 5-way 1-shot, within 20 minutes",
        text: omniglot!(
            r#"name = "protonet"
"#,
            ""
        ),
    },
    Preset {
        name: "omniglot-5w1s-fine-tune",
        about: "the baseline: a network trained on all classes of Omniglot together, then fine-tuned, within 20 minutes",
        text: omniglot!(
            r#"name = "fine_tune"
inner_lr = 0.1
"#,
            "steps = 20\n"
        ),
    },
];

const REPTILE: &str = r#"[tasks]
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
