//! From a configuration as written to one that can run. `written.rs` is the inverse.
//!
//! The rules for what is legal are here and in the files of single parts of the configuration: `families.rs`,
//! `method.rs`, `window.rs` and `regularizer.rs`; those of the other kinds of runs are in `rl/valid.rs` and
//! `transfer/valid.rs`.

use innerloop_engine::Dtype;

use super::bounds::{Inapplicable, LONGEST, MOST, MOST_THREADS, bad, fixed};
use super::file::*;
use super::layers::Layers;
use super::setting::Choice;
use super::*;
use crate::Result;

/// The configuration, if everything in it is legal.
pub(super) fn check(layers: &Layers) -> Result<Config> {
    let file = &layers.file;
    let tasks = tasks(layers, &file.tasks, &file.algorithm)?;
    let algorithm = algorithm(layers, &file.algorithm, &tasks)?;
    let model = model(layers, &file.model, &tasks)?;
    suits_steps(layers, &algorithm, &model)?;
    match algorithm.method {
        Method::Protonet => suits_prototypes(layers, &tasks, &model)?,
        Method::FineTune => suits_pretraining(layers, &tasks, &algorithm)?,
        _ => {}
    }
    let seed = file.seed.unwrap_or(1);
    Ok(Config {
        seed,
        model,
        outer: outer(layers, &file.outer, &tasks)?,
        evaluation: evaluation(layers, &file.evaluation, algorithm.method)?,
        run: run(layers, &file.run)?,
        tasks,
        algorithm,
    })
}

fn tasks(at: &Layers, file: &TasksFile, algorithm: &AlgorithmFile) -> Result<TasksConfig> {
    let name = file.family.unwrap_or(FamilyName::Strokes);
    at.refuse(&name.inapplicable_keys())?;
    let family = families::family(at, file, name)?;
    let ways = match family.is_regression() {
        true => 1,
        false => at.count("tasks.ways", file.ways.unwrap_or(5), 2..=MOST)?,
    };
    let shots = at.count("tasks.shots", file.shots.unwrap_or(1), 1..=MOST)?;
    let query = at.count("tasks.query", file.query.unwrap_or(15), 1..=MOST)?;
    let train_shots = at.count("tasks.train_shots", file.train_shots.unwrap_or(shots), 1..=MOST)?;
    let train_query = at.count("tasks.train_query", file.train_query.unwrap_or(query), 1..=MOST)?;
    if name == FamilyName::Omniglot {
        at.drawings("tasks.shots", shots, "tasks.query", query)?;
        at.drawings("tasks.train_shots", train_shots, "tasks.train_query", train_query)?;
    }
    let train_ways = match family.is_regression() {
        true => 1,
        false => at.count("tasks.train_ways", file.train_ways.unwrap_or(ways), 2..=MOST)?,
    };
    let support = train_ways.saturating_mul(train_shots);
    if let Some(batch) = algorithm.inner_batch.filter(|&batch| batch > support) {
        let expected =
            format!("at most {support}, the support examples of a training task, or 0 for all");
        return Err(at.bad("algorithm.inner_batch", batch, &expected));
    }
    let augment = file.augment.clone().unwrap_or_default();
    Ok(TasksConfig { family, ways, shots, query, train_ways, train_shots, train_query, augment })
}

fn model(at: &Layers, file: &ModelFile, tasks: &TasksConfig) -> Result<ModelConfig> {
    let regression = tasks.family.is_regression();
    let kind = at.file.network();
    at.refuse(&kind.inapplicable_keys())?;
    let network = match kind {
        NetworkName::Conv4 => {
            if regression {
                let why = "regression tasks have numbers as inputs, but conv4 takes images";
                return Err(at.bad("model.kind", "\"conv4\"", &format!("\"mlp\": {why}")));
            }
            Network::Conv4(conv4(at, file)?)
        }
        NetworkName::Mlp => {
            let hidden = file.hidden.clone().unwrap_or(vec![40, 40]);
            for &size in &hidden {
                at.count("model.hidden", size, 1..=MOST)?;
            }
            let activation = file.activation.unwrap_or(Activation::Relu);
            Network::Mlp(MlpConfig { hidden, activation })
        }
    };
    let init = file.init.unwrap_or(match kind {
        NetworkName::Conv4 => Init::Xavier,
        NetworkName::Mlp => Init::PyTorch,
    });
    Ok(ModelConfig { network, init })
}

