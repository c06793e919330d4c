mod families;
mod layers;
mod refusals;

use std::fs;
use std::path::Path;

use innerloop_meta::Sharing;

use super::setting::Choice;
use super::*;
use crate::{Error, ErrorKind};

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, "run.toml")
}

fn load(source: &str, sets: &[&str]) -> Result<Config> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Config::load(source, &sets)
}

#[track_caller]
fn check_refused(result: Result<Config>, kind: ErrorKind, message: &str) {
    let error: Error = result.expect_err("this configuration is not legal");
    assert_eq!(error.to_string(), message);
    assert_eq!(error.kind(), kind, "{message}");
}

#[track_caller]
fn check_text(text: &str, message: &str) {
    check_refused(parse(text), ErrorKind::Config, &format!("run.toml: {message}"));
}

#[track_caller]
fn check_set(set: &str, message: &str) {
    let message = format!("--set {set}: {message}");
    check_refused(load("strokes-maml", &[set]), ErrorKind::Config, &message);
}

#[track_caller]
fn check_round_trip(config: &Config) {
    let text = config.to_toml();
    let again =
        Config::parse(&text, "config.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&again, config, "{text}");
    assert_eq!(again.to_toml(), text);
    assert_eq!(again.differences(config), []);
}

#[test]
fn nothing_written_gives_the_documented_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.seed, 1);
    assert_eq!(config.tasks.family, Family::Strokes);
    assert_eq!((config.tasks.ways, config.tasks.shots, config.tasks.query), (5, 1, 15));
    assert_eq!((config.tasks.train_shots, config.tasks.train_query), (1, 15));
    let Network::Conv4(conv4) = &config.model.network else { panic!("images go to conv4") };
    assert_eq!(
        (conv4.filters, conv4.downsampling, conv4.head),
        (64, Downsampling::MaxPool, Head::Flatten)
    );
    assert_eq!(conv4.batch_norm, BatchNorm::Transductive);
    assert_eq!((config.algorithm.method, config.algorithm.inner_lr), (Method::Maml, 0.4));
    assert_eq!(config.outer.schedule, Schedule::Constant);
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    assert_eq!((config.outer.optimizer, config.outer.lr), (Optimizer::Adam(adam), 1e-3));
    assert_eq!((config.evaluation.steps, config.evaluation.tasks), (10, 600));
    assert_eq!((config.run.dtype, config.run.threads, config.run.minutes), (Dtype::F32, 0, 0.0));
    check_round_trip(&config);
}

#[test]
fn defaults_follow_the_choices() {
    let config = parse("tasks = { shots = 3, query = 4 }").unwrap();
    assert_eq!((config.tasks.train_shots, config.tasks.train_query), (3, 4));
    let wide = parse("algorithm.name = 'protonet'\ntasks = { ways = 3, train_ways = 9 }").unwrap();
    assert_eq!((wide.tasks.ways, wide.tasks.train_ways), (3, 9));
    let other = Config::load("strokes-maml", &[]).unwrap().with(&["tasks.ways=3".into()]).unwrap();
    assert_eq!((other.tasks.ways, other.tasks.train_ways), (3, 3), "not written where it is fixed");
    check_round_trip(&wide);

    let config = parse("tasks.family = 'sinusoid'").unwrap();
    assert_eq!(config.tasks.ways, 1);
    assert!(matches!(&config.model.network, Network::Mlp(mlp) if mlp.hidden == [40, 40]));
    assert_eq!((config.model.init, config.algorithm.inner_lr), (Init::PyTorch, 0.01));
    assert_eq!(config.outer.meta_batch_size, 25);

    let cavia = |more: &str| parse(&format!("algorithm.name = 'cavia'\n{more}")).unwrap().algorithm;
    assert_eq!((cavia("").method, cavia("").inner_lr), (Method::Cavia { parameters: 100 }, 1.0));
    assert_eq!(cavia("tasks.family = 'curves'").method, Method::Cavia { parameters: 5 });
    assert_eq!(cavia("model.kind = 'mlp'").method, Method::Cavia { parameters: 5 });

    let config = parse("model.downsampling = 'strided'").unwrap();
    assert!(matches!(&config.model.network, Network::Conv4(conv4) if conv4.head == Head::Mean));

    let config = parse("algorithm = { name = 'reptile', inner_optimizer = 'adam' }").unwrap();
    assert_eq!(config.outer.optimizer, Optimizer::Sgd { momentum: 0.0 });
    assert_eq!((config.outer.lr, config.outer.schedule), (1.0, Schedule::Linear { final_lr: 0.0 }));
    assert_eq!(config.algorithm.inner_lr, 1e-3);
    let config = parse("algorithm.name = 'reptile'\nouter.optimizer = 'adam'").unwrap();
    assert_eq!((config.outer.lr, config.outer.schedule), (1e-3, Schedule::Constant));
}

