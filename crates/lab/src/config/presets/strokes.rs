//! Every method on drawn characters, which need no data set.

use super::Preset;

/// 5-way 1-shot with a query set of 3 in training, and 1,000 iterations of 8 tasks; `[algorithm]` is all that
/// differs, and with it the steps at test.
macro_rules! strokes {
    ($algorithm:literal) => {
        strokes!($algorithm, "steps = 3\n")
    };
    ($algorithm:literal, $steps:literal) => {
        concat!(
            r#"[tasks]
family = "strokes"
ways = 5
shots = 1
query = 15
train_query = 3

[model]
kind = "conv4"
filters = 32

[algorithm]
"#,
            $algorithm,
            r#"
[outer]
lr = 3e-3
schedule = "cosine"
meta_batch_size = 8
iterations = 1000

[evaluation]
"#,
            $steps,
            r#"validate_every = 250

[run]
checkpoint_every = 250
"#
        )
    };
}

pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "strokes-maml",
        about: "MAML on drawn characters, 5-way 1-shot, no data set needed: about 3 minutes",
        text: strokes!(
            r#"name = "maml"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-maml-plus-plus",
        about: "MAML++ on drawn characters, 5-way 1-shot: learned rates, losses of all steps, first order at first",
        text: MAML_PLUS_PLUS,
    },
    Preset {
        name: "strokes-fomaml",
        about: "first-order MAML on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "fomaml"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-reptile",
        about: "Reptile on drawn characters, 5-way 1-shot",
        text: REPTILE,
    },
    Preset {
        name: "strokes-anil",
        about: "ANIL on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "anil"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-meta-sgd",
        about: "Meta-SGD on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "meta_sgd"
# Where every learned rate starts.
inner_lr = 0.1
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-boil",
        about: "BOIL on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "boil"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-cavia",
        about: "CAVIA on drawn characters, 5-way 1-shot: 100 context parameters adapt",
        text: strokes!(
            r#"name = "cavia"
inner_lr = 1.0
adaptation_steps = 2
context_parameters = 100
"#
        ),
    },
    Preset {
        name: "strokes-sign-maml",
        about: "Sign-MAML on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "sign_maml"
# What every weight moves in a step.
inner_lr = 0.0035
adaptation_steps = 3
"#
        ),
    },
    Preset {
        name: "strokes-truncated-maml",
        about: "MAML through the last of 3 steps on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "truncated_maml"
inner_lr = 0.2
adaptation_steps = 3
last_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-binom-maml",
        about: "BinomMAML, terms of one Hessian in 3 steps, on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "binom_maml"
inner_lr = 0.2
adaptation_steps = 3
degree = 1
"#
        ),
    },
    Preset {
        name: "strokes-hf-maml",
        about: "Hessian-free MAML on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "hf_maml"
inner_lr = 0.1
adaptation_steps = 1
# Over kinks of ReLU and pooling, which shorter differences follow one by one.
epsilon = 1.0
"#
        ),
    },
    Preset {
        name: "strokes-multi-step",
        about: "multi-step estimation, 3 steps with one gradient, on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "multi_step"
inner_lr = 0.15
adaptation_steps = 3
window = 3
"#
        ),
    },
    Preset {
        name: "strokes-gradient-similarity",
        about: "gradient-similarity correction on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "gradient_similarity"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-lstm",
        about: "the LSTM meta-learner on drawn characters, 5-way 1-shot: a learned inner rule",
        text: LSTM,
    },
    Preset {
        name: "strokes-protonet",
        about: "prototypical networks on drawn characters, 5-way 1-shot: the baseline without an inner loop",
        text: strokes!(
            r#"name = "protonet"
"#,
            ""
        ),
    },
    Preset {
        name: "strokes-fine-tune",
        about: "the baseline: a network trained on all classes together, then fine-tuned, on drawn characters",
        text: strokes!(
            r#"name = "fine_tune"
inner_lr = 0.1
"#,
            "steps = 20\n"
        ),
    },
    Preset {
        name: "strokes-shot",
        about: "MAML with SHOT's regularizer on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "maml"
inner_lr = 0.2
adaptation_steps = 3
regularizer = "shot"
shot_weight = 0.1
"#
        ),
    },
    Preset {
        name: "strokes-shot-pretrained",
        about: "MAML after a tenth of training on SHOT's distance alone, on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "maml"
inner_lr = 0.2
adaptation_steps = 3
regularizer = "shot"
shot_pretraining = 0.1
"#
        ),
    },
    Preset {
        name: "strokes-meta-curvature",
        about: "Meta-Curvature on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "meta_curvature"
inner_lr = 0.4
adaptation_steps = 1
"#
        ),
    },
    Preset {
        name: "strokes-imaml",
        about: "implicit MAML on drawn characters, 5-way 1-shot",
        text: strokes!(
            r#"name = "imaml"
inner_lr = 0.1
adaptation_steps = 16
# In every step; the released code has 2, in a single one after 16 plain ones.
proximal = 0.5
cg_steps = 5
# As in the released code.
cg_damping = 1.0
"#,
            "steps = 16\n"
        ),
    },
];

const MAML_PLUS_PLUS: &str = r#"[tasks]
family = "strokes"
ways = 5
shots = 1
query = 15
train_query = 3

[model]
kind = "conv4"
filters = 32

[algorithm]
name = "maml_plus_plus"
# Where every learned rate starts.
inner_lr = 0.1
adaptation_steps = 3
multi_step_loss = 0.2
second_order_from = 0.1
frozen = ["features.0.norm", "features.1.norm", "features.2.norm", "features.3.norm"]

[outer]
lr = 3e-3
schedule = "cosine"
final_lr = 1e-5
meta_batch_size = 8
iterations = 1000

[evaluation]
steps = 3
validate_every = 250

[run]
checkpoint_every = 250
"#;

const LSTM: &str = r#"[tasks]
family = "strokes"
ways = 5
shots = 1
query = 15
train_query = 3

[model]
kind = "conv4"
filters = 16

[algorithm]
name = "lstm"
adaptation_steps = 5

[outer]
lr = 3e-3
clip_norm = 0.25
schedule = "cosine"
meta_batch_size = 4
iterations = 1000

[evaluation]
steps = 5
validate_every = 250

[run]
checkpoint_every = 250
"#;

const REPTILE: &str = r#"[tasks]
family = "strokes"
ways = 5
shots = 1
query = 15
train_shots = 10
train_query = 1

[model]
kind = "conv4"
filters = 32

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
iterations = 1000

[evaluation]
steps = 10
validate_every = 250

[run]
checkpoint_every = 250
"#;
