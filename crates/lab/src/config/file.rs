//! A configuration as written: anything may be missing. Reading checks names and types.

use std::collections::BTreeMap;

use innerloop_engine::Dtype;
use serde::Serialize;
use toml::{Table, Value};

use super::method::{Comparison, StrengthSchedule};
use super::regularizer::{ShotBase, ShotDistance};
use super::suggest;
use super::window::WindowMode;
use super::{
    Activation, Augment, BatchNorm, Head, Init, InnerOptimizer, Layout, Rotations, Split, Strategy,
    Variant,
};
use crate::{Error, Result};

/// A type that a key may have.
pub(super) trait Setting: Sized + Clone {
    /// The value, if it is of this type.
    fn parse(value: &Value) -> Option<Self>;

    /// The type in words.
    fn expected() -> String;

    /// The legal names, where the value is one of a few.
    fn names() -> &'static [&'static str] {
        &[]
    }

    /// This value, written over another.
    fn over(self, _under: Self) -> Self {
        self
    }
}

/// Enums whose values have names in a configuration.
macro_rules! choices {
    ($($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
        $vis enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of the documentation.
            $vis const ALL: &[$name] = &[$($name::$variant),*];

            /// Name in configurations and reports.
            $vis fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::config::file::Setting for $name {
            fn parse(value: &toml::Value) -> Option<$name> {
                $name::ALL.iter().copied().find(|choice| value.as_str() == Some(choice.name()))
            }

            fn expected() -> String {
                $crate::config::file::one_of(Self::names())
            }

            fn names() -> &'static [&'static str] {
                &[$($text),*]
            }
        }
    )* };
}

choices! {
    /// `tasks.family`
    pub(super) FamilyName {
        Strokes = "strokes",
        Omniglot = "omniglot",
        Sinusoid = "sinusoid",
        SineLine = "sine_line",
        DoubleMnist = "double_mnist",
        TripleMnist = "triple_mnist",
        CifarFs = "cifar_fs",
        Fc100 = "fc100",
        MiniImagenet = "mini_imagenet",
        Images = "images",
        Curves = "curves",
    }

    /// `model.kind`
    pub(super) NetworkName {
        Conv4 = "conv4",
        Mlp = "mlp",
    }

    /// `algorithm.name`
    pub(super) MethodName {
        Maml = "maml",
        MamlPlusPlus = "maml_plus_plus",
        Fomaml = "fomaml",
        Reptile = "reptile",
        Anil = "anil",
        Boil = "boil",
        Cavia = "cavia",
        MetaSgd = "meta_sgd",
        MetaCurvature = "meta_curvature",
        SignMaml = "sign_maml",
        TruncatedMaml = "truncated_maml",
        BinomMaml = "binom_maml",
        HfMaml = "hf_maml",
        Imaml = "imaml",
        MultiStep = "multi_step",
        GradientSimilarity = "gradient_similarity",
        Lstm = "lstm",
        Protonet = "protonet",
        FineTune = "fine_tune",
    }

    /// `algorithm.regularizer`
    pub(super) RegularizerName {
        None = "none",
        Shot = "shot",
    }

    /// `outer.optimizer`
    pub(super) OptimizerName {
        Sgd = "sgd",
        Adam = "adam",
        AdamW = "adamw",
    }

    /// `outer.schedule`
    pub(super) ScheduleName {
        Constant = "constant",
        Linear = "linear",
        Cosine = "cosine",
    }

    /// `run.dtype`
    pub(super) DtypeName {
        F32 = "f32",
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

/// A table of the file: its keys, each optional.
macro_rules! sections {
    ($($name:ident in $section:literal { $($key:ident: $kind:ty,)* })*) => { $(
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub(super) struct $name {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub(super) $key: Option<$kind>,)*
        }

        impl $name {
            pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];

            fn read(table: &Table, source: &str) -> Result<$name> {
                only_known(table, $section, Self::KEYS, source)?;
                Ok($name { $($key: setting(table, $section, stringify!($key), source)?,)* })
            }

            fn clear(&mut self, key: &str) {
                $(if key == stringify!($key) { self.$key = None; })*
            }

            fn over(self, under: $name) -> $name {
                $name { $($key: over(self.$key, under.$key),)* }
            }
        }
    )* };
}

