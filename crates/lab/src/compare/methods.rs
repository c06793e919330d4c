//! What is compared: presets and files as they are, or methods on one base.

use std::path::Path;

use crate::config::{
    Config, Difference, Kept, LeftOut, Method, Network, method_names, presets, suggest,
};
use crate::{Error, Result};

/// In a configuration SHOT is not a method but a regularizer on MAML.
const SHOT: &str = "shot";
/// All methods.
const ALL: &str = "all";
/// Methods for classification tasks only.
const OF_CLASSES: [&str; 2] = ["protonet", "fine_tune"];

/// A configuration under the name of its row.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Name of the row and of the folder.
    pub name: String,
    /// Its settings, for any seed.
    pub config: Config,
    /// Shared settings that do not apply to it.
    pub left_out: Vec<LeftOut>,
}

/// Presets and files by name, then methods on a base; `sets` override settings of all of them. A setting is left out
/// where it does not apply, and rejected if it applies to none.
pub fn contestants(
    sources: &[String],
    (base, methods): (&str, &[String]),
    sets: &[String],
) -> Result<Vec<Contestant>> {
    let mut all = Vec::new();
    for source in sources {
        let (config, left_out) = Config::load_shared(source, &[], sets)?;
        let name =
            Path::new(source).file_stem().map_or("run".into(), |stem| stem.to_string_lossy());
        all.push(Contestant { name: name.into_owned(), config, left_out });
    }
    for name in chosen(methods)? {
        let unfit = OF_CLASSES.contains(&name.as_str())
            && Config::load(base, &[])?.tasks.family.is_regression();
        if unfit && methods == [ALL] {
            continue;
        }
        let (config, left_out) =
            on_base(base, &name, sets).map_err(|error| error.context(&name))?;
        all.push(Contestant { name, config, left_out });
    }
    let by_all =
        |left: &&LeftOut| all.iter().all(|one| one.left_out.iter().any(|l| l.key == left.key));
    if let Some(LeftOut { key, why }) = all.first().and_then(|one| one.left_out.iter().find(by_all))
    {
        return Err(Error::config(format!("--set {key} does not apply: {why}; leave it out")));
    }
    for (i, contestant) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.name == contestant.name) {
            return Err(Error::usage(format!(
                "{} is named twice; name each once, or copy the configuration to a file with another \
                 name",
                contestant.name
            )));
        }
    }
    match all.first() {
        Some(first) => all.iter().try_for_each(|other| same_tasks(first, other))?,
        None => {
            return Err(Error::usage(
                "nothing to compare; name presets or files, or give --methods maml,fomaml or all",
            ));
        }
    }
    Ok(all)
}

/// Names of methods as in configurations.
fn chosen(methods: &[String]) -> Result<Vec<String>> {
    let known: Vec<&str> = method_names().iter().copied().chain([SHOT]).collect();
    if methods == [ALL] {
        return Ok(known.iter().map(|name| name.to_string()).collect());
    }
    let known_name = |given: &String| {
        let name = given.replace('-', "_");
        if known.contains(&name.as_str()) {
            return Ok(name);
        }
        let hint = suggest::hint(&name, known.iter().copied());
        let all = known.join(", ");
        Err(Error::usage(format!("there is no method {given:?}{hint}; methods: {all}, or {ALL}")))
    };
    methods.iter().map(known_name).collect()
}

/// A method on the data, model and meta-batch of a base: the preset of the same stem if there is one, else the
/// base with the settings that suit the method.
fn on_base(base: &str, method: &str, sets: &[String]) -> Result<(Config, Vec<LeftOut>)> {
    let config = Config::load(base, &[])?;
    if name_of(&config) == method {
        return Config::load_shared(base, &[], sets);
    }
    let stem = base.strip_suffix(&format!("-{}", name_of(&config).replace('_', "-")));
    let sibling = |method: &str| {
        let name = format!("{}-{}", stem?, method.replace('_', "-"));
        presets::find(base).and(presets::find(&name)).map(|_| name)
    };
    if let Some(sibling) = sibling(method) {
        return Config::load_shared(&sibling, &[], sets);
    }
    // A method that corrects first-order MAML's gradient starts from the rates that suit first-order MAML.
    if let ("gradient_similarity", Some(fomaml)) = (method, sibling("fomaml"))
        && fomaml != base
    {
        return on_base(&fomaml, method, sets);
    }
    if matches!(config.algorithm.method, Method::Reptile) {
        return Err(Error::usage(format!(
            "{base} is a Reptile configuration, whose training tasks suit no other method; use a MAML configuration as \
             the base"
        )));
    }
    Config::load_shared(base, &recipe(method, &config), sets)
}