#[test]
fn every_key_survives_a_round_trip() {
    let conv = r#"
        seed = 9223372036854775807
        [tasks]
        family = "omniglot"
        data = "a \"quoted\" \\ folder"
        split = "finn"
        rotations = "none"
        invert = false
        ways = 20
        shots = 5
        query = 15
        train_shots = 2
        train_query = 3
        augment = ["flip", "crop"]
        [model]
        filters = 7
        downsampling = "strided"
        head = "flatten"
        batch_norm = "per_step"
        batch_norm_momentum = 1
        batch_norm_eps = 1e-3
        init = "truncated_normal"
        [algorithm]
        name = "anil"
        inner_lr = 0.1
        inner_lr_of = { "head.weight" = 0.30000000000000004, "head.bias" = 0 }
        learn_inner_lr = true
        multi_step_loss_until = 0.25
        second_order_from = 0.5
        adaptation_steps = 5
        inner_batch = 10
        frozen = ["features.0", "head.bias"]
        strategy = "adjoint"
        [outer]
        optimizer = "adamw"
        lr = 1
        beta1 = 0
        beta2 = 0.99
        eps = 1e-15
        weight_decay = 0.01
        clip_value = 10
        clip_norm = 0.25
        schedule = "cosine"
        final_lr = 1e-5
        warmup = 7
        meta_batch_size = 3
        iterations = 8
        [evaluation]
        steps = 1
        tasks = 2
        validation_tasks = 3
        validate_every = 9
        ensemble = 2
        [run]
        dtype = "f64"
        threads = 2
        checkpoint_every = 4
        snapshot_every = 6
        minutes = 0.5
        log_every = 5
    "#;
    let config = parse(conv).unwrap();
    check_round_trip(&config);
    // Every default is overridden, so a key that is read into the wrong place shows.
    let family = parse("tasks.family = 'omniglot'").unwrap();
    let same: Vec<_> =
        flat_of(&config).into_iter().filter(|entry| flat_of(&family).contains(entry)).collect();
    let expected = [
        ("algorithm.inner_optimizer", "\"sgd\""),
        ("algorithm.regularizer", "\"none\""),
        ("algorithm.window", "1"),
        ("algorithm.window_mode", "\"forward\""),
        ("model.head", "\"flatten\""),
        ("model.kind", "\"conv4\""),
        ("tasks.family", "\"omniglot\""),
        ("tasks.query", "15"),
    ];
    assert_eq!(same, expected.map(|(key, value)| (key.to_string(), value.to_string())));

    for method in [
        "name = 'maml_plus_plus', learn_inner_lr = false, multi_step_loss_until = 1, second_order_from = 1",
        "name = 'cavia', context_parameters = 7",
        "name = 'truncated_maml', last_steps = 3",
        "name = 'binom_maml', degree = 0",
        "name = 'hf_maml', epsilon = 0.5",
        "name = 'imaml', proximal = 0.5, cg_steps = 7, cg_damping = 0.1",
        "name = 'boil', adaptation_steps = 3, regularizer = 'shot', shot_weight = 0.2, shot_steps = 2, \
         shot_distance = 'parameters', shot_travel = 0.5",
        "name = 'fomaml', adaptation_steps = 3, regularizer = 'shot', shot_base = 'target', shot_steps = 6",
        "name = 'maml', adaptation_steps = 2, regularizer = 'shot', shot_pretraining_until = 0.2, shot_projector = false",
        "name = 'maml', adaptation_steps = 2, regularizer = 'shot', shot_pretraining_until = 0.2, shot_views = false",
        "name = 'gradient_similarity', cosine_weight = 0.5, l2_weight = 1, strength = 0.1, \
         strength_schedule = 'linear', comparison = 'per_tensor'",
        "name = 'gradient_similarity', adaptation_steps = 3, multi_step_loss_until = 0.2",
        "name = 'reptile', regularizer = 'shot', shot_distance = 'parameters', shot_weight = 20",
        "name = 'multi_step', window = 3, window_mode = 'backward', inner_momentum = 0.5",
        "name = 'multi_step', window = 1, learn_inner_lr = true",
        "name = 'multi_step', window = 1, inner_momentum = 0.5, multi_step_loss_until = 0.2",
        "name = 'anil', window = 3, learn_inner_lr = true",
        "name = 'fomaml', learn_inner_lr = true",
        "name = 'lstm', window = 5",
        "name = 'meta_sgd', window = 2, window_mode = 'backward'",
        "name = 'fomaml', window = 2",
        "name = 'maml_plus_plus', window = 2, window_mode = 'backward'",
        "name = 'multi_step', window = 2, adaptation_steps = 4, multi_step_loss_until = 0.2",
        "name = 'multi_step', inner_momentum = 0.9, adaptation_steps = 3, regularizer = 'shot'",
        "name = 'boil', window = 2, adaptation_steps = 3, regularizer = 'shot'",
    ] {
        let config = parse(&format!("algorithm = {{ {method} }}")).unwrap();
        check_round_trip(&config);
        let default = parse(&format!("algorithm = {{ {} }}", method.split(',').next().unwrap()));
        assert_ne!(config, default.unwrap(), "{method}");
    }
    check_round_trip(&parse("model = { kind = 'mlp', hidden = [], activation = 'tanh' }").unwrap());
    check_round_trip(
        &parse("outer = { optimizer = 'sgd', momentum = 0.9, schedule = 'linear' }").unwrap(),
    );
    check_round_trip(&parse("outer = { schedule = 'step', decay_every = 2000 }").unwrap());
}

