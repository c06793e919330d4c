//! A configuration as written, in which any key may be missing. Reading it checks names and types.

use std::collections::BTreeMap;

use innerloop_engine::Dtype;

use super::setting::Setting;
use super::window::WindowMode;
use super::{
    Activation, Augment, BatchNorm, Comparison, Decay, Distance, Downsampling, Head, Init,
    InnerOptimizer, Layout, OmniglotSplit, Role, Rotations, Strategy,
};

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
        Step = "step",
    }
}

layered! {
    TasksFile {
        family: FamilyName,
        ways: usize,
        shots: usize,
        query: usize,
        train_ways: usize,
        train_shots: usize,
        train_query: usize,
        data: String,
        split: OmniglotSplit,
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
    ModelFile {
        kind: NetworkName,
        filters: usize,
        downsampling: Downsampling,
        head: Head,
        batch_norm: BatchNorm,
        batch_norm_momentum: f64,
        batch_norm_eps: f64,
        hidden: Vec<usize>,
        activation: Activation,
        init: Init,
    }
    AlgorithmFile {
        name: MethodName,
        inner_lr: f64,
        learn_inner_lr: bool,
        multi_step_loss_until: f64,
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
        strength_schedule: Decay,
        comparison: Comparison,
        regularizer: RegularizerName,
        shot_weight: f64,
        shot_distance: Distance,
        shot_base: Role,
        shot_steps: usize,
        shot_travel: f64,
        shot_pretraining_until: f64,
        shot_projector: bool,
        shot_views: bool,
        inner_lr_of: BTreeMap<String, f64>,
    }
    OuterFile {
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
        decay_every: usize,
        decay_factor: f64,
        warmup: usize,
        meta_batch_size: usize,
        iterations: usize,
    }
    EvaluationFile {
        steps: usize,
        tasks: usize,
        validation_tasks: usize,
        validate_every: usize,
        ensemble: usize,
    }
    RunFile {
        dtype: Dtype,
        threads: usize,
        checkpoint_every: usize,
        snapshot_every: usize,
        minutes: f64,
        log_every: usize,
    }
}

sectioned! {
    /// A whole file. The table `[published]` holds the result that a run is compared with; it is not part of the run.
    pub(super) ConfigFile beside ["preset", "published"] {
        seed: Option<u64> = None,
        tasks: TasksFile,
        model: ModelFile,
        algorithm: AlgorithmFile,
        outer: OuterFile,
        evaluation: EvaluationFile,
        run: RunFile,
    }
}

impl ConfigFile {
    /// The keys set here, completed by those set in `under`.
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

    /// Whether the outer loop moves θ part of the way to the adapted weights.
    pub(super) fn interpolates(&self) -> bool {
        self.method() == MethodName::Reptile && self.optimizer() == OptimizerName::Sgd
    }

    /// The outer schedule, as written or by default.
    pub(super) fn schedule(&self) -> ScheduleName {
        let default =
            if self.interpolates() { ScheduleName::Linear } else { ScheduleName::Constant };
        self.outer.schedule.unwrap_or(default)
    }

    /// Unsets `section.key`.
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