fn conv4(at: &Layers, file: &ModelFile) -> Result<Conv4Config> {
    let downsampling = file.downsampling.unwrap_or(Downsampling::MaxPool);
    let momentum = file.batch_norm_momentum.unwrap_or(0.1);
    if !(momentum > 0.0 && momentum <= 1.0) {
        let expected = "above 0 and at most 1, the weight of the newest batch";
        return Err(at.bad("model.batch_norm_momentum", momentum, expected));
    }
    Ok(Conv4Config {
        filters: at.count("model.filters", file.filters.unwrap_or(64), 1..=MOST)?,
        downsampling,
        head: file.head.unwrap_or(match downsampling {
            Downsampling::MaxPool => Head::Flatten,
            Downsampling::Strided => Head::Mean,
        }),
        batch_norm: file.batch_norm.unwrap_or(BatchNorm::Transductive),
        batch_norm_momentum: momentum,
        batch_norm_eps: at
            .above_zero("model.batch_norm_eps", file.batch_norm_eps.unwrap_or(1e-5))?,
    })
}

fn algorithm(at: &Layers, file: &AlgorithmFile, tasks: &TasksConfig) -> Result<AlgorithmConfig> {
    let method = Method::check(at, file)?;
    let inner_optimizer = file.inner_optimizer.unwrap_or(InnerOptimizer::Sgd);
    if inner_optimizer == InnerOptimizer::Adam && method != Method::Reptile {
        let why =
            "only Reptile, which does not differentiate through its inner loop, can use Adam there";
        let expected = format!("\"sgd\" with algorithm.name = \"{method}\": {why}");
        return Err(at.bad("algorithm.inner_optimizer", "\"adam\"", &expected));
    }
    let default_lr = match (inner_optimizer, tasks.family.is_regression()) {
        _ if matches!(method, Method::Cavia { .. }) => 1.0,
        // The distance that every weight moves in a step.
        (_, false) if method == Method::SignMaml => 0.0035,
        (InnerOptimizer::Adam, _) => 1e-3,
        (InnerOptimizer::Sgd, true) => 0.01,
        (InnerOptimizer::Sgd, false) => 0.4,
    };
    let plus_plus = method == Method::MamlPlusPlus;
    let learn_inner_lr = file.learn_inner_lr.unwrap_or(plus_plus);
    if let (true, Some(why)) = (learn_inner_lr, method.learns_no_rates()) {
        let expected = format!("false with algorithm.name = \"{method}\": {why}");
        return Err(at.bad("algorithm.learn_inner_lr", true, &expected));
    }
    let default = if plus_plus { 0.1 } else { 0.0 };
    let multi_step_loss_until =
        at.part("algorithm.multi_step_loss_until", file.multi_step_loss_until.unwrap_or(default))?;
    let second_order_from =
        at.part("algorithm.second_order_from", file.second_order_from.unwrap_or(0.0))?;
    let strategy = file.strategy.unwrap_or(Strategy::Auto);
    if strategy != Strategy::Auto && method.is_first_order() {
        let why =
            "a first-order method has no second derivatives, so there is no strategy to choose";
        let expected = format!("\"auto\" with algorithm.name = \"{method}\": {why}");
        return Err(at.bad("algorithm.strategy", format!("\"{}\"", strategy.name()), &expected));
    }
    let inner_lr_of = file.inner_lr_of.clone().unwrap_or_default();
    for (tensor, &rate) in &inner_lr_of {
        let key = format!("algorithm.inner_lr_of.\"{tensor}\"");
        if !(rate >= 0.0 && rate.is_finite()) {
            return Err(bad(
                at.source("algorithm.inner_lr_of"),
                &key,
                rate,
                "a finite number, 0 or more",
            ));
        }
    }
    let frozen = file.frozen.clone().unwrap_or_default();
    if frozen.iter().any(String::is_empty) {
        let why = "every name starts with the empty string, so nothing would adapt";
        return Err(at.bad(
            "algorithm.frozen",
            "a list with \"\"",
            &format!("names of tensors: {why}"),
        ));
    }
    let head = |prefix: &&String| "head.".starts_with(prefix.as_str());
    if let (Method::Anil, Some(prefix)) = (method, frozen.iter().find(head)) {
        let why = "ANIL adapts only the head, so nothing would adapt";
        let found = format!("a list with \"{prefix}\"");
        return Err(at.bad("algorithm.frozen", found, &format!("no name of the head: {why}")));
    }
    let regression = tasks.family.is_regression();
    let window = WindowConfig::check(at, file, method)?;
    let steps = file.adaptation_steps.unwrap_or(method.default_steps(window.steps));
    let steps = at.count("algorithm.adaptation_steps", steps, 0..=MOST)?;
    if steps == 0 && method == Method::Reptile {
        let expected = "1 or more with algorithm.name = \"reptile\": it moves towards the adapted weights, so \
                        without an inner step it learns nothing";
        return Err(at.bad("algorithm.adaptation_steps", steps, expected));
    }
    Ok(AlgorithmConfig {
        regularizer: Regularizer::check(at, file, (method, window), (steps, regression))?,
        method,
        inner_lr: at.above_zero("algorithm.inner_lr", file.inner_lr.unwrap_or(default_lr))?,
        inner_lr_of,
        learn_inner_lr,
        multi_step_loss_until,
        second_order_from,
        adaptation_steps: steps,
        inner_batch: file.inner_batch.unwrap_or(0),
        window,
        inner_optimizer,
        frozen,
        strategy,
    })
}