sections! {
    TasksFile in "tasks" {
        family: FamilyName,
        ways: usize,
        shots: usize,
        query: usize,
        train_shots: usize,
        train_query: usize,
        data: String,
        split: Split,
        rotations: Rotations,
        invert: bool,
        size: usize,
        channels: usize,
        images_seed: usize,
        split_file: String,
        train_share: f64,
        validation_share: f64,
        split_seed: usize,
        file: String,
        layout: Layout,
        task_columns: Vec<String>,
        x_columns: Vec<String>,
        y_columns: Vec<String>,
        standardise: bool,
        noise: f64,
        augment: Vec<Augment>,
    }
    ModelFile in "model" {
        kind: NetworkName,
        filters: usize,
        variant: Variant,
        head: Head,
        batch_norm: BatchNorm,
        batch_norm_momentum: f64,
        batch_norm_eps: f64,
        hidden: Vec<usize>,
        activation: Activation,
        init: Init,
    }
    AlgorithmFile in "algorithm" {
        name: MethodName,
        inner_lr: f64,
        learn_inner_lr: bool,
        multi_step_loss: f64,
        second_order_from: f64,
        adaptation_steps: usize,
        inner_batch: usize,
        inner_optimizer: InnerOptimizer,
        frozen: Vec<String>,
        strategy: Strategy,
        context_parameters: usize,
        last_steps: usize,
        degree: usize,
        epsilon: f64,
        proximal: f64,
        cg_steps: usize,
        cg_damping: f64,
        window: usize,
        window_mode: WindowMode,
        inner_momentum: f64,
        cosine_weight: f64,
        l2_weight: f64,
        strength: f64,
        strength_schedule: StrengthSchedule,
        comparison: Comparison,
        regularizer: RegularizerName,
        shot_weight: f64,
        shot_distance: ShotDistance,
        shot_base: ShotBase,
        shot_steps: usize,
        shot_travel: f64,
        shot_pretraining: f64,
        shot_projector: bool,
        shot_views: bool,
        inner_lr_of: BTreeMap<String, f64>,
    }
    OuterFile in "outer" {
        optimizer: OptimizerName,
        lr: f64,
        momentum: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        clip_value: f64,
        clip_norm: f64,
        schedule: ScheduleName,
        final_lr: f64,
        warmup: usize,
        meta_batch_size: usize,
        iterations: usize,
    }
    EvaluationFile in "evaluation" {
        steps: usize,
        tasks: usize,
        validation_tasks: usize,
        validate_every: usize,
        ensemble: usize,
    }
    RunFile in "run" {
        dtype: DtypeName,
        threads: usize,
        checkpoint_every: usize,
        snapshot_every: usize,
        minutes: f64,
        log_every: usize,
    }
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<usize>,
    pub(super) tasks: TasksFile,
    pub(super) model: ModelFile,
    pub(super) algorithm: AlgorithmFile,
    pub(super) outer: OuterFile,
    pub(super) evaluation: EvaluationFile,
    pub(super) run: RunFile,
}

/// Of these, `published` says what a run is to be compared with, and is no part of it.
const TOP: &[&str] =
    &["preset", "published", "seed", "tasks", "model", "algorithm", "outer", "evaluation", "run"];

impl ConfigFile {
    pub(super) fn read(table: &Table, source: &str) -> Result<ConfigFile> {
        only_known(table, "", TOP, source)?;
        let section = |name: &str| match table.get(name) {
            None => Ok(Table::new()),
            Some(Value::Table(section)) => Ok(section.clone()),
            Some(other) => Err(wrong(source, name, other, &format!("a section [{name}]"))),
        };
        Ok(ConfigFile {
            seed: setting(table, "", "seed", source)?,
            tasks: TasksFile::read(&section("tasks")?, source)?,
            model: ModelFile::read(&section("model")?, source)?,
            algorithm: AlgorithmFile::read(&section("algorithm")?, source)?,
            outer: OuterFile::read(&section("outer")?, source)?,
            evaluation: EvaluationFile::read(&section("evaluation")?, source)?,
            run: RunFile::read(&section("run")?, source)?,
        })
    }

    /// What is written here, and where nothing is, what is written in `under`.
    pub(super) fn over(self, under: ConfigFile) -> ConfigFile {
        ConfigFile {
            seed: self.seed.or(under.seed),
            tasks: self.tasks.over(under.tasks),
            model: self.model.over(under.model),
            algorithm: self.algorithm.over(under.algorithm),
            outer: self.outer.over(under.outer),
            evaluation: self.evaluation.over(under.evaluation),
            run: self.run.over(under.run),
        }
    }

    /// The network, as written or by default.
    pub(super) fn network(&self) -> NetworkName {
        let regression = self.tasks.family.is_some_and(FamilyName::is_regression);
        let default = if regression { NetworkName::Mlp } else { NetworkName::Conv4 };
        self.model.kind.unwrap_or(default)
    }

    /// The method, as written or by default.
    pub(super) fn method(&self) -> MethodName {
        self.algorithm.name.unwrap_or(MethodName::Maml)
    }

    /// The outer optimizer, as written or by default.
    pub(super) fn optimizer(&self) -> OptimizerName {
        let reptile = self.method() == MethodName::Reptile;
        let default = if reptile { OptimizerName::Sgd } else { OptimizerName::Adam };
        self.outer.optimizer.unwrap_or(default)
    }

    /// Whether the outer loop goes a share of the way to the adapted weights.
    pub(super) fn interpolates(&self) -> bool {
        self.method() == MethodName::Reptile && self.optimizer() == OptimizerName::Sgd
    }

    /// The outer schedule, as written or by default.
    pub(super) fn schedule(&self) -> ScheduleName {
        let default =
            if self.interpolates() { ScheduleName::Linear } else { ScheduleName::Constant };
        self.outer.schedule.unwrap_or(default)
    }

