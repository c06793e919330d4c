use std::fs;
use std::path::Path;

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
    assert_eq!((conv4.filters, conv4.variant, conv4.head), (64, Variant::MaxPool, Head::Flatten));
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

    let config = parse("tasks.family = 'sinusoid'").unwrap();
    assert_eq!(config.tasks.ways, 1);
    assert!(matches!(&config.model.network, Network::Mlp(mlp) if mlp.hidden == [40, 40]));
    assert_eq!((config.model.init, config.algorithm.inner_lr), (Init::PyTorch, 0.01));
    assert_eq!(config.outer.meta_batch_size, 25);

    let cavia = |more: &str| parse(&format!("algorithm.name = 'cavia'\n{more}")).unwrap().algorithm;
    assert_eq!((cavia("").method, cavia("").inner_lr), (Method::Cavia { parameters: 100 }, 1.0));
    assert_eq!(cavia("tasks.family = 'curves'").method, Method::Cavia { parameters: 5 });
    assert_eq!(cavia("model.kind = 'mlp'").method, Method::Cavia { parameters: 5 });

    let config = parse("model.variant = 'strided'").unwrap();
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
        variant = "strided"
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
        multi_step_loss = 0.25
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
        validate_every = 0
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
        ("model.head", "\"flatten\""),
        ("model.kind", "\"conv4\""),
        ("tasks.family", "\"omniglot\""),
        ("tasks.query", "15"),
    ];
    assert_eq!(same, expected.map(|(key, value)| (key.to_string(), value.to_string())));

    for method in [
        "name = 'maml_plus_plus', learn_inner_lr = false, multi_step_loss = 1, second_order_from = 1",
        "name = 'cavia', context_parameters = 7",
        "name = 'truncated_maml', last_steps = 3",
        "name = 'binom_maml', degree = 0",
        "name = 'hf_maml', epsilon = 0.5",
        "name = 'imaml', proximal = 0.5, cg_steps = 7, cg_damping = 0.1",
        "name = 'boil', adaptation_steps = 3, regularizer = 'shot', shot_weight = 0.2, shot_steps = 2, \
         shot_distance = 'parameters', shot_travel = 0.5",
        "name = 'fomaml', adaptation_steps = 3, regularizer = 'shot', shot_base = 'target', shot_steps = 6",
        "name = 'maml', adaptation_steps = 2, regularizer = 'shot', shot_pretraining = 0.2, shot_projector = false",
        "name = 'gradient_similarity', cosine_weight = 0.5, l2_weight = 1, magnitude = 2, strength = 0.1, \
         strength_schedule = 'linear', comparison = 'per_tensor'",
        "name = 'multi_step', window = 3, window_mode = 'backward', inner_momentum = 0.5",
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
}

fn flat_of(config: &Config) -> Vec<(String, String)> {
    file::flat(&valid::written(config)).into_iter().collect()
}