/// Scales and shifts for each inner step need gradients in each.
fn suits_steps(at: &Layers, algorithm: &AlgorithmConfig, model: &ModelConfig) -> Result<()> {
    match &model.network {
        Network::Conv4(conv4) if conv4.batch_norm.has_steps() && algorithm.window.steps > 1 => {
            let found = format!("\"{}\"", conv4.batch_norm.name());
            let expected = "a mode without scales and shifts for each step: in a window of inner steps only the first \
                            has a gradient of its own";
            Err(at.bad("model.batch_norm", found, expected))
        }
        _ => Ok(()),
    }
}

/// The requirements of a prototypical network.
fn suits_prototypes(at: &Layers, tasks: &TasksConfig, model: &ModelConfig) -> Result<()> {
    let refused = |key: &str, found: &str, expected: &str| Err(at.bad(key, found, expected));
    if tasks.family.is_regression() {
        let expected = "another method: regression has no classes to average";
        return refused("algorithm.name", "\"protonet\"", expected);
    }
    match &model.network {
        Network::Mlp(mlp) if mlp.hidden.is_empty() => refused(
            "model.hidden",
            "[]",
            "at least one layer, because the last hidden layer is protonet's embedding",
        ),
        Network::Conv4(conv4)
            if matches!(conv4.batch_norm, BatchNorm::WithSupport | BatchNorm::Episode) =>
        {
            let found = format!("\"{}\"", conv4.batch_norm.name());
            let expected = "\"transductive\", \"running\" or \"per_step\": protonet embeds the support and query \
                            sets in one batch";
            refused("model.batch_norm", &found, expected)
        }
        _ => Ok(()),
    }
}

