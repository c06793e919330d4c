//! Presets, files and overrides over each other.

use super::*;

#[test]
fn a_layer_with_another_choice_drops_the_keys_of_the_old_one() {
    let config = load("strokes-maml", &["model.kind=mlp", "model.hidden=[8]"]).unwrap();
    assert!(matches!(config.model.network, Network::Mlp(_)));
    let message = "model.kind is \"conv4\", expected \"mlp\": regression tasks have numbers as inputs, but conv4 \
                   takes images";
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
    assert_eq!((omniglot.data.as_str(), omniglot.split), ("/data/a b=c#d", OmniglotSplit::Finn));
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
fn a_preset_may_stand_on_another() {
    let (base, child) = (load("ozone-maml", &[]).unwrap(), load("spruce-maml", &[]).unwrap());
    assert_eq!(
        (base.model, base.algorithm, base.outer),
        (child.model, child.algorithm, child.outer)
    );
    assert_eq!((base.tasks.shots, child.tasks.shots, child.tasks.query), (10, 4, 9));
    // A message names the file that a value is in, however far below.
    let message = "preset strokes-maml: model.kind is \"conv4\", expected \"mlp\": regression tasks have numbers as \
                   inputs, but conv4 takes images";
    check_refused(load("strokes-fomaml", &["tasks.family=sinusoid"]), ErrorKind::Config, message);
    let robot = RlConfig::load("ant-vel", &[]).unwrap();
    assert_eq!((robot.algorithm.inner_lr, robot.outer.iterations), (0.1, 800));
    let file = "preset = 'ant-vel'\nouter.iterations = 3";
    let own = RlConfig::parse(file, "run.toml").unwrap();
    assert_eq!((own.rl, own.outer.iterations), (robot.rl, 3));
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