fn name_of(config: &Config) -> String {
    match config.algorithm.regularizer {
        crate::config::Regularizer::Shot(_) => SHOT.into(),
        crate::config::Regularizer::None => config.algorithm.method.to_string(),
    }
}

/// Settings of a method on a base.
fn recipe(method: &str, base: &Config) -> Vec<String> {
    let name = if method == SHOT { "maml" } else { method };
    let mut sets = vec![format!("algorithm.name={name}"), "algorithm.regularizer=none".into()];
    // It has no inner loop.
    if method == "protonet" {
        return sets;
    }
    let Suited { steps, rate, beside } = suited(method, base);
    let mut set = |key: &str, value: String| sets.push(format!("{key}={value}"));
    for (key, value) in beside {
        set(key, value);
    }
    // It takes inner steps only at test time, from a zero head.
    if method == "fine_tune" {
        set("evaluation.steps", "20".into());
        set("algorithm.inner_lr", "0.1".into());
        return sets;
    }
    match method {
        "multi_step" => set("algorithm.window", steps.min(3).to_string()),
        // A row named after a method is that method without a window.
        _ if base.algorithm.window.steps > 1 => set("algorithm.window", "1".into()),
        _ => {}
    }
    if method == SHOT {
        set("algorithm.regularizer", SHOT.into());
        if base.tasks.family.is_regression() {
            set("algorithm.shot_distance", "outputs".into());
        }
    }
    set("algorithm.adaptation_steps", steps.to_string());
    // The LSTM learns how far to go.
    if method != "lstm" {
        set("algorithm.inner_lr", format!("{rate:?}"));
    }
    sets
}

