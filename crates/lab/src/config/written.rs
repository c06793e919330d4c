//! From a configuration as run back to one as written: the inverse of `valid.rs`.

use super::file::*;
use super::*;

/// The file that [`valid::check`] turns into this configuration.
pub(super) fn written(config: &Config) -> ConfigFile {
    let Config { seed, tasks, model, algorithm, outer, evaluation, run } = config;
    let mut file = ConfigFile { seed: Some(*seed), ..ConfigFile::default() };

    families::write(&tasks.family, &mut file.tasks);
    file.tasks.augment = tasks.family.has_image_files().then(|| tasks.augment.clone());
    file.tasks.ways = (!tasks.family.is_regression()).then_some(tasks.ways);
    file.tasks.shots = Some(tasks.shots);
    file.tasks.query = Some(tasks.query);
    let prototypes = algorithm.method == Method::Protonet;
    file.tasks.train_ways = prototypes.then_some(tasks.train_ways);
    file.tasks.train_shots = Some(tasks.train_shots);
    file.tasks.train_query = Some(tasks.train_query);

    let into = &mut file.model;
    match &model.network {
        Network::Conv4(conv4) => {
            into.kind = Some(NetworkName::Conv4);
            into.filters = Some(conv4.filters);
            into.downsampling = Some(conv4.downsampling);
            into.head = Some(conv4.head);
            into.batch_norm = Some(conv4.batch_norm);
            into.batch_norm_momentum = Some(conv4.batch_norm_momentum);
            into.batch_norm_eps = Some(conv4.batch_norm_eps);
        }
        Network::Mlp(mlp) => {
            into.kind = Some(NetworkName::Mlp);
            into.hidden = Some(mlp.hidden.clone());
            into.activation = Some(mlp.activation);
        }
    }
    into.init = Some(model.init);

    file.algorithm = AlgorithmFile {
        inner_lr: Some(algorithm.inner_lr),
        learn_inner_lr: Some(algorithm.learn_inner_lr),
        multi_step_loss_until: Some(algorithm.multi_step_loss_until),
        second_order_from: Some(algorithm.second_order_from),
        adaptation_steps: Some(algorithm.adaptation_steps),
        inner_batch: Some(algorithm.inner_batch),
        inner_optimizer: Some(algorithm.inner_optimizer),
        frozen: Some(algorithm.frozen.clone()),
        strategy: Some(algorithm.strategy),
        inner_lr_of: (!algorithm.inner_lr_of.is_empty()).then(|| algorithm.inner_lr_of.clone()),
        ..AlgorithmFile::default()
    };
    algorithm.method.write(&mut file.algorithm);
    algorithm.window.write(&mut file.algorithm);
    algorithm.regularizer.write(&mut file.algorithm);

    let into = &mut file.outer;
    let name = match outer.optimizer {
        Optimizer::Sgd { momentum } => {
            into.momentum = Some(momentum);
            OptimizerName::Sgd
        }
        Optimizer::Adam(_) => OptimizerName::Adam,
        Optimizer::AdamW(_) => OptimizerName::AdamW,
    };
    if let Optimizer::Adam(adam) | Optimizer::AdamW(adam) = outer.optimizer {
        let AdamConfig { beta1, beta2, eps } = adam;
        (into.beta1, into.beta2, into.eps) = (Some(beta1), Some(beta2), Some(eps));
    }
    into.optimizer = Some(name);
    into.lr = Some(outer.lr);
    into.weight_decay = Some(outer.weight_decay);
    into.clip_value = Some(outer.clip_value);
    into.clip_norm = Some(outer.clip_norm);
    into.schedule = Some(match outer.schedule {
        Schedule::Constant => ScheduleName::Constant,
        Schedule::Linear { final_lr } => {
            into.final_lr = Some(final_lr);
            ScheduleName::Linear
        }
        Schedule::Cosine { final_lr } => {
            into.final_lr = Some(final_lr);
            ScheduleName::Cosine
        }
        Schedule::Step { decay_every, decay_factor } => {
            (into.decay_every, into.decay_factor) = (Some(decay_every), Some(decay_factor));
            ScheduleName::Step
        }
    });
    into.warmup = Some(outer.warmup);
    into.meta_batch_size = Some(outer.meta_batch_size);
    into.iterations = Some(outer.iterations);

    file.evaluation = EvaluationFile {
        steps: Some(evaluation.steps),
        tasks: Some(evaluation.tasks),
        validation_tasks: Some(evaluation.validation_tasks),
        validate_every: Some(evaluation.validate_every),
        ensemble: Some(evaluation.ensemble),
    };
    file.run = RunFile {
        dtype: Some(run.dtype),
        threads: Some(run.threads),
        checkpoint_every: Some(run.checkpoint_every),
        snapshot_every: Some(run.snapshot_every),
        minutes: Some(run.minutes),
        log_every: Some(run.log_every),
    };
    for (key, _) in algorithm.method.inapplicable_keys() {
        file.clear(key);
    }
    file
}