    /// Forgets `section.key`.
    pub(super) fn clear(&mut self, full: &str) {
        match full.split_once('.') {
            Some(("tasks", key)) => self.tasks.clear(key),
            Some(("model", key)) => self.model.clear(key),
            Some(("algorithm", key)) => self.algorithm.clear(key),
            Some(("outer", key)) => self.outer.clear(key),
            Some(("evaluation", key)) => self.evaluation.clear(key),
            Some(("run", key)) => self.run.clear(key),
            _ => unreachable!("{full} names no key of a section"),
        }
    }
}

/// The file as TOML text.
pub(super) fn to_toml(file: &ConfigFile) -> String {
    toml::to_string(file).expect("a configuration is tables of plain values")
}

/// Every key of the file with its value as TOML.
pub(super) fn flat(file: &impl Serialize) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Table(table) => {
                table.iter().for_each(|(key, value)| walk(&join(prefix, key), value, into));
            }
            other => drop(into.insert(prefix.to_string(), other.to_string())),
        }
    }
    let value = Value::try_from(file).expect("a configuration is tables of plain values");
    let mut all = BTreeMap::new();
    walk("", &value, &mut all);
    all
}

/// `one of "a", "b"`.
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("one of {}", quoted.join(", "))
}

/// `section.key`, or the key alone at the top.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_string() } else { format!("{section}.{key}") }
}

fn only_known(table: &Table, section: &str, known: &[&str], source: &str) -> Result<()> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let full = join(section, &clip(key));
    let hint = match suggest::nearest(key, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => match elsewhere(key) {
            Some(place) => format!("; did you mean `{place}`?"),
            None if section.is_empty() => format!("; known: {}", known.join(", ")),
            None => format!("; known in [{section}]: {}", known.join(", ")),
        },
    };
    Err(Error::config(format!("{source}: unknown key `{full}`{hint}")))
}

/// The full name of a key that stands in the wrong section.
fn elsewhere(key: &str) -> Option<String> {
    let sections: [(&str, &[&str]); 7] = [
        ("", TOP),
        ("tasks", TasksFile::KEYS),
        ("model", ModelFile::KEYS),
        ("algorithm", AlgorithmFile::KEYS),
        ("outer", OuterFile::KEYS),
        ("evaluation", EvaluationFile::KEYS),
        ("run", RunFile::KEYS),
    ];
    sections.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| join(section, key))
}

fn setting<T: Setting>(table: &Table, section: &str, key: &str, source: &str) -> Result<Option<T>> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let parsed = T::parse(value);
    if parsed.is_none() {
        let hint = match value.as_str() {
            Some(word) => suggest::hint(word, T::names().iter().copied()),
            None => String::new(),
        };
        return Err(wrong(source, &join(section, key), value, &(T::expected() + &hint)));
    }
    Ok(parsed)
}

fn over<T: Setting>(over: Option<T>, under: Option<T>) -> Option<T> {
    match (over, under) {
        (Some(over), Some(under)) => Some(over.over(under)),
        (over, under) => over.or(under),
    }
}

pub(super) fn wrong(source: &str, key: &str, found: &Value, expected: &str) -> Error {
    let found = clip(&found.to_string());
    Error::config(format!("{source}: {key} is {found}, expected {expected}"))
}

/// The text, or its beginning if it is long.
pub(super) fn clip(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

impl Setting for usize {
    fn parse(value: &Value) -> Option<usize> {
        usize::try_from(value.as_integer()?).ok()
    }

    fn expected() -> String {
        "a whole number, 0 or more".into()
    }
}

impl Setting for f64 {
    fn parse(value: &Value) -> Option<f64> {
        value.as_float().or(value.as_integer().map(|whole| whole as f64))
    }

    fn expected() -> String {
        "a number".into()
    }
}

impl Setting for bool {
    fn parse(value: &Value) -> Option<bool> {
        value.as_bool()
    }

    fn expected() -> String {
        "true or false".into()
    }
}

impl Setting for String {
    fn parse(value: &Value) -> Option<String> {
        value.as_str().map(str::to_string)
    }

    fn expected() -> String {
        "text in quotes".into()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn parse(value: &Value) -> Option<Vec<T>> {
        value.as_array()?.iter().map(T::parse).collect()
    }

    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }
}

/// Tensor names hold dots, so nested tables are names written without quotes.
impl Setting for BTreeMap<String, f64> {
    fn parse(value: &Value) -> Option<BTreeMap<String, f64>> {
        fn walk(prefix: &str, table: &Table, into: &mut BTreeMap<String, f64>) -> Option<()> {
            for (key, value) in table {
                match value {
                    Value::Table(nested) => walk(&join(prefix, key), nested, into)?,
                    other => drop(into.insert(join(prefix, key), f64::parse(other)?)),
                }
            }
            Some(())
        }
        let mut rates = BTreeMap::new();
        walk("", value.as_table()?, &mut rates)?;
        Some(rates)
    }

    fn expected() -> String {
        "a table of tensor names and rates, as in { \"head.weight\" = 0.1 }".into()
    }

    fn over(mut self, under: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        for (name, rate) in under {
            self.entry(name).or_insert(rate);
        }
        self
    }
}
