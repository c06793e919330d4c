//! What is wrong in a configuration, and what the messages say.

use super::*;

#[test]
fn a_slip_in_a_name_gets_a_suggestion() {
    check_text(
        "[algorithm]\ninner_lrr = 1",
        "unknown key `algorithm.inner_lrr`; did you mean `inner_lr`?",
    );
    check_text(
        "[algorithm]\nmulti_step_loss = 0.1",
        "unknown key `algorithm.multi_step_loss`; did you mean `multi_step_loss_until`?",
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
        "unknown key `evaluation.xyzzy`; known in [evaluation]: steps, tasks, validation_tasks, validate_every, \
         ensemble",
    );
    check_text(
        "xyzzy = 1",
        "unknown key `xyzzy`; known: preset, published, seed, tasks, model, algorithm, outer, evaluation, run",
    );
    let names = setting::one_of(<file::MethodName as setting::Setting>::names());
    check_text(
        "algorithm.name = 'Meta-SGD'",
        &format!("algorithm.name is \"Meta-SGD\", expected {names}; did you mean `meta_sgd`?"),
    );
    check_text(
        "algorithm.name = 'warpgrad'",
        &format!("algorithm.name is \"warpgrad\", expected {names}"),
    );
}

/// One reader for all kinds.
#[test]
fn every_kind_of_configuration_says_what_is_wrong_in_the_same_words() {
    for (text, message) in [
        ("[outer]\nlrr = 1", "unknown key `outer.lrr`; did you mean `lr`?"),
        ("sead = 5", "unknown key `sead`; did you mean `seed`?"),
        ("[ouetr]\nlr = 1", "unknown key `ouetr`; did you mean `outer`?"),
        ("threads = 1", "unknown key `threads`; did you mean `run.threads`?"),
        ("seed = -1", "seed is -1, expected a whole number, 0 or more"),
        ("run = 5", "run is 5, expected a section [run]"),
        (
            "[outer]\niterations = 'all'",
            "outer.iterations is \"all\", expected a whole number, 0 or more",
        ),
    ] {
        check_text(text, message);
        let expected = format!("run.toml: {message}");
        let rl = RlConfig::parse(&format!("{text}\n[rl]"), "run.toml").unwrap_err();
        assert_eq!((rl.to_string(), rl.kind()), (expected.clone(), ErrorKind::Config));
        let transfer =
            TransferConfig::parse(&format!("{text}\n[transfer]"), "run.toml").unwrap_err();
        assert_eq!((transfer.to_string(), transfer.kind()), (expected, ErrorKind::Config));
    }
    let error = RlConfig::load("nav2d-maml", &["outer.method=trop".into()]).unwrap_err();
    let names = setting::one_of(&["trpo", "ppo", "plain", "es"]);
    let message = format!(
        "--set outer.method=trop: outer.method is \"trop\", expected {names}; did you mean `trpo`?"
    );
    assert_eq!(error.to_string(), message);
    let message =
        "run.toml: unknown key `source.target_shots`; did you mean `transfer.target_shots`?";
    let error = TransferConfig::parse("[source]\ntarget_shots = 1", "run.toml").unwrap_err();
    assert_eq!(error.to_string(), message);
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
    check_text("[tasks]\ndata = 1", "tasks.data is 1, expected a string in quotes");
    check_text("[outer]\nlr = 'fast'", "outer.lr is \"fast\", expected a number");
    let list = "a list, each item a whole number, 0 or more";
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
        ("algorithm.multi_step_loss_until", "1.5", "a number from 0 to 1, a fraction of training"),
        ("algorithm.second_order_from", "-0.1", "a number from 0 to 1, a fraction of training"),
        ("algorithm.adaptation_steps", "100001", "a whole number from 0 to 100000"),
        ("outer.lr", "-1", above),
        ("outer.beta1", "1", "at least 0 and below 1"),
        ("outer.beta2", "-0.1", "at least 0 and below 1"),
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
        ("evaluation.ensemble", "0", "a whole number from 1 to 1000"),
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
        "outer.momentum is 1, expected at least 0 and below 1",
    );
    check_text(
        "outer = { schedule = 'linear', final_lr = -1 }",
        &format!("outer.final_lr is -1, expected {from_zero}"),
    );
    for (keys, message) in [
        (
            "",
            "outer.decay_every is not set, expected a number of iterations with outer.schedule = \"step\"",
        ),
        (
            ", decay_every = 0",
            "outer.decay_every is 0, expected a whole number from 1 to 1000000000",
        ),
        (
            ", decay_every = 9, decay_factor = 0",
            "outer.decay_factor is 0, expected above 0 and at most 1",
        ),
        (
            ", decay_every = 9, decay_factor = 1.1",
            "outer.decay_factor is 1.1, expected above 0 and at most 1",
        ),
    ] {
        check_text(&format!("outer = {{ schedule = 'step'{keys} }}"), message);
    }
    check_text(
        "model = { kind = 'mlp', hidden = [4, 0] }",
        &format!("model.hidden is 0, expected {most}"),
    );
    check_text(
        "algorithm = { name = 'gradient_similarity', cosine_weight = 0 }",
        "algorithm.cosine_weight is 0, expected a number above 0 when algorithm.l2_weight is 0: with both at 0 there \
         is no correction; to turn it off, set algorithm.strength = 0",
    );
    check_text(
        "algorithm = { name = 'multi_step', window = 0 }",
        "algorithm.window is 0, expected a whole number from 1 to 100000",
    );
    check_text(
        "algorithm = { name = 'multi_step', inner_momentum = 1 }",
        "algorithm.inner_momentum is 1, expected at least 0 and below 1",
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
        "model.kind is \"conv4\", expected \"mlp\": regression tasks have numbers as inputs, but conv4 takes images",
    );
    check_text(
        "algorithm.inner_optimizer = 'adam'",
        "algorithm.inner_optimizer is \"adam\", expected \"sgd\" with algorithm.name = \"maml\": only Reptile, \
         which does not differentiate through its inner loop, can use Adam there",
    );
    check_text(
        "algorithm = { name = 'reptile', adaptation_steps = 0 }",
        "algorithm.adaptation_steps is 0, expected 1 or more with algorithm.name = \"reptile\": it moves towards the \
         adapted weights, so without an inner step it learns nothing",
    );
    check_text(
        "algorithm = { name = 'reptile', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"reptile\": Reptile has no \
         gradient with respect to its rates",
    );
    check_text(
        "algorithm = { name = 'meta_sgd', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"meta_sgd\": Meta-SGD already \
         learns a rate for each weight",
    );
    check_text(
        "algorithm = { name = 'fomaml', strategy = 'adjoint' }",
        "algorithm.strategy is \"adjoint\", expected \"auto\" with algorithm.name = \"fomaml\": a first-order method \
         has no second derivatives, so there is no strategy to choose",
    );
    check_text(
        "algorithm = { name = 'anil', frozen = ['head'] }",
        "algorithm.frozen is a list with \"head\", expected no name of the head: ANIL adapts only the head, so \
         nothing would adapt",
    );
    check_text(
        "algorithm = { name = 'reptile', frozen = ['features.0'] }",
        "algorithm.frozen does not apply: Reptile learns what its inner loop moves, and the rest would stay as it was \
         initialised; leave it out",
    );
    check_text(
        "algorithm.window = 2\nmodel.batch_norm = 'per_step_batch'",
        "model.batch_norm is \"per_step_batch\", expected a mode without scales and shifts for each step: in a window \
         of inner steps only the first has a gradient of its own",
    );
    check_text(
        "algorithm = { name = 'imaml', inner_batch = 2 }",
        "algorithm.inner_batch does not apply: imaml's gradient is that at a minimum of the loss on the whole support \
         set; leave it out",
    );
    check_text(
        "algorithm = { name = 'protonet', adaptation_steps = 1 }",
        "algorithm.adaptation_steps does not apply: protonet has no inner loop; leave it out",
    );
    check_text(
        "algorithm = { name = 'lstm', inner_lr = 0.1 }",
        "algorithm.inner_lr does not apply: the LSTM learns its own step sizes; leave it out",
    );
    check_text(
        "tasks.family = 'sinusoid'\nalgorithm.name = 'protonet'",
        "algorithm.name is \"protonet\", expected another method: regression has no classes to average",
    );
    check_text(
        "model.batch_norm = 'with_support'\nalgorithm.name = 'protonet'",
        "model.batch_norm is \"with_support\", expected \"transductive\", \"running\" or \"per_step\": protonet \
         embeds the support and query sets in one batch",
    );
    check_text(
        "model = { kind = 'mlp', hidden = [] }\nalgorithm.name = 'protonet'",
        "model.hidden is [], expected at least one layer, because the last hidden layer is protonet's embedding",
    );
    check_text(
        "tasks.family = 'sinusoid'\nalgorithm.name = 'fine_tune'",
        "algorithm.name is \"fine_tune\", expected another method: regression has no classes to pre-train on; \
         \"maml\" with algorithm.adaptation_steps = 0 trains on all tasks together",
    );
    check_text(
        "algorithm = { name = 'fine_tune', adaptation_steps = 1 }",
        "algorithm.adaptation_steps does not apply: fine_tune has no inner loop in training; leave it out",
    );
    for name in ["head", "head.weight"] {
        check_text(
            &format!("algorithm = {{ name = 'fine_tune', frozen = ['{name}'] }}"),
            &format!(
                "algorithm.frozen is a list with \"{name}\", expected no name of the head: fine_tune's new head \
                 starts at zero, so with a frozen head nothing could be learned"
            ),
        );
    }
    check_text(
        "algorithm = { name = 'fine_tune', regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": without an inner step there is no path to straighten",
    );
    check_text(
        "algorithm = { name = 'reptile', multi_step_loss_until = 0.1 }",
        "algorithm.multi_step_loss_until does not apply: Reptile has no query set; leave it out",
    );
    check_text(
        "algorithm = { name = 'imaml', multi_step_loss_until = 0.1 }",
        "algorithm.multi_step_loss_until does not apply: an implicit gradient uses the query loss at the end of the \
         inner loop only; leave it out",
    );
    check_text(
        "algorithm = { name = 'fomaml', second_order_from = 0.1 }",
        "algorithm.second_order_from does not apply: the method takes no second derivatives anyway; leave it out",
    );
    check_text(
        "algorithm = { name = 'imaml', learn_inner_lr = true }",
        "algorithm.learn_inner_lr is true, expected false with algorithm.name = \"imaml\": an implicit gradient does \
         not depend on the steps that lead to the minimum",
    );
    check_text(
        "algorithm = { name = 'sign_maml', strategy = 'unrolled' }",
        "algorithm.strategy is \"unrolled\", expected \"auto\" with algorithm.name = \"sign_maml\": a first-order \
         method has no second derivatives, so there is no strategy to choose",
    );
    check_text(
        "algorithm = { name = 'reptile', regularizer = 'shot', inner_optimizer = 'adam' }",
        "algorithm.regularizer is \"shot\", expected \"none\": Adam's steps are not in proportion to the gradient, and \
         fewer and longer ones end elsewhere even on a straight path",
    );
    check_text(
        "algorithm = { name = 'reptile', regularizer = 'shot', shot_distance = 'outputs' }",
        "algorithm.shot_distance is \"outputs\", expected \"parameters\" with algorithm.name = \"reptile\": without a \
         query set there are no outputs to compare",
    );
    check_text(
        "algorithm = { name = 'reptile', regularizer = 'shot', shot_pretraining_until = 0.1 }",
        "algorithm.shot_pretraining_until is 0.1, expected 0 with algorithm.name = \"reptile\": its outer step is a share of \
         the displacement, which pre-training leaves out",
    );
    check_text(
        "algorithm = { name = 'imaml', regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": an implicit gradient is valid at a minimum, which a \
         few steps do not reach",
    );
    check_text(
        "algorithm = { name = 'lstm', regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": an LSTM's steps have no rate that could be scaled up \
         for fewer of them",
    );
    check_text(
        "algorithm = { name = 'multi_step', window = 3, adaptation_steps = 3, regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": with a window over all inner steps, target and \
         reference are the same single step",
    );
    check_text(
        "algorithm = { name = 'meta_sgd', window = 3, adaptation_steps = 3, regularizer = 'shot' }",
        "algorithm.regularizer is \"shot\", expected \"none\": with a window over all inner steps, target and \
         reference are the same single step",
    );
    for (method, why) in [
        ("fomaml", "no step has a Hessian to share"),
        ("reptile", "no step has a Hessian to share"),
        ("gradient_similarity", "no step has a Hessian to share"),
        ("lstm", "its inner gradients are held constant, so no step has a Hessian to share"),
        ("sign_maml", "the derivative of a sign is zero, so no step has a Hessian to share"),
        (
            "imaml",
            "an implicit gradient uses the Hessian at the end of the inner loop, not those of its steps",
        ),
    ] {
        check_text(
            &format!("algorithm = {{ name = '{method}', window = 2, window_mode = 'backward' }}"),
            &format!(
                "algorithm.window_mode is \"backward\", expected \"forward\" with algorithm.name = \"{method}\": {why}"
            ),
        );
    }
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
        "algorithm = { adaptation_steps = 3, regularizer = 'shot', shot_views = true }",
        "algorithm.shot_views is true, expected false without algorithm.shot_pretraining_until",
    );
    check_text(
        "tasks.family = 'sinusoid'\nalgorithm = { regularizer = 'shot', shot_pretraining_until = 0.1, shot_views = true }",
        "algorithm.shot_views is true, expected false: regression tasks have no images",
    );
    check_text(
        "algorithm = { adaptation_steps = 1, regularizer = 'shot', shot_steps = 1 }",
        "algorithm.shot_steps is 1, expected more than algorithm.adaptation_steps, 1, with algorithm.shot_base = \
         \"target\"",
    );
    check_text(
        "evaluation = { ensemble = 5, validate_every = 0 }",
        "evaluation.ensemble is 5, expected 1 when evaluation.validate_every is 0: without validation there is no \
         telling which checkpoints are best",
    );
    for family in ["sinusoid", "sine_line"] {
        check_text(
            &format!(
                "tasks.family = '{family}'\nalgorithm = {{ regularizer = 'shot', shot_distance = 'cross_entropy' }}"
            ),
            "algorithm.shot_distance is \"cross_entropy\", expected \"outputs\" or \"parameters\": regression tasks \
             have no classes",
        );
    }
    check_text(
        "algorithm.frozen = ['']",
        "algorithm.frozen is a list with \"\", expected names of tensors: every name starts with the empty string, \
         so nothing would adapt",
    );
    check_text(
        "algorithm.inner_batch = 6",
        "algorithm.inner_batch is 6, expected at most 5, the support examples of a training task, or 0 for all",
    );
    check_text(
        "tasks = { family = 'curves', x_columns = ['day', 'height'], y_columns = ['height'] }",
        "tasks.y_columns is a list with \"height\", expected columns that are not among tasks.x_columns: a target that \
         is an input needs no learning",
    );
    check_text(
        "tasks = { family = 'omniglot', shots = 6 }",
        "tasks.shots + tasks.query is 21, expected at most 20, the number of drawings of an Omniglot character",
    );
    check_text(
        "tasks = { family = 'omniglot', train_shots = 10 }",
        "tasks.train_shots + tasks.train_query is 25, expected at most 20, the number of drawings of an Omniglot \
         character",
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
        ("model.kind = 'conv4'", "model.activation = 'relu'", "conv4 always uses relu"),
        ("model.kind = 'mlp'", "model.head = 'mean'", "an mlp has no convolutions"),
        ("model.kind = 'mlp'", "model.batch_norm = 'with_support'", "an mlp has no batch norm"),
        (
            "algorithm.name = 'maml'",
            "algorithm.last_steps = 1",
            "only truncated_maml truncates the gradient",
        ),
        (
            "algorithm.name = 'anil'",
            "algorithm.degree = 1",
            "only binom_maml limits the number of Hessians",
        ),
        ("algorithm.name = 'maml'", "algorithm.proximal = 1", "only imaml has a proximal term"),
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
        ("algorithm.name = 'protonet'", "algorithm.window = 2", "protonet has no inner loop"),
        (
            "algorithm.name = 'maml'",
            "algorithm.window_mode = 'backward'",
            "without algorithm.window, inner steps share nothing",
        ),
        (
            "algorithm.name = 'anil'",
            "algorithm.inner_momentum = 0.5",
            "only multi_step has momentum in the inner loop",
        ),
        (
            "algorithm.name = 'binom_maml'",
            "algorithm.epsilon = 0.1",
            "only hf_maml uses finite differences",
        ),
        ("outer.optimizer = 'sgd'", "outer.beta1 = 0.9", "sgd has none of Adam's settings"),
        (
            "outer.optimizer = 'adamw'",
            "outer.momentum = 0.9",
            "only sgd has momentum; Adam's counterpart is beta1",
        ),
        (
            "outer.schedule = 'constant'",
            "outer.final_lr = 0",
            "a constant rate has no final value of its own",
        ),
        ("outer.schedule = 'linear'", "outer.decay_every = 5000", "only the step schedule has it"),
        (
            "algorithm.name = 'maml'",
            "tasks.train_ways = 5",
            "only protonet can train with other ways than it tests with: it has no output for each class",
        ),
        (
            "outer.schedule = 'step'\nouter.decay_every = 9",
            "outer.final_lr = 0",
            "with the step schedule, decay_every and decay_factor determine the final rate",
        ),
    ] {
        let name = key.split(' ').next().unwrap();
        check_text(
            &format!("{choice}\n{key}"),
            &format!("{name} does not apply: {why}; leave it out"),
        );
    }
}