#[test]
fn a_rate_may_fall_in_steps() {
    let cavia = parse("outer = { schedule = 'step', decay_every = 5000, decay_factor = 0.9 }");
    let schedule = crate::experiment::Outer::new(&cavia.unwrap()).schedule;
    assert_eq!([schedule.rate(4999), schedule.rate(5000)], [0.001, 0.001 * 0.9]);
    let default = parse("outer = { schedule = 'step', decay_every = 3 }").unwrap().outer.schedule;
    assert_eq!(default, Schedule::Step { decay_every: 3, decay_factor: 0.1 });
    // Who chooses another course does without the steps, and the other way round.
    let sets = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        Config::load("omniglot-5w1s-maml", &sets).unwrap().outer.schedule
    };
    let step = ["outer.final_lr=1e-5", "outer.schedule=step", "outer.decay_every=3"];
    assert_eq!(sets(&step), Schedule::Step { decay_every: 3, decay_factor: 0.1 });
    let back = [&step[..], &["outer.schedule=cosine"]].concat();
    assert_eq!(sets(&back), Schedule::Cosine { final_lr: 0.0 });
}

#[test]
fn shots_distance_suits_the_outputs() {
    let distance_of = |text: &str| match parse(text).unwrap().algorithm.regularizer {
        Regularizer::Shot(shot) => (shot.distance, shot.projector),
        Regularizer::None => unreachable!("asked for"),
    };
    let distance = |tasks: &str| {
        distance_of(&format!("tasks = {{ {tasks} }}\nalgorithm.regularizer = 'shot'"))
    };
    assert_eq!(distance("family = 'strokes'"), (Distance::ReferenceToTarget, true));
    let curves = "family = 'curves', file = 'f.csv', x_columns = ['x'], y_columns = ['y'], task_columns = ['t']";
    for regression in ["family = 'sinusoid'", "family = 'sine_line'", curves] {
        assert_eq!(distance(regression), (Distance::Outputs, false), "{regression}");
    }
    let reptile = "algorithm = { name = 'reptile', regularizer = 'shot' }";
    assert_eq!(distance_of(reptile), (Distance::Parameters, false));
}

/// A method named alone is itself: its steps are enough for what sets it apart.
#[test]
fn steps_are_those_that_a_method_needs() {
    let steps = |algorithm: &str| {
        parse(&format!("algorithm = {{ {algorithm} }}")).unwrap().algorithm.adaptation_steps
    };
    assert_eq!(steps("name = 'maml'"), 1);
    assert_eq!(steps("name = 'maml', window = 4"), 4);
    assert_eq!(steps("name = 'multi_step'"), 2);
    assert_eq!(steps("name = 'multi_step', window = 1, inner_momentum = 0.5"), 2);
    assert_eq!(steps("name = 'truncated_maml', last_steps = 3"), 4);
    assert_eq!(steps("name = 'binom_maml'"), 3);
    assert_eq!(steps("name = 'maml_plus_plus'"), 5);
    assert_eq!(steps("name = 'imaml'"), 16);
    let rate = |family: &str| {
        let text = format!("tasks.family = '{family}'\nalgorithm.name = 'sign_maml'");
        parse(&text).unwrap().algorithm.inner_lr
    };
    assert_eq!((rate("strokes"), rate("sinusoid")), (0.0035, 0.01));
}

