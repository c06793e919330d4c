//! Configurations of meta-transfer: those with a section `[transfer]`.

use std::collections::BTreeMap;

use innerloop_meta::{Sharing, Strategy};
use innerloop_transfer::{Method, Settings};
use serde::{Deserialize, Serialize};

use super::{Difference, Kind, file, kind, valid};
use crate::Result;

/// A table with its defaults: name, keys with documentation, type and default.
macro_rules! section {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $key:ident: $type:ty = $default:expr,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$doc])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($key: $default,)* }
            }
        }
    };
}

section! {
    /// A whole run. Every key has a default.
    TransferConfig {
        /// Source of all random numbers: 0 to 2⁶³ − 1. Default 1.
        seed: u64 = 1,
        /// `[transfer]`
        transfer: DataSection = DataSection::default(),
        /// `[source]`
        source: SourceSection = SourceSection::default(),
        /// `[target]`
        target: NetworkSection = NetworkSection::default(),
        /// `[algorithm]`
        algorithm: AlgorithmSection = AlgorithmSection::default(),
        /// `[outer]`
        outer: OuterSection = OuterSection::default(),
        /// `[run]`
        run: RunSection = RunSection::default(),
    }
}

section! {
    /// Images: `[transfer]`. The source learns classes of the training split, the target others of the test split.
    DataSection {
        /// `strokes` (default), `omniglot` or `cifar_fs`.
        family: FamilyName = FamilyName::Strokes,
        /// Folder of the data sets, else the environment's, else `data`.
        data: String = String::new(),
        /// Classes the source is trained on. Default 30.
        source_classes: usize = 30,
        /// Training images of each. Default 30.
        source_shots: usize = 30,
        /// Images of each to measure the source with. Default 10.
        source_query: usize = 10,
        /// Classes of the target. Default 10.
        target_classes: usize = 10,
        /// Labelled images of each. Default 5.
        target_shots: usize = 5,
        /// Test images of each. Default 30.
        target_query: usize = 30,
    }
}

section! {
    /// The source network and its training: `[source]`.
    SourceSection {
        /// Channels of each stage of a residual network. Default [12, 24, 48].
        channels: Vec<usize> = vec![12, 24, 48],
        /// Blocks of a stage. Default 1.
        blocks: usize = 1,
        /// Iterations. Default 400.
        iterations: usize = 400,
        /// Examples of a batch. Default 32.
        batch_size: usize = 32,
        /// Learning rate at the start of half a cosine. Default 0.05.
        lr: f64 = 0.05,
        /// `source.safetensors` of another run to take the network from, in place of training it.
        weights: String = String::new(),
    }
}

section! {
    /// The target network: `[target]`.
    NetworkSection {
        /// `resnet` (default) or `vgg`.
        network: NetworkName = NetworkName::Resnet,
        /// Channels of each stage. Default [8, 16, 32].
        channels: Vec<usize> = vec![8, 16, 32],
        /// Blocks, or convolutions, of a stage. Default 1.
        blocks: usize = 1,
        /// `vgg`: convolutions of each stage, in place of `blocks`; VGG-9 has [1, 1, 2, 2, 2]. Default [].
        depths: Vec<usize> = Vec::new(),
    }
}

section! {
    /// Methods and matching: `[algorithm]`.
    AlgorithmSection {
        /// What is compared. Default: `scratch`, `fine_tune`, `uniform`, `l2t_ww`, `first_order`.
        methods: Vec<MethodName> = MethodName::ALL.to_vec(),
        /// β. Default 0.5.
        strength: f64 = 0.5,
        /// T: steps of the transfer loss between the target's own. Default 2.
        transfer_steps: usize = 2,
        /// So many of them share a gradient (multi-step estimation). Default 1.
        window: usize = 1,
        /// `forward` (default): one gradient a window; `backward`: every step has its own, a window one Hessian.
        window_mode: WindowName = WindowName::Forward,
        /// `auto` (default), `unrolled` or `adjoint`.
        strategy: StrategyName = StrategyName::Auto,
    }
}

section! {
    /// Training of the targets: `[outer]`.
    OuterSection {
        /// Trials of each method: draw of classes and images, initial weights, order. Default 3.
        trials: usize = 3,
        /// Iterations of a trial. Default 200.
        iterations: usize = 200,
        /// Examples of a batch. Default 25.
        batch_size: usize = 25,
        /// Learning rate at the start of half a cosine. Default 0.05.
        lr: f64 = 0.05,
        /// The same when fine-tuning. Default 0.02.
        fine_tune_lr: f64 = 0.02,
        /// Default 0.9.
        momentum: f64 = 0.9,
        /// Default 1e-4.
        weight_decay: f64 = 1e-4,
        /// Rate of the meta-networks' Adam. Default 1e-3.
        meta_lr: f64 = 1e-3,
        /// Its weight decay, coupled. Default 0.
        meta_weight_decay: f64 = 0.0,
    }
}