/// The requirements of pre-training on classes and fine-tuning with a new head.
fn suits_pretraining(at: &Layers, tasks: &TasksConfig, algorithm: &AlgorithmConfig) -> Result<()> {
    if tasks.family.is_regression() {
        let expected = "another method: regression has no classes to pre-train on; \"maml\" with \
                        algorithm.adaptation_steps = 0 trains on all tasks together";
        return Err(at.bad("algorithm.name", "\"fine_tune\"", expected));
    }
    let head = |prefix: &&String| "head.weight".starts_with(prefix.as_str());
    if let Some(prefix) = algorithm.frozen.iter().find(head) {
        let why =
            "fine_tune's new head starts at zero, so with a frozen head nothing could be learned";
        let found = format!("a list with \"{prefix}\"");
        return Err(at.bad("algorithm.frozen", found, &format!("no name of the head: {why}")));
    }
    Ok(())
}

fn outer(at: &Layers, file: &OuterFile, tasks: &TasksConfig) -> Result<OuterConfig> {
    let name = at.file.optimizer();
    at.refuse(&name.inapplicable_keys())?;
    let optimizer = match name {
        OptimizerName::Sgd => {
            Optimizer::Sgd { momentum: at.share("outer.momentum", file.momentum.unwrap_or(0.0))? }
        }
        OptimizerName::Adam | OptimizerName::AdamW => {
            let adam = AdamConfig {
                beta1: at.share("outer.beta1", file.beta1.unwrap_or(0.9))?,
                beta2: at.share("outer.beta2", file.beta2.unwrap_or(0.999))?,
                eps: at.above_zero("outer.eps", file.eps.unwrap_or(1e-8))?,
            };
            if name == OptimizerName::Adam { Optimizer::Adam(adam) } else { Optimizer::AdamW(adam) }
        }
    };
    let final_lr = at.not_negative("outer.final_lr", file.final_lr.unwrap_or(0.0))?;
    let name = at.file.schedule();
    at.refuse(&name.inapplicable_keys())?;
    let schedule = match name {
        ScheduleName::Linear => Schedule::Linear { final_lr },
        ScheduleName::Cosine => Schedule::Cosine { final_lr },
        ScheduleName::Constant => Schedule::Constant,
        ScheduleName::Step => step(at, file)?,
    };
    let iterations =
        at.count("outer.iterations", file.iterations.unwrap_or(10_000), 1..=LONGEST)?;
    let warmup = file.warmup.unwrap_or(0);
    if warmup >= iterations && warmup > 0 {
        let source = at.either("outer.warmup", "outer.iterations");
        let expected = format!("less than outer.iterations, {iterations}");
        return Err(bad(source, "outer.warmup", warmup, &expected));
    }
    let default_batch = if tasks.family.is_regression() { 25 } else { 16 };
    let meta_batch = file.meta_batch_size.unwrap_or(default_batch);
    let default_lr = if at.file.interpolates() { 1.0 } else { 1e-3 };
    Ok(OuterConfig {
        optimizer,
        lr: at.above_zero("outer.lr", file.lr.unwrap_or(default_lr))?,
        weight_decay: at.not_negative("outer.weight_decay", file.weight_decay.unwrap_or(0.0))?,
        clip_value: at.not_negative("outer.clip_value", file.clip_value.unwrap_or(0.0))?,
        clip_norm: at.not_negative("outer.clip_norm", file.clip_norm.unwrap_or(0.0))?,
        schedule,
        warmup,
        meta_batch_size: at.count("outer.meta_batch_size", meta_batch, 1..=MOST)?,
        iterations,
    })
}

fn step(at: &Layers, file: &OuterFile) -> Result<Schedule> {
    let Some(decay_every) = file.decay_every else {
        let source = at.source("outer.schedule");
        let expected = "a number of iterations with outer.schedule = \"step\"";
        return Err(bad(source, "outer.decay_every", "not set", expected));
    };
    let decay_factor = file.decay_factor.unwrap_or(0.1);
    if !(decay_factor > 0.0 && decay_factor <= 1.0) {
        return Err(at.bad("outer.decay_factor", decay_factor, "above 0 and at most 1"));
    }
    let decay_every = at.count("outer.decay_every", decay_every, 1..=LONGEST)?;
    Ok(Schedule::Step { decay_every, decay_factor })
}