#[test]
fn a_window_goes_with_the_method_it_is_of() {
    let window = |sets: &[&str]| load("strokes-multi-step", sets).unwrap().algorithm.window.steps;
    assert_eq!(window(&[]), 3);
    assert_eq!(window(&["algorithm.name=maml"]), 1);
    assert_eq!(window(&["algorithm.name=anil", "algorithm.window=2"]), 2);
    assert_eq!(window(&["algorithm.name=anil", "algorithm.window=2", "algorithm.name=boil"]), 2);
    let config = parse("algorithm.name = 'multi_step'").unwrap();
    assert_eq!(config.algorithm.window.sharing(), Sharing::Forward(2));
    assert_eq!(parse("").unwrap().algorithm.window.sharing(), Sharing::None);
}

#[test]
fn reconstructions_are_named() {
    let papers = |method: &str| {
        let text = format!("algorithm = {{ name = '{method} }}");
        parse(&text).unwrap().algorithm.reconstruction().unwrap_or("").to_string()
    };
    assert_eq!(papers("maml'"), "");
    assert!(papers("anil', window = 2").starts_with("Kim"));
    assert!(papers("multi_step', window = 1").starts_with("Kim"));
    let both = papers("gradient_similarity', window = 2");
    assert!(both.starts_with("Tak") && both.contains("Kim"), "{both}");
}

#[test]
fn shots_weight_is_that_of_the_publication() {
    let weight = |rest: &str| {
        let text = format!("algorithm = {{ regularizer = 'shot', {rest} }}");
        match parse(&text).unwrap().algorithm.regularizer {
            Regularizer::Shot(shot) => shot.weight,
            Regularizer::None => panic!("{text}"),
        }
    };
    assert_eq!(weight("adaptation_steps = 3"), 0.1);
    assert_eq!(weight("adaptation_steps = 3, shot_base = 'target'"), 0.1);
    assert_eq!(weight("adaptation_steps = 1"), 1e-6);
    assert_eq!(weight("name = 'boil', adaptation_steps = 1, shot_weight = 0.2"), 0.2);
    assert_eq!(weight("adaptation_steps = 1, shot_pretraining_until = 0.1"), 0.0);
}

fn flat_of(config: &Config) -> Vec<(String, String)> {
    setting::flat(&written(config)).into_iter().collect()
}

#[test]
fn every_preset_and_every_choice_in_it_is_legal() {
    assert!(presets::names().contains(&presets::DEFAULT));
    for preset in presets::all() {
        let config = load(preset.name, &[]).unwrap_or_else(|error| panic!("{error}"));
        check_round_trip(&config);
        for method in file::MethodName::ALL {
            let of_classes =
                matches!(method, file::MethodName::Protonet | file::MethodName::FineTune);
            if of_classes && config.tasks.family.is_regression() {
                continue;
            }
            let name = format!("algorithm.name={method}");
            let plain = ["algorithm.inner_optimizer=sgd", "algorithm.regularizer=none"];
            let mut sets = vec![name.as_str(), plain[0], plain[1]];
            // Without an inner step it is refused.
            if *method == file::MethodName::Reptile && config.algorithm.adaptation_steps == 0 {
                sets.push("algorithm.adaptation_steps=1");
            }
            let config = load(preset.name, &sets);
            let config = config.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.algorithm.method.to_string(), method.name());
            check_round_trip(&config);
        }
    }
    let config = load(presets::DEFAULT, &[]).unwrap();
    assert_eq!((config.outer.iterations, config.outer.meta_batch_size), (1000, 8));
}

#[test]
fn every_experiment_is_legal_and_says_where_it_is_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some("toml") = path.extension().and_then(|ending| ending.to_str()) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        check_round_trip(&Config::parse(&text, name).unwrap_or_else(|error| panic!("{error}")));
        for heading in ["[published]\nsource = ", "# What differs "] {
            assert!(text.contains(heading), "{name} has no line {heading:?}");
        }
        let run = format!("# Run: innerloop reproduce {name}\n");
        assert!(text.contains(&run), "{name} has no line {run:?}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} experiments");
}

#[test]
fn differences_are_listed_key_by_key() {
    let one = load("strokes-maml", &[]).unwrap();
    let two = load("strokes-maml", &["model.kind=mlp", "outer.lr=0.5", "run.threads=2"]).unwrap();
    let differences = one.differences(&two);
    let lines: Vec<String> =
        differences.iter().map(|d| format!("{}: {} {}", d.key, d.this, d.other)).collect();
    for line in [
        "model.kind: \"conv4\" \"mlp\"",
        "model.filters: 32 not set",
        "model.hidden: not set [40, 40]",
        "outer.lr: 0.003 0.5",
        "run.threads: 0 2",
    ] {
        assert!(lines.contains(&line.to_string()), "{line} is not in {lines:#?}");
    }
    assert!(lines.is_sorted());
}