section! {
    /// How the run goes: `[run]`.
    RunSection {
        /// Worker threads; 0 for one per core. Trials run beside each other. Default 0.
        threads: usize = 0,
        /// Iterations between checkpoints, which are also those between lines of `metrics.jsonl`. Default 50.
        checkpoint_every: usize = 50,
    }
}

/// Names that a file may give, with the word for each.
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];
        }
    };
}

names! {
    /// A data set.
    FamilyName {
        /// Drawn characters.
        Strokes,
        /// Omniglot, the split of Vinyals et al.
        Omniglot,
        /// CIFAR-FS.
        CifarFs,
    }
}

names! {
    /// A network.
    NetworkName {
        /// [`innerloop_nn::ResNet`]
        Resnet,
        /// [`innerloop_nn::Vgg`]
        Vgg,
    }
}

names! {
    /// A method.
    MethodName {
        /// [`Method::Scratch`]
        Scratch,
        /// [`Method::FineTune`]
        FineTune,
        /// [`Method::Uniform`]
        Uniform,
        /// [`Method::L2tWw`]
        L2tWw,
        /// [`Method::FirstOrder`]
        FirstOrder,
    }
}

names! {
    /// What a window shares.
    WindowName {
        /// The gradient, and so the Hessian.
        Forward,
        /// The Hessian.
        Backward,
    }
}

names! {
    /// How the meta-gradient is computed.
    StrategyName {
        /// [`Strategy::Auto`]
        Auto,
        /// [`Strategy::Unrolled`]
        Unrolled,
        /// [`Strategy::Adjoint`]
        Adjoint,
    }
}

impl MethodName {
    /// Name in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            MethodName::Scratch => "scratch",
            MethodName::FineTune => "fine_tune",
            MethodName::Uniform => "uniform",
            MethodName::L2tWw => "l2t_ww",
            MethodName::FirstOrder => "first_order",
        }
    }

    /// The method itself.
    pub fn method(self) -> Method {
        match self {
            MethodName::Scratch => Method::Scratch,
            MethodName::FineTune => Method::FineTune,
            MethodName::Uniform => Method::Uniform,
            MethodName::L2tWw => Method::L2tWw,
            MethodName::FirstOrder => Method::FirstOrder,
        }
    }
}

/// Values above this are mistakes.
const MOST: usize = 1_000_000;

