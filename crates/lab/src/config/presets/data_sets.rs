//! Presets on data sets in files, and on what resembles them.

/// Digits side by side, 5-way 1-shot.
macro_rules! numbers {
    ($tasks:literal) => {
        concat!(
            "[tasks]\n",
            $tasks,
            r#"ways = 5
shots = 1
query = 15
train_query = 5

[model]
kind = "conv4"
filters = 32

[algorithm]
name = "maml"
inner_lr = 0.03
adaptation_steps = 3

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 4
iterations = 2000

[evaluation]
steps = 5
validate_every = 250

[run]
checkpoint_every = 250
minutes = 20
"#
        )
    };
}

pub(super) const DOUBLE_MNIST_MAML: &str = numbers!("family = \"double_mnist\"\nsize = 32\n");
pub(super) const TRIPLE_MNIST_MAML: &str = numbers!("family = \"triple_mnist\"\nsize = 42\n");

/// Photographs, 5-way 1-shot.
macro_rules! photographs {
    ($tasks:literal) => {
        concat!(
            "[tasks]\n",
            $tasks,
            r#"ways = 5
shots = 1
query = 15
train_query = 5

[model]
kind = "conv4"
filters = 32

[algorithm]
name = "maml"
inner_lr = 0.1
adaptation_steps = 3

[outer]
lr = 2e-3
schedule = "cosine"
meta_batch_size = 4
iterations = 2000

[evaluation]
steps = 5
validate_every = 250

[run]
checkpoint_every = 250
minutes = 20
"#
        )
    };
}

pub(super) const CIFAR_FS_MAML: &str = photographs!(
    r#"family = "cifar_fs"
augment = ["crop", "flip"]
"#
);
pub(super) const FC100_MAML: &str = photographs!(
    r#"family = "fc100"
augment = ["crop", "flip"]
"#
);
pub(super) const MINI_IMAGENET_MAML: &str = photographs!(
    r#"family = "mini_imagenet"
augment = ["crop", "flip"]
"#
);
pub(super) const IMAGES_MAML: &str = photographs!(
    r#"family = "images"
# A folder, or zip archive, with a folder of images for each class: --set tasks.data=...
size = 32
channels = 3
"#
);

/// Curves from a file.
macro_rules! curves {
    ($tasks:literal) => {
        concat!(
            "[tasks]\nfamily = \"curves\"\n",
            $tasks,
            r#"
[model]
kind = "mlp"
hidden = [40, 40]

[algorithm]
name = "maml"
inner_lr = 0.05
adaptation_steps = 5

[outer]
lr = 1e-3
schedule = "cosine"
meta_batch_size = 20
iterations = 3000

[evaluation]
steps = 10
validate_every = 500

[run]
checkpoint_every = 500
log_every = 50
minutes = 20
"#
        )
    };
}

pub(super) const OZONE_MAML: &str = curves!(
    r#"file = "regression/ozone.csv"
layout = "grid"
shots = 10
query = 62
train_shots = 10
train_query = 20
"#
);

pub(super) const GAPMINDER_MAML: &str = curves!(
    r#"file = "regression/gapminder.csv"
task_columns = ["country"]
x_columns = ["year"]
y_columns = ["lifeExp"]
shots = 4
query = 8
train_shots = 4
train_query = 8
"#
);

pub(super) const SPRUCE_MAML: &str = curves!(
    r#"file = "regression/Spruce.csv"
task_columns = ["Tree"]
x_columns = ["days"]
y_columns = ["logSize"]
shots = 4
query = 9
train_shots = 4
train_query = 9
"#
);

pub(super) const SINE_LINE_MAML: &str = r#"[tasks]
family = "sine_line"
shots = 5
query = 45
train_shots = 5
train_query = 15

[model]
kind = "mlp"
hidden = [40, 40]

[algorithm]
name = "maml"
inner_lr = 0.01
adaptation_steps = 5

[outer]
lr = 1e-3
schedule = "cosine"
meta_batch_size = 20
iterations = 10000

[evaluation]
steps = 10
validate_every = 500

[run]
checkpoint_every = 500
log_every = 50
minutes = 20
"#;

/// The protocol of SHOT's code for regression, for which it has no table.
pub(super) const SINE_LINE_SHOT: &str = r#"[tasks]
family = "sine_line"
shots = 5
query = 45

[model]
kind = "mlp"
hidden = [40, 40]

[algorithm]
name = "fomaml"
inner_lr = 0.001
adaptation_steps = 5
regularizer = "shot"
# Two steps at 0.0025, which travel as far.
shot_steps = 2
shot_distance = "outputs"
shot_weight = 0.1

[outer]
lr = 1e-3
meta_batch_size = 20
# 50,000 in the authors' code: 100 epochs of 10,000 tasks
iterations = 10000

[evaluation]
steps = 5
validate_every = 500

[run]
checkpoint_every = 500
log_every = 50
minutes = 20
"#;
