//! Meta-transfer.

use super::Preset;

pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "transfer-strokes",
        about: "L2T-ww and baselines: from drawn characters to others, 5 labels a class; no files",
        text: STROKES,
    },
    Preset {
        name: "transfer-omniglot",
        about: "L2T-ww and baselines: from Omniglot's training characters to test characters, 5 labels a class",
        text: OMNIGLOT,
    },
    Preset {
        name: "transfer-cifar-fs",
        about: "L2T-ww and baselines: from CIFAR-FS's training classes to test classes, 20 labels a class",
        text: CIFAR_FS,
    },
];

const STROKES: &str = r#"[transfer]
family = "strokes"
source_classes = 30
source_shots = 30
target_classes = 10
target_shots = 5
target_query = 30
"#;

const OMNIGLOT: &str = r#"[transfer]
family = "omniglot"
source_classes = 60
source_shots = 15
source_query = 5
target_classes = 20
target_shots = 5
target_query = 15

[source]
iterations = 1000
"#;

const CIFAR_FS: &str = r#"[transfer]
family = "cifar_fs"
source_classes = 64
source_shots = 45
source_query = 5
target_classes = 10
target_shots = 20
target_query = 30

[source]
iterations = 1500
"#;