impl TransferConfig {
    /// Reads a preset, or the TOML file at a path, then `section.key=value` overrides in order; another kind of
    /// configuration is refused.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<TransferConfig> {
        TransferConfig::checked(kind::load(Kind::Transfer, preset_or_path, sets)?, preset_or_path)
    }

    /// Reads TOML text; `source` names it in messages.
    pub fn parse(text: &str, source: &str) -> Result<TransferConfig> {
        TransferConfig::checked(kind::parse(Kind::Transfer, text, source)?, source)
    }

    /// The whole configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is tables of plain values")
    }

    /// Settings that differ, key by key.
    pub fn differences(&self, other: &TransferConfig) -> Vec<Difference> {
        super::differences(&file::flat(self), &file::flat(other))
    }

    /// How targets are trained with a method.
    pub fn settings(&self, method: MethodName) -> Settings {
        let (outer, algorithm) = (&self.outer, &self.algorithm);
        Settings {
            iterations: outer.iterations as u64,
            batch_size: outer.batch_size,
            lr: if method == MethodName::FineTune { outer.fine_tune_lr } else { outer.lr },
            momentum: outer.momentum,
            weight_decay: outer.weight_decay,
            transfer_steps: algorithm.transfer_steps,
            sharing: match algorithm.window_mode {
                _ if algorithm.window == 1 => Sharing::None,
                WindowName::Forward => Sharing::Forward(algorithm.window),
                WindowName::Backward => Sharing::Backward(algorithm.window),
            },
            strategy: match algorithm.strategy {
                StrategyName::Auto => Strategy::Auto,
                StrategyName::Unrolled => Strategy::Unrolled,
                StrategyName::Adjoint => Strategy::Adjoint,
            },
            meta_lr: outer.meta_lr,
            meta_weight_decay: outer.meta_weight_decay,
        }
    }

    /// How the source is trained.
    pub fn source_settings(&self) -> Settings {
        Settings {
            iterations: self.source.iterations as u64,
            batch_size: self.source.batch_size,
            lr: self.source.lr,
            ..self.settings(MethodName::Scratch)
        }
    }

    fn checked(self, source: &str) -> Result<TransferConfig> {
        self.check(source)?;
        Ok(self)
    }

    fn check(&self, source: &str) -> Result<()> {
        let TransferConfig { transfer, source: teacher, target, algorithm, outer, run, .. } = self;
        let bad = |key: &str, found: String, expected: &str| {
            Err(valid::bad(source, key, found, expected))
        };
        if self.seed > i64::MAX as u64 {
            return bad("seed", self.seed.to_string(), "at most 2^63 − 1");
        }
        for (key, found, least) in [
            ("transfer.source_classes", transfer.source_classes, 2),
            ("transfer.source_shots", transfer.source_shots, 1),
            ("transfer.source_query", transfer.source_query, 1),
            ("transfer.target_classes", transfer.target_classes, 2),
            ("transfer.target_shots", transfer.target_shots, 1),
            ("transfer.target_query", transfer.target_query, 1),
            ("source.blocks", teacher.blocks, 1),
            ("source.iterations", teacher.iterations, 1),
            ("target.blocks", target.blocks, 1),
            ("algorithm.transfer_steps", algorithm.transfer_steps, 1),
            ("algorithm.window", algorithm.window, 1),
            ("outer.trials", outer.trials, 1),
            ("outer.iterations", outer.iterations, 1),
            ("run.threads", run.threads, 0),
            ("run.checkpoint_every", run.checkpoint_every, 1),
        ] {
            valid::count(source, key, found, least..=MOST)?;
        }
        for (key, channels) in
            [("source.channels", &teacher.channels), ("target.channels", &target.channels)]
        {
            if channels.is_empty() || channels.iter().any(|c| !(1..=4096).contains(c)) {
                return bad(key, format!("{channels:?}"), "a number from 1 to 4096 for each stage");
            }
        }
        // The smallest images here are 28 pixels wide: five stages leave one position.
        if target.channels.len() > 5 {
            return bad("target.channels", format!("{:?}", target.channels), "at most 5 stages");
        }
        let stages = target.channels.len();
        let vgg = target.network == NetworkName::Vgg && target.blocks == 1;
        let each = target.depths.len() == stages && target.depths.iter().all(|&n| n > 0);
        if !(target.depths.is_empty() || vgg && each) {
            let expected = format!(
                "{stages} numbers above 0, one for each stage, with target.network = \"vgg\" and without target.blocks"
            );
            return bad("target.depths", format!("{:?}", target.depths), &expected);
        }
        let images = |classes: usize, shots: usize| classes * shots;
        for (key, found, most) in [
            (
                "source.batch_size",
                teacher.batch_size,
                images(transfer.source_classes, transfer.source_shots),
            ),
            (
                "outer.batch_size",
                outer.batch_size,
                images(transfer.target_classes, transfer.target_shots),
            ),
        ] {
            if !(2..=most).contains(&found) {
                let expected = format!("2 to {most}, the number of labelled images");
                return bad(key, found.to_string(), &expected);
            }
        }
        for (key, found) in [
            ("source.lr", teacher.lr),
            ("outer.lr", outer.lr),
            ("outer.fine_tune_lr", outer.fine_tune_lr),
            ("outer.meta_lr", outer.meta_lr),
            ("algorithm.strength", algorithm.strength),
        ] {
            valid::above_zero(source, key, found)?;
        }
        for (key, found) in [
            ("outer.weight_decay", outer.weight_decay),
            ("outer.meta_weight_decay", outer.meta_weight_decay),
        ] {
            valid::not_negative(source, key, found)?;
        }
        if !(0.0..1.0).contains(&outer.momentum) {
            return bad("outer.momentum", outer.momentum.to_string(), "at least 0 and below 1");
        }
        let mut seen = BTreeMap::new();
        for method in &algorithm.methods {
            if seen.insert(method.name(), ()).is_some() {
                return bad(
                    "algorithm.methods",
                    format!("naming {:?} twice", method.name()),
                    "each once",
                );
            }
        }
        if algorithm.methods.is_empty() {
            return bad("algorithm.methods", "empty".into(), "one method or more");
        }
        Ok(())
    }
}