#[test]
fn every_preset_and_every_choice_in_it_is_legal() {
    assert!(presets::names().contains(&presets::DEFAULT));
    for preset in presets::all() {
        let config = load(preset.name, &[]).unwrap_or_else(|error| panic!("{error}"));
        check_round_trip(&config);
        for method in file::MethodName::ALL {
            if *method == file::MethodName::Protonet && config.tasks.family.is_regression() {
                continue;
            }
            let name = format!("algorithm.name={method}");
            let plain = ["algorithm.inner_optimizer=sgd", "algorithm.regularizer=none"];
            let config = load(preset.name, &[&name, plain[0], plain[1]]);
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
fn a_slip_in_a_name_gets_a_suggestion() {
    check_text(
        "[algorithm]\ninner_lrr = 1",
        "unknown key `algorithm.inner_lrr`; did you mean `inner_lr`?",
    );
    check_text("[tasks]\nway = 5", "unknown key `tasks.way`; did you mean `ways`?");
    check_text("sead = 5", "unknown key `sead`; did you mean `seed`?");
    check_text("[ouetr]\nlr = 1", "unknown key `ouetr`; did you mean `outer`?");
    check_text(
        "[model]\ninner_lr = 1",
        "unknown key `model.inner_lr`; did you mean `algorithm.inner_lr`?",
    );
    check_text("lr = 1", "unknown key `lr`; did you mean `outer.lr`?");
    check_text(
        "[evaluation]\nxyzzy = 1",
        "unknown key `evaluation.xyzzy`; known in [evaluation]: steps, tasks, validation_tasks, validate_every",
    );
    check_text(
        "xyzzy = 1",
        "unknown key `xyzzy`; known: preset, published, seed, tasks, model, algorithm, outer, evaluation, run",
    );
    let names = file::one_of(<file::MethodName as file::Setting>::names());
    check_text(
        "algorithm.name = 'Meta-SGD'",
        &format!("algorithm.name is \"Meta-SGD\", expected {names}; did you mean `meta_sgd`?"),
    );
    check_text(
        "algorithm.name = 'warpgrad'",
        &format!("algorithm.name is \"warpgrad\", expected {names}"),
    );
}

#[test]
fn nearest_is_near() {
    let near = |word| suggest::nearest(word, ["inner_lr", "inner_batch", "frozen"]);
    assert_eq!(near("inner-lr"), Some("inner_lr"));
    assert_eq!(near("INNER_LR"), Some("inner_lr"));
    assert_eq!(near("innner_lr"), Some("inner_lr"));
    assert_eq!(near("inenr_lr"), Some("inner_lr"));
    assert_eq!(near("batch"), None);
    assert_eq!(near("froze"), Some("frozen"));
    assert_eq!(near(""), None);
    assert_eq!(near(&"f".repeat(1_000_000)), None);
}

#[test]
fn a_wrong_type_is_named() {
    check_text("seed = -1", "seed is -1, expected a whole number, 0 or more");
    check_text("seed = 1.0", "seed is 1.0, expected a whole number, 0 or more");
    check_text("tasks = 5", "tasks is 5, expected a section [tasks]");
    check_text("[tasks]\ninvert = 1", "tasks.invert is 1, expected true or false");
    check_text("[tasks]\ndata = 1", "tasks.data is 1, expected text in quotes");
    check_text("[outer]\nlr = 'fast'", "outer.lr is \"fast\", expected a number");
    let list = "a list, each a whole number, 0 or more";
    check_text("[model]\nhidden = 40", &format!("model.hidden is 40, expected {list}"));
    check_text(
        "[model]\nhidden = [40, 'x']",
        &format!("model.hidden is [40, \"x\"], expected {list}"),
    );
    let rates = "a table of tensor names and rates, as in { \"head.weight\" = 0.1 }";
    check_text(
        "[algorithm]\ninner_lr_of.head.weight = 'x'",
        &format!("algorithm.inner_lr_of is {{ head = {{ weight = \"x\" }} }}, expected {rates}"),
    );
    let long = format!("[outer]\nlr = '{}'", "é".repeat(200));
    check_text(&long, &format!("outer.lr is \"{}…, expected a number", "é".repeat(79)));
}

#[test]
fn text_that_is_no_toml_is_placed() {
    let error = parse("seed = 1\n\n[outer\nlr = 1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let message = error.to_string();
    assert!(
        message.starts_with("run.toml, line 3: ") && message.ends_with(", expected TOML"),
        "{message}"
    );
    let error = parse("seed = 1\nseed = 2").unwrap_err().to_string();
    assert!(error.starts_with("run.toml, line 2: duplicate key"), "{error}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let most = "a whole number from 1 to 100000";
    let above = "a finite number above 0";
    let from_zero = "a finite number, 0 or more";
    for (key, value, expected) in [
        ("tasks.ways", "1", "a whole number from 2 to 100000"),
        ("tasks.shots", "0", most),
        ("tasks.query", "0", most),
        ("tasks.train_shots", "100001", most),
        ("tasks.train_query", "0", most),
        ("model.filters", "0", most),
        ("model.batch_norm_momentum", "0", "above 0 and at most 1, the weight of the newest batch"),
        ("model.batch_norm_eps", "0", above),
        ("algorithm.inner_lr", "0", above),
        ("algorithm.inner_lr", "NaN", above),
        ("algorithm.inner_lr", "inf", above),
        ("algorithm.multi_step_loss", "1.5", "0 to 1, a share of training"),
        ("algorithm.second_order_from", "-0.1", "0 to 1, a share of training"),
        ("algorithm.adaptation_steps", "100001", "a whole number from 0 to 100000"),
        ("outer.lr", "-1", above),
        ("outer.beta1", "1", "0 or more and below 1"),
        ("outer.beta2", "-0.1", "0 or more and below 1"),
        ("outer.eps", "0", above),
        ("outer.weight_decay", "-1", from_zero),
        ("outer.clip_value", "inf", from_zero),
        ("outer.clip_norm", "NaN", from_zero),
        ("outer.meta_batch_size", "0", most),
        ("outer.iterations", "0", "a whole number from 1 to 1000000000"),
        ("evaluation.steps", "0", most),
        ("evaluation.tasks", "1", "a whole number from 2 to 1000000000"),
        ("evaluation.validation_tasks", "0", "a whole number from 2 to 1000000000"),
        ("evaluation.validate_every", "1000000001", "a whole number from 0 to 1000000000"),
        ("run.threads", "4097", "a whole number from 0 to 4096"),
        ("run.checkpoint_every", "0", "a whole number from 1 to 1000000000"),
        ("run.minutes", "-1", from_zero),
        ("run.log_every", "0", "a whole number from 1 to 1000000000"),
    ] {
        let written = if value == "NaN" { "nan" } else { value };
        check_text(
            &format!("{key} = {written}"),
            &format!("{key} is {value}, expected {expected}"),
        );
    }
    check_text(
        "outer = { optimizer = 'sgd', momentum = 1 }",
        "outer.momentum is 1, expected 0 or more and below 1",
    );
    check_text(
        "outer = { schedule = 'linear', final_lr = -1 }",
        &format!("outer.final_lr is -1, expected {from_zero}"),
    );
    check_text(
        "model = { kind = 'mlp', hidden = [4, 0] }",
        &format!("model.hidden is 0, expected {most}"),
    );
    check_text(
        "algorithm = { name = 'gradient_similarity', cosine_weight = 0 }",
        "algorithm.cosine_weight is 0, expected a number above 0 with algorithm.l2_weight = 0: without both there \
         is no correction; for that set algorithm.strength = 0",
    );
    check_text(
        "algorithm = { name = 'multi_step', window = 0 }",
        "algorithm.window is 0, expected a whole number from 1 to 100000",
    );
    check_text(
        "algorithm = { name = 'multi_step', inner_momentum = 1 }",
        "algorithm.inner_momentum is 1, expected 0 or more and below 1",
    );
    check_text(
        "algorithm = { name = 'hf_maml', epsilon = 0 }",
        "algorithm.epsilon is 0, expected a finite number above 0",
    );
    check_text(
        "algorithm.inner_lr_of = { 'head.bias' = -1 }",
        "algorithm.inner_lr_of.\"head.bias\" is -1, expected a finite number, 0 or more",
    );
}

#[test]
fn combinations_that_mean_nothing_are_refused_with_the_reason() {
    check_text(
        "tasks.family = 'sinusoid'\nmodel.kind = 'conv4'",
        "model.kind is \"conv4\", expected \"mlp\": tasks of regression have numbers as input and conv4 takes images",
    );
    check_text(
        "algorithm.inner_optimizer = 'adam'",
        "algorithm.inner_optimizer is \"adam\", expected \"sgd\" with algorithm.name = \"maml\": only Reptile, \
         which does not differentiate through its inner loop, can use Adam there",
    );
    check_text(
        "algorithm = { name = 'reptile', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"reptile\": Reptile has no \
         gradient with respect to its rates",
    );
    check_text(
        "algorithm = { name = 'meta_sgd', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"meta_sgd\": Meta-SGD learns a \
         rate for each weight already",
    );
    check_text(
        "algorithm = { name = 'fomaml', strategy = 'adjoint' }",
        "algorithm.strategy is \"adjoint\", expected \"auto\" with algorithm.name = \"fomaml\": a first-order \
         method has no second derivatives to compute in one way or another",
    );
    check_text(
        "algorithm = { name = 'anil', frozen = ['head'] }",
        "algorithm.frozen is a list with \"head\", expected no name of the head: ANIL adapts the head alone, and \
         nothing would adapt",
    );
    check_text(
        "algorithm = { name = 'protonet', adaptation_steps = 1 }",
        "algorithm.adaptation_steps does not apply: protonet has no inner loop; leave it out",
    );
    check_text(
        "algorithm = { name = 'lstm', inner_lr = 0.1 }",
        "algorithm.inner_lr does not apply: the LSTM learns how far to go; leave it out",
    );
    check_text(
        "tasks.family = 'sinusoid'\nalgorithm.name = 'protonet'",
        "algorithm.name is \"protonet\", expected another method: regression has no classes to average",
    );
    check_text(
        "model.batch_norm = 'with_support'\nalgorithm.name = 'protonet'",
        "model.batch_norm is \"with_support\", expected \"transductive\", \"running\" or \"per_step\": protonet \
         embeds support and query set in one batch",
    );
    check_text(
        "model = { kind = 'mlp', hidden = [] }\nalgorithm.name = 'protonet'",
        "model.hidden is [], expected a layer, which is protonet's embedding",
    );
    check_text(
        "algorithm = { name = 'reptile', multi_step_loss = 0.1 }",
        "algorithm.multi_step_loss does not apply: Reptile has no query set; leave it out",
    );
    check_text(
        "algorithm = { name = 'imaml', multi_step_loss = 0.1 }",
        "algorithm.multi_step_loss does not apply: an implicit gradient is that of the query loss where the inner \
         loop ends; leave it out",
    );
    check_text(
        "algorithm = { name = 'multi_step', multi_step_loss = 0.1 }",
        "algorithm.multi_step_loss does not apply: steps that share a gradient have one query loss; leave it out",
    );
    check_text(
        "algorithm = { name = 'fomaml', second_order_from = 0.1 }",
        "algorithm.second_order_from does not apply: no second derivative is taken anyway; leave it out",
    );
    check_text(
        "algorithm = { name = 'boil', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"boil\": the method is defined \
         with rates that stay",
    );
    check_text(
        "algorithm = { name = 'sign_maml', strategy = 'unrolled' }",
        "algorithm.strategy is \"unrolled\", expected \"auto\" with algorithm.name = \"sign_maml\": a first-order \
         method has no second derivatives to compute in one way or another",
    );
    check_text(
        "algorithm = { name = 'reptile', regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": Reptile has no query set to compare two inner loops \
         on",
    );
    check_text(
        "algorithm = { name = 'imaml', regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": an implicit gradient holds at a minimum, which few \
         steps do not reach",
    );
    check_text(
        "algorithm = { adaptation_steps = 0, regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": without an inner step there is no path to straighten",
    );
    check_text(
        "algorithm = { adaptation_steps = 3, regularizer = 'shot', shot_steps = 3 }",
        "algorithm.shot_steps is 3, expected fewer than algorithm.adaptation_steps, 3, with algorithm.shot_base = \
         \"reference\"",
    );
    check_text(
        "algorithm = { adaptation_steps = 3, regularizer = 'shot', shot_distance = 'parameters', shot_projector = \
         true }",
        "algorithm.shot_projector is true, expected false with algorithm.shot_distance = \"parameters\", which are \
         not projected",
    );
    check_text(
        "algorithm = { adaptation_steps = 1, regularizer = 'shot', shot_steps = 1 }",
        "algorithm.shot_steps is 1, expected more than algorithm.adaptation_steps, 1, with algorithm.shot_base = \
         \"target\"",
    );
    check_text(
        "tasks.family = 'sinusoid'\nalgorithm = { regularizer = 'shot', shot_distance = 'cross_entropy' }",
        "algorithm.shot_distance is \"cross_entropy\", expected \"outputs\" or \"parameters\": sinusoid tasks have \
         no classes",
    );
    check_text(
        "algorithm.frozen = ['']",
        "algorithm.frozen is a list with \"\", expected names of tensors: the empty name begins every other, and \
         nothing would adapt",
    );
    check_text(
        "algorithm.inner_batch = 6",
        "algorithm.inner_batch is 6, expected at most 5, the support examples of a training task, or 0 for all",
    );
    check_text(
        "tasks = { family = 'omniglot', shots = 6 }",
        "tasks.shots + tasks.query is 21, expected at most 20, the drawings of an Omniglot character",
    );
    check_text(
        "tasks = { family = 'omniglot', train_shots = 10 }",
        "tasks.train_shots + tasks.train_query is 25, expected at most 20, the drawings of an Omniglot character",
    );
    check_text(
        "outer = { warmup = 10, iterations = 10 }",
        "outer.warmup is 10, expected less than outer.iterations, 10",
    );
}

#[test]
fn keys_of_another_choice_are_refused() {
    for (choice, key, why) in [
        ("tasks.family = 'strokes'", "tasks.split = 'finn'", "only omniglot tasks have it"),
        ("tasks.family = 'sinusoid'", "tasks.invert = true", "only omniglot tasks have it"),
        (
            "tasks.family = 'cifar_fs'",
            "tasks.size = 28",
            "only double_mnist, triple_mnist, mini_imagenet, images tasks have it",
        ),
        ("tasks.family = 'curves'", "tasks.ways = 2", "curves tasks have no classes"),
        (
            "tasks.family = 'sine_line'",
            "tasks.data = 'd'",
            "only omniglot, double_mnist, triple_mnist, cifar_fs, fc100, mini_imagenet, images, curves tasks have it",
        ),
        ("tasks.family = 'sinusoid'", "tasks.ways = 5", "sinusoid tasks have no classes"),
        ("model.kind = 'conv4'", "model.hidden = [1]", "conv4 has no hidden linear layers"),
        ("model.kind = 'conv4'", "model.activation = 'relu'", "conv4 always has relu"),
        ("model.kind = 'mlp'", "model.head = 'mean'", "an mlp has no convolutions"),
        ("model.kind = 'mlp'", "model.batch_norm = 'with_support'", "an mlp has no batch norm"),
        (
            "algorithm.name = 'maml'",
            "algorithm.last_steps = 1",
            "only truncated_maml leaves steps out",
        ),
        ("algorithm.name = 'anil'", "algorithm.degree = 1", "only binom_maml counts Hessians"),
        (
            "algorithm.name = 'maml'",
            "algorithm.proximal = 1",
            "only imaml holds the fast weights to their start",
        ),
        (
            "algorithm.regularizer = 'none'",
            "algorithm.shot_weight = 0.2",
            "only the regularizer shot has a second inner loop",
        ),
        (
            "algorithm.name = 'fomaml'",
            "algorithm.strength = 0.2",
            "only gradient_similarity corrects the query gradient",
        ),
        ("algorithm.name = 'maml'", "algorithm.window = 2", "only multi_step shares gradients"),
        (
            "algorithm.name = 'binom_maml'",
            "algorithm.epsilon = 0.1",
            "only hf_maml takes differences of gradients",
        ),
        ("outer.optimizer = 'sgd'", "outer.beta1 = 0.9", "sgd has none of Adam's settings"),
        ("outer.optimizer = 'adamw'", "outer.momentum = 0.9", "only sgd has it; Adam's is beta1"),
        (
            "outer.schedule = 'constant'",
            "outer.final_lr = 0",
            "a constant rate ends where it began",
        ),
    ] {
        let name = key.split(' ').next().unwrap();
        check_text(
            &format!("{choice}\n{key}"),
            &format!("{name} does not apply: {why}; leave it out"),
        );
    }
}

#[test]
fn a_layer_with_another_choice_drops_the_keys_of_the_old_one() {
    let config = load("strokes-maml", &["model.kind=mlp", "model.hidden=[8]"]).unwrap();
    assert!(matches!(config.model.network, Network::Mlp(_)));
    let message = "model.kind is \"conv4\", expected \"mlp\": tasks of regression have numbers as input and \
                   conv4 takes images";
    let sinusoid = load("strokes-maml", &["tasks.family=sinusoid"]);
    check_refused(sinusoid, ErrorKind::Config, &format!("preset strokes-maml: {message}"));
    let sinusoid = load("strokes-maml", &["tasks.family=sinusoid", "model.kind=mlp"]).unwrap();
    assert_eq!(sinusoid.tasks.family, Family::Sinusoid);
    let sets = ["outer.optimizer=sgd", "outer.momentum=0.5", "outer.optimizer=adam"];
    assert!(matches!(load("strokes-maml", &sets).unwrap().outer.optimizer, Optimizer::Adam(_)));
    let config = load("strokes-hf-maml", &["algorithm.name=maml"]).unwrap();
    assert_eq!(config.algorithm.method, Method::Maml);
}

#[test]
fn overrides_are_toml_or_bare_words() {
    let config = load(
        "strokes-maml",
        &[
            "seed=7",
            " outer.lr = 1e-2 ",
            "outer.lr=0.5",
            "algorithm.name=anil",
            "algorithm.frozen=[\"features.0\"]",
            "algorithm.inner_lr_of.\"head.weight\"=0.25",
            "algorithm.inner_lr_of.head.bias=1",
            "tasks = { family = \"omniglot\", split = 'finn' }",
            "tasks.data=/data/a b=c#d",
        ],
    )
    .unwrap();
    assert_eq!((config.seed, config.outer.lr, config.algorithm.method), (7, 0.5, Method::Anil));
    assert_eq!(config.algorithm.frozen, ["features.0"]);
    let rates = [("head.bias".to_string(), 1.0), ("head.weight".to_string(), 0.25)];
    assert_eq!(config.algorithm.inner_lr_of, BTreeMap::from(rates));
    let Family::Omniglot(omniglot) = &config.tasks.family else { panic!("omniglot was set") };
    assert_eq!((omniglot.data.as_str(), omniglot.split), ("/data/a b=c#d", Split::Finn));
    assert_eq!(config.tasks.train_query, 3, "the preset's stays");

    check_set("outer.lr=01", "outer.lr is \"01\", expected a number");
    check_set("outer.lrr=1", "unknown key `outer.lrr`; did you mean `lr`?");
    check_set("outer.lr=-1", "outer.lr is -1, expected a finite number above 0");
    for set in [
        "",
        "outer.lr",
        "outer.lr=",
        "=1",
        "outer.lr=[1",
        "outer lr=1",
        "# a=1",
        "[tasks]#=1",
        "a=1\nb=2",
    ] {
        let message = format!("--set {set}: expected section.key=value, as in outer.lr=0.01");
        check_refused(load("strokes-maml", &[set]), ErrorKind::Usage, &message);
    }
    check_refused(
        load("strokes-maml", &["preset=sinusoid-maml"]),
        ErrorKind::Usage,
        "--set preset=sinusoid-maml: a preset cannot be set; name the preset as the source, or at the top of a file",
    );
}

#[test]
fn a_file_may_start_from_a_preset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, "preset = 'sinusoid-maml'\n[outer]\niterations = 10\n").unwrap();
    let source = path.to_str().unwrap();
    let config = load(source, &["outer.lr=0.5"]).unwrap();
    let preset = load("sinusoid-maml", &[]).unwrap();
    assert_eq!((config.outer.iterations, config.outer.lr), (10, 0.5));
    assert_eq!((config.tasks, config.model), (preset.tasks, preset.model));

    let known = presets::names().join(", ");
    let message = format!(
        "run.toml: no preset is named `sinusoid_mamml`; did you mean `sinusoid-maml`?; presets: {known}"
    );
    check_refused(parse("preset = 'sinusoid_mamml'"), ErrorKind::Usage, &message);
    check_text("preset = 1", "preset is 1, expected the name of a preset");
}

#[test]
fn a_source_that_cannot_be_read_is_named() {
    let known = presets::names().join(", ");
    let message = format!(
        "no preset is named `strokes-mmaml`; did you mean `strokes-maml`?; presets: {known}"
    );
    check_refused(load("strokes-mmaml", &[]), ErrorKind::Usage, &message);

    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let message = format!("{place} is a folder, expected a preset or a .toml file");
    check_refused(load(place, &[]), ErrorKind::Usage, &message);

    let missing = folder.path().join("a.toml");
    let missing = missing.to_str().unwrap();
    let message =
        format!("there is no file {missing}; expected a .toml file or one of the presets {known}");
    check_refused(load(missing, &[]), ErrorKind::Usage, &message);

    let binary = folder.path().join("b.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    let binary = binary.to_str().unwrap();
    let message = format!("{binary} is not UTF-8 text, expected a TOML file");
    check_refused(load(binary, &[]), ErrorKind::Config, &message);

    let error = load(&format!("{binary}/c.toml"), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
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

#[test]
fn every_family_has_defaults_and_a_round_trip() {
    assert_eq!(file::FamilyName::ALL.len(), Family::NAMES.len());
    for name in Family::NAMES {
        let config = Config::of_family(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.to_toml().contains(&format!("family = \"{name}\"")), "{name}");
        check_round_trip(&config);
    }
    for text in [
        "tasks = { family = 'double_mnist', size = 32, images_seed = 7, data = 'd' }",
        "tasks = { family = 'images', data = 'd', size = 84, channels = 3, split_file = 's.csv', train_share = 0.5, \
         validation_share = 0.25, split_seed = 9 }",
        "tasks = { family = 'curves', file = 'f.csv', task_columns = ['a', 'b'], x_columns = ['c', 'd'], y_columns = \
         ['e'], standardise = false, train_share = 0, validation_share = 1, split_seed = 2 }",
        "tasks = { family = 'curves', layout = 'wide', x_columns = ['c'] }",
        "tasks = { family = 'curves', layout = 'grid' }",
        "tasks = { family = 'sine_line', noise = 0, train_shots = 3 }",
    ] {
        check_round_trip(&parse(text).unwrap_or_else(|error| panic!("{error}")));
    }
}

#[test]
fn what_a_family_cannot_have_is_refused() {
    for (text, message) in [
        (
            "family = 'double_mnist', size = 65",
            "tasks.size is 65, expected a whole number from 8 to 64",
        ),
        (
            "family = 'triple_mnist', size = 7",
            "tasks.size is 7, expected a whole number from 8 to 84",
        ),
        (
            "family = 'images', channels = 2",
            "tasks.channels is 2, expected 1 for grey, 3 for colour, or 0 for what the files have",
        ),
        (
            "family = 'images', train_share = 0.75, validation_share = 0.5",
            "tasks.train_share + tasks.validation_share is 1.25, expected at most 1; the rest is for test",
        ),
        (
            "family = 'curves', train_share = -1",
            "tasks.train_share is -1, expected a finite number, 0 or more",
        ),
        (
            "family = 'curves', x_columns = []",
            "tasks.x_columns is [], expected the name of a column, or several",
        ),
        (
            "family = 'curves', layout = 'grid', x_columns = ['x']",
            "tasks.x_columns does not apply: the layout \"grid\" takes it from the names of the columns; leave it out",
        ),
        (
            "family = 'sine_line', noise = -0.1",
            "tasks.noise is -0.1, expected a finite number, 0 or more",
        ),
    ] {
        check_text(&format!("tasks = {{ {text} }}"), message);
    }
}