fn evaluation(at: &Layers, file: &EvaluationFile, method: Method) -> Result<EvaluationConfig> {
    let steps = match method {
        Method::Protonet => 0,
        _ => at.count("evaluation.steps", file.steps.unwrap_or(10), 1..=MOST)?,
    };
    let validation_tasks = file.validation_tasks.unwrap_or(100);
    let validate_every = file.validate_every.unwrap_or(500);
    let ensemble = at.count("evaluation.ensemble", file.ensemble.unwrap_or(1), 1..=1000)?;
    if ensemble > 1 && validate_every == 0 {
        let expected = "1 when evaluation.validate_every is 0: without validation there is no telling which \
                        checkpoints are best";
        return Err(at.bad("evaluation.ensemble", ensemble, expected));
    }
    Ok(EvaluationConfig {
        steps,
        tasks: at.count("evaluation.tasks", file.tasks.unwrap_or(600), 2..=LONGEST)?,
        validation_tasks: at.count("evaluation.validation_tasks", validation_tasks, 2..=LONGEST)?,
        validate_every: at.count("evaluation.validate_every", validate_every, 0..=LONGEST)?,
        ensemble,
    })
}

fn run(at: &Layers, file: &RunFile) -> Result<RunConfig> {
    let checkpoint_every = file.checkpoint_every.unwrap_or(500);
    Ok(RunConfig {
        dtype: file.dtype.unwrap_or(Dtype::F32),
        threads: at.count("run.threads", file.threads.unwrap_or(0), 0..=MOST_THREADS)?,
        checkpoint_every: at.count("run.checkpoint_every", checkpoint_every, 1..=LONGEST)?,
        snapshot_every: at.count(
            "run.snapshot_every",
            file.snapshot_every.unwrap_or(0),
            0..=LONGEST,
        )?,
        minutes: at.not_negative("run.minutes", file.minutes.unwrap_or(0.0))?,
        log_every: at.count("run.log_every", file.log_every.unwrap_or(10), 1..=LONGEST)?,
    })
}

impl NetworkName {
    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        const NO_CONV: &str = "an mlp has no convolutions";
        const NO_NORM: &str = "an mlp has no batch norm";
        fixed(match self {
            NetworkName::Conv4 => &[
                ("model.hidden", "conv4 has no hidden linear layers"),
                ("model.activation", "conv4 always uses relu"),
            ],
            NetworkName::Mlp => &[
                ("model.filters", NO_CONV),
                ("model.downsampling", NO_CONV),
                ("model.head", NO_CONV),
                ("model.batch_norm", NO_NORM),
                ("model.batch_norm_momentum", NO_NORM),
                ("model.batch_norm_eps", NO_NORM),
            ],
        })
    }
}

impl OptimizerName {
    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        const NOT_ADAM: &str = "sgd has none of Adam's settings";
        fixed(match self {
            OptimizerName::Sgd => {
                &[("outer.beta1", NOT_ADAM), ("outer.beta2", NOT_ADAM), ("outer.eps", NOT_ADAM)]
            }
            OptimizerName::Adam | OptimizerName::AdamW => {
                &[("outer.momentum", "only sgd has momentum; Adam's counterpart is beta1")]
            }
        })
    }
}

impl ScheduleName {
    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        const NO_STEPS: &str = "only the step schedule has it";
        fixed(match self {
            ScheduleName::Constant => &[
                ("outer.final_lr", "a constant rate has no final value of its own"),
                ("outer.decay_every", NO_STEPS),
                ("outer.decay_factor", NO_STEPS),
            ],
            ScheduleName::Linear | ScheduleName::Cosine => {
                &[("outer.decay_every", NO_STEPS), ("outer.decay_factor", NO_STEPS)]
            }
            ScheduleName::Step => &[(
                "outer.final_lr",
                "with the step schedule, decay_every and decay_factor determine the final rate",
            )],
        })
    }
}