/// Inner steps and rate that suit a method, and what else it needs.
struct Suited {
    steps: usize,
    rate: f64,
    beside: Vec<(&'static str, String)>,
}

/// A method keeps the rates and steps of the base except where it concerns them: one that truncates or shares steps gets
/// three steps at half the rate if the base has one. The ratios are those between the presets on drawn characters.
fn suited(method: &str, base: &Config) -> Suited {
    // A base that trains without an inner loop says nothing about its steps.
    let (steps, rate) = (base.algorithm.adaptation_steps.max(1), base.algorithm.inner_lr);
    let regression = base.tasks.family.is_regression();
    let several = |least: usize| match steps {
        1 => (least, 0.5 * rate),
        steps => (steps.max(least), rate),
    };
    let with = |(steps, rate), beside| Suited { steps, rate, beside };
    match method {
        "cavia" => with((steps.max(2), 1.0), vec![]),
        // On curves, which have no batch norm, rates learned for some steps make later steps diverge.
        "meta_sgd" => {
            let as_trained = regression.then(|| ("evaluation.steps", steps.to_string()));
            with((steps, 0.25 * rate), Vec::from_iter(as_trained))
        }
        // A last layer trained for one step overshoots in later ones.
        "anil" if regression => with((steps.max(5), rate), vec![]),
        "maml_plus_plus" => maml_plus_plus(base),
        // The distance every weight moves in a step.
        "sign_maml" => with((steps.max(3), 0.0035), vec![]),
        "truncated_maml" | "multi_step" | SHOT => with(several(3), vec![]),
        "binom_maml" => with(several(3), vec![("algorithm.degree", "1".into())]),
        "imaml" => imaml(base),
        // Differences long enough to average over the kinks of ReLU and pooling, and a rate suited to small corrections.
        "hf_maml" if !regression => {
            with((steps, rate.min(0.1)), vec![("algorithm.epsilon", "1.0".into())])
        }
        // Its paper takes 12 steps and clips; a learned rule is used only for as many steps as it was trained for.
        "lstm" => {
            let steps = steps.max(5);
            let clip = ("outer.clip_norm", "0.25".into());
            with((steps, rate), vec![clip, ("evaluation.steps", steps.to_string())])
        }
        "reptile" => reptile(base),
        _ => with((steps, rate), vec![]),
    }
}

/// As many steps as in its paper, also at test time, with its multi-step loss at first, and scales and shifts for each
/// step. On curves the learned rates run away at first unless the gradient is clipped.
fn maml_plus_plus(base: &Config) -> Suited {
    let steps = base.algorithm.adaptation_steps.max(5);
    let beside = vec![
        ("evaluation.steps", steps.to_string()),
        ("outer.schedule", "cosine".into()),
        match &base.model.network {
            Network::Conv4(_) => ("model.batch_norm", "per_step_batch".into()),
            Network::Mlp(_) => ("outer.clip_norm", "10.0".into()),
        },
    ];
    Suited { steps, rate: base.algorithm.inner_lr.min(0.1), beside }
}

/// Its gradient is that at a minimum: many steps, also at test time, and a proximal weight that lets the weights move
/// about as far as the plain steps of the released code do.
fn imaml(base: &Config) -> Suited {
    let steps = base.algorithm.adaptation_steps.max(16);
    let beside = vec![
        ("algorithm.proximal", "0.5".into()),
        ("algorithm.cg_damping", "1.0".into()),
        ("evaluation.steps", base.evaluation.steps.max(steps).to_string()),
    ];
    Suited { steps, rate: base.algorithm.inner_lr.min(0.1), beside }
}

/// A whole training task is its support set, because there is no query set.
fn reptile(base: &Config) -> Suited {
    let tasks = &base.tasks;
    let regression = tasks.family.is_regression();
    let shots = if regression { tasks.train_shots + tasks.train_query - 1 } else { 10 };
    let support = shots * tasks.ways;
    let mut beside = vec![
        ("tasks.train_shots", shots.to_string()),
        ("tasks.train_query", "1".into()),
        ("algorithm.inner_batch", support.min(10).to_string()),
    ];
    if !regression {
        beside.push(("algorithm.inner_optimizer", "adam".into()));
    }
    beside.extend([
        ("outer.optimizer", "sgd".into()),
        ("outer.lr", "1.0".into()),
        ("outer.schedule", "linear".into()),
        ("evaluation.steps", base.evaluation.steps.max(10).to_string()),
    ]);
    let rate = if regression { base.algorithm.inner_lr } else { 1e-3 };
    Suited { steps: base.algorithm.adaptation_steps.max(5), rate, beside }
}

/// Checks that scores are measured on the same tasks.
fn same_tasks(first: &Contestant, other: &Contestant) -> Result<()> {
    let free = ["tasks.train_ways", "tasks.train_shots", "tasks.train_query", "tasks.augment"];
    let differences = first.config.differences(&other.config);
    let counts = |d: &&Difference| {
        let key = d.key.as_str();
        key.starts_with("tasks.") && !free.contains(&key) || key == "evaluation.tasks"
    };
    let Some(difference) = differences.iter().find(counts) else { return Ok(()) };
    Err(Error::usage(format!(
        "{} and {} are not measured on the same tasks: {} is {} and {}; make them equal with --set {}=...",
        first.name, other.name, difference.key, difference.this, difference.other, difference.key
    )))
}

/// A short description of the network.
pub(super) fn model(config: &Config) -> String {
    match &config.model.network {
        Network::Conv4(conv4) => format!("conv4 with {} filters", conv4.filters),
        Network::Mlp(mlp) => format!("mlp with hidden layers {:?}", mlp.hidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(base: &str, methods: &[&str], sets: &[&str]) -> Result<Vec<Contestant>> {
        let owned = |all: &[&str]| all.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        contestants(&[], (base, &owned(methods)), &owned(sets))
    }

    #[test]
    fn every_method_stands_on_every_kind_of_base() {
        for base in ["strokes-maml", "mini-imagenet-5w1s-maml", "sinusoid-maml", "gapminder-maml"] {
            let all =
                on(base, &["all"], &["outer.lr=0.25"]).unwrap_or_else(|e| panic!("{base}: {e}"));
            let regression = all[0].config.tasks.family.is_regression();
            let left_out = if regression { OF_CLASSES.len() } else { 0 };
            assert_eq!(all.len() + left_out, method_names().len() + 1, "{base}");
            for Contestant { name, config, .. } in &all {
                assert_eq!(name, &name_of(config), "{base}");
                assert_eq!(config.outer.lr, 0.25, "{base} {name}: --set comes last");
            }
        }
    }

    #[test]
    fn recipes_are_those_of_the_presets_on_drawn_characters() {
        let base = Config::load("strokes-maml", &[]).unwrap();
        for method in
            ["fomaml", "anil", "boil", "meta_sgd", "sign_maml", "truncated_maml", "binom_maml"]
                .into_iter()
                .chain([
                    "fine_tune",
                    "hf_maml",
                    "gradient_similarity",
                    "meta_curvature",
                    "imaml",
                    SHOT,
                ])
        {
            let made = Config::load("strokes-maml", &recipe(method, &base)).unwrap();
            let preset = format!("strokes-{}", method.replace('_', "-"));
            let preset = Config::load(&preset, &[]).unwrap();
            assert_eq!(made.differences(&preset), [], "{method}");
        }
    }

    #[test]
    fn siblings_come_before_recipes() {
        let all = on("omniglot-5w1s-maml", &["fomaml", "meta-curvature"], &[]).unwrap();
        let preset = Config::load("omniglot-5w1s-fomaml", &[]).unwrap();
        assert_eq!(all[0].config, preset);
        assert_eq!(all[1].config.algorithm.inner_lr, 0.4);
        let corrected = &on("omniglot-5w1s-maml", &["gradient-similarity"], &[]).unwrap()[0].config;
        assert_eq!(corrected.algorithm.inner_lr, preset.algorithm.inner_lr);
        assert_eq!(all[1].name, "meta_curvature");
    }

    #[test]
    fn on_curves_methods_are_trained_for_the_steps_they_can_take() {
        let steps = |base: &str, method: &str| {
            let config = &on(base, &[method], &[]).unwrap()[0].config;
            [config.algorithm.adaptation_steps, config.evaluation.steps]
        };
        assert_eq!(steps("sinusoid-maml", "maml"), [1, 10]);
        assert_eq!(steps("sinusoid-maml", "anil"), [5, 10]);
        assert_eq!(steps("sinusoid-maml", "meta_sgd"), [1, 1]);
        assert_eq!(steps("sinusoid-maml", "maml_plus_plus"), [5, 5]);
        assert_eq!(steps("omniglot-5w1s-maml", "maml_plus_plus"), [5, 5]);
        assert_eq!(steps("omniglot-5w1s-maml", "boil"), [1, 3]);
        let untrained = on("sinusoid-pretrained", &["fomaml", "meta_sgd", "lstm"], &[]).unwrap();
        assert!(untrained.iter().all(|row| row.config.algorithm.adaptation_steps > 0));
        let given = on("sinusoid-maml", &["meta_sgd"], &["evaluation.steps=3"]).unwrap();
        assert_eq!(given[0].config.evaluation.steps, 3, "--set comes last");
    }

    #[test]
    fn shared_settings_are_left_out_where_they_mean_nothing() {
        let sets = ["evaluation.steps=7", "algorithm.inner_lr=0.3"];
        let all = on("strokes-maml", &["all"], &sets).unwrap();
        let keys = |name: &str| {
            let one = all.iter().find(|one| one.name == name).unwrap();
            one.left_out.iter().map(|left| left.key.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(keys("maml"), [""; 0]);
        assert_eq!(keys("lstm"), ["algorithm.inner_lr"]);
        assert_eq!(keys("protonet"), ["algorithm.inner_lr", "evaluation.steps"]);
        for Contestant { config, left_out, .. } in &all {
            let left = |key: &str| left_out.iter().any(|left| left.key == key);
            assert!(config.evaluation.steps == 7 || left("evaluation.steps"));
            assert!(config.algorithm.inner_lr == 0.3 || left("algorithm.inner_lr"));
        }
        let all = on("strokes-maml", &["maml", "protonet"], &["tasks.train_ways=8"]).unwrap();
        let ways = |i: usize| (all[i].config.tasks.train_ways, all[i].left_out.len());
        assert_eq!([ways(0), ways(1)], [(5, 1), (8, 0)]);
        // Applies to none.
        let refused = |methods: &[&str], set: &str| {
            on("strokes-maml", methods, &[set]).unwrap_err().to_string()
        };
        let message = refused(&["protonet"], "evaluation.steps=7");
        assert!(message.contains("evaluation.steps does not apply: protonet has no inner loop"));
        assert!(refused(&["all"], "model.hidden=[3]").contains("model.hidden does not apply"));
        assert!(refused(&["all"], "evaluation.stepps=3").contains("unknown key"));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let says = |result: Result<Vec<Contestant>>, parts: &[&str]| {
            let message = result.unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(message.contains(part), "{part}: {message}"));
        };
        says(on("strokes-maml", &[], &[]), &["nothing to compare", "--methods"]);
        says(on("strokes-maml", &["mamml"], &[]), &["no method \"mamml\"", "did you mean", "maml"]);
        says(on("strokes-maml", &["maml", "maml"], &[]), &["maml is named twice"]);
        says(
            on("strokes-reptile", &["boil"], &[])
                .map(|_| vec![])
                .and_then(|_: Vec<Contestant>| on("omniglot-5w1s-reptile", &["boil"], &[])),
            &["Reptile configuration", "as the base"],
        );
        let sources = ["strokes-maml", "sinusoid-maml"].map(String::from);
        says(contestants(&sources, ("", &[]), &[]), &["same tasks", "tasks.family"]);
    }
}
