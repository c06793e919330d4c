//! All algorithms, under the names used in the tests.

use innerloop_engine::Key;
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Comparison, Decay, Distance, FineTune, Fomaml,
    GradientSimilarity, HfMaml, Imaml, InnerLoop, InnerOptimizer, LearnedRates, Lstm, Maml,
    MamlPlusPlus, MetaCurvature, MetaSgd, MultiStep, Pretraining, Protonet, Reptile, Role, Shot,
    SignMaml, TruncatedMaml,
};
use innerloop_meta::{Algorithm, Rates, Sharing};

/// Every algorithm under its own name: a new one is added here, once.
pub(crate) fn algorithms(rate: f64) -> Vec<(&'static str, Box<dyn Algorithm>)> {
    let inner = || InnerLoop::new(rate);
    let partly = || InnerLoop {
        frozen: ["features.0.b", "features.1.conv", "body"].map(String::from).to_vec(),
        ..inner()
    };
    let uneven = || InnerLoop {
        rates: Rates { default: rate, of: vec![("head.weight".into(), 0.5 * rate)] },
        ..inner()
    };
    let adam = InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 };
    vec![
        ("maml", Box::new(Maml { inner: uneven() })),
        ("maml, learned rates", Box::new(learned(Maml { inner: inner() }))),
        ("maml, partly frozen", Box::new(learned(Maml { inner: partly() }))),
        ("fomaml", Box::new(Fomaml { inner: inner() })),
        ("fomaml, partly frozen", Box::new(Fomaml { inner: partly() })),
        ("reptile", Box::new(Reptile { inner: inner(), optimizer: InnerOptimizer::Sgd })),
        ("reptile, adam", Box::new(Reptile { inner: partly(), optimizer: adam })),
        ("meta-sgd", Box::new(MetaSgd { inner: uneven() })),
        ("meta-curvature", Box::new(MetaCurvature { inner: uneven() })),
        ("meta-curvature, partly frozen", Box::new(MetaCurvature { inner: partly() })),
        ("imaml", Box::new(imaml(uneven()))),
        ("imaml, partly frozen", Box::new(Imaml { damping: 0.5, ..imaml(partly()) })),
        ("anil", Box::new(Anil { inner: inner(), head: "head".into() })),
        ("anil, learned rates", Box::new(learned(Anil { inner: inner(), head: "head".into() }))),
        ("fomaml, learned rates", Box::new(learned(Fomaml { inner: partly() }))),
        ("boil, learned rates", Box::new(learned(Boil { inner: inner(), head: "head".into() }))),
        (
            "truncated maml, learned rates",
            Box::new(learned(TruncatedMaml { inner: partly(), last: 2 })),
        ),
        ("binom-maml, learned rates", Box::new(learned(BinomMaml { inner: partly(), degree: 1 }))),
        ("hf-maml, learned rates", Box::new(learned(HfMaml { inner: partly(), epsilon: 1e-2 }))),
        (
            "fomaml in windows, learned rates",
            windowed(Box::new(learned(Fomaml { inner: partly() })), Sharing::Forward(2)),
        ),
        (
            "shot on fomaml, learned rates",
            shot(
                Box::new(learned(Fomaml { inner: partly() })),
                Distance::Parameters,
                Role::Reference,
            ),
        ),
        ("lstm in windows", windowed(Box::new(lstm(&[])), Sharing::Forward(2))),
        ("maml++", plus_plus(learned(Maml { inner: partly() }))),
        ("fomaml++", plus_plus(Fomaml { inner: partly() })),
        ("truncated maml++", plus_plus(TruncatedMaml { inner: partly(), last: 2 })),
        ("binom-maml++", plus_plus(BinomMaml { inner: partly(), degree: 1 })),
        ("hf-maml++", plus_plus(HfMaml { inner: inner(), epsilon: 1e-2 })),
        ("gradient similarity++", plus_plus(similarity(inner()))),
        ("momentum++", plus_plus(multi_step(inner(), Sharing::None, 0.5))),
        (
            "shot on maml++",
            shot(plus_plus(learned(Maml { inner: uneven() })), Distance::Outputs, Role::Reference),
        ),
        (
            "annealed maml",
            Box::new(MamlPlusPlus::new(Box::new(learned(Maml { inner: inner() })), 0.0, 0.5)),
        ),
        ("protonet", Box::new(Protonet)),
        (
            "fine tuning",
            Box::new(FineTune { inner: uneven(), head: "head".into(), classifier: "none".into() }),
        ),
        ("lstm", Box::new(lstm(&[]))),
        ("lstm, partly frozen", Box::new(lstm(&["features.0.b", "body"]))),
        ("lstm++", plus_plus(lstm(&[]))),
        ("cavia", Box::new(Cavia { inner: inner(), context: "head".into() })),
        ("cavia++", plus_plus(Cavia { inner: inner(), context: "head".into() })),
        (
            "shot on cavia",
            shot(
                Box::new(Cavia { inner: inner(), context: "head".into() }),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        ("boil", Box::new(Boil { inner: inner(), head: "head".into() })),
        ("gradient similarity", Box::new(similarity(uneven()))),
        (
            "gradient similarity, per tensor",
            Box::new(GradientSimilarity {
                l2: 0.7,
                comparison: Comparison::PerTensor,
                ..similarity(partly())
            }),
        ),
        ("multi-step", Box::new(multi_step(uneven(), Sharing::Forward(2), 0.0))),
        ("multi-step, partly frozen", Box::new(multi_step(partly(), Sharing::Forward(3), 0.0))),
        ("multi-step, backward", Box::new(multi_step(uneven(), Sharing::Backward(2), 0.0))),
        ("multi-step, momentum", Box::new(multi_step(partly(), Sharing::Forward(2), 0.5))),
        (
            "multi-step, backward, momentum",
            Box::new(multi_step(inner(), Sharing::Backward(3), 0.5)),
        ),
        (
            "multi-step, learned rates",
            windowed(Box::new(learned(Maml { inner: partly() })), Sharing::Forward(2)),
        ),
        (
            "multi-step, backward, learned rates",
            windowed(Box::new(learned(Maml { inner: partly() })), Sharing::Backward(2)),
        ),
        (
            "anil in windows",
            windowed(
                Box::new(learned(Anil { inner: inner(), head: "head".into() })),
                Sharing::Forward(2),
            ),
        ),
        (
            "boil in windows, backward",
            windowed(Box::new(Boil { inner: inner(), head: "head".into() }), Sharing::Backward(2)),
        ),
        (
            "cavia in windows",
            windowed(
                Box::new(Cavia { inner: inner(), context: "head".into() }),
                Sharing::Forward(2),
            ),
        ),
        (
            "meta-curvature in windows",
            windowed(Box::new(MetaCurvature { inner: partly() }), Sharing::Forward(2)),
        ),
        ("fomaml in windows", windowed(Box::new(Fomaml { inner: partly() }), Sharing::Forward(2))),
        (
            "truncated maml in windows, backward",
            windowed(Box::new(TruncatedMaml { inner: partly(), last: 3 }), Sharing::Backward(2)),
        ),
        (
            "shot on meta-sgd in windows, backward",
            shot(
                windowed(Box::new(MetaSgd { inner: uneven() }), Sharing::Backward(2)),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        (
            "shot on maml",
            shot(
                Box::new(learned(Maml { inner: uneven() })),
                Distance::ReferenceToTarget,
                Role::Reference,
            ),
        ),
        (
            "shot on fomaml",
            shot(Box::new(Fomaml { inner: partly() }), Distance::Parameters, Role::Reference),
        ),
        ("shot on reptile", {
            let base = Box::new(Reptile { inner: partly(), optimizer: InnerOptimizer::Sgd });
            shot(base, Distance::Parameters, Role::Reference)
        }),
        ("shot on reptile, target", {
            let base = Box::new(Reptile { inner: uneven(), optimizer: InnerOptimizer::Sgd });
            shot(base, Distance::Parameters, Role::Target)
        }),
        ("shot on reptile in windows", {
            let base = Box::new(Reptile { inner: inner(), optimizer: InnerOptimizer::Sgd });
            shot(windowed(base, Sharing::Forward(2)), Distance::Parameters, Role::Reference)
        }),
        (
            "shot on anil",
            shot(
                Box::new(Anil { inner: inner(), head: "head".into() }),
                Distance::Outputs,
                Role::Target,
            ),
        ),
        (
            "shot on boil",
            shot(
                Box::new(Boil { inner: inner(), head: "head".into() }),
                Distance::Parameters,
                Role::Reference,
            ),
        ),
        (
            "shot on binom-maml",
            shot(
                Box::new(BinomMaml { inner: partly(), degree: 1 }),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        ("shot on truncated maml", {
            let base = Box::new(TruncatedMaml { inner: inner(), last: 1 });
            let mut shot = Shot::new(base, 0.5, Distance::Outputs, (Role::Reference, 1));
            // After two steps both inner loops have taken the same first one.
            shot.travel = 0.5;
            Box::new(shot)
        }),
        (
            "truncated momentum, partly frozen",
            Box::new(MultiStep::new(
                Box::new(TruncatedMaml { inner: partly(), last: 2 }),
                Sharing::None,
                0.5,
            )),
        ),
        (
            "shot on momentum",
            shot(
                Box::new(multi_step(inner(), Sharing::Forward(2), 0.5)),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        ("shot before maml", {
            let base = Box::new(learned(Maml { inner: partly() }));
            let mut shot = Shot::new(base, 0.0, Distance::Outputs, (Role::Reference, 1));
            shot.pretraining = Some(Pretraining { until: 0.0, projector: None });
            Box::new(shot)
        }),
        ("sign-maml", Box::new(SignMaml { inner: InnerLoop::new(0.1 * rate) })),
        ("truncated maml", Box::new(TruncatedMaml { inner: uneven(), last: 2 })),
        ("truncated maml, partly frozen", Box::new(TruncatedMaml { inner: partly(), last: 1 })),
        ("binom-maml", Box::new(BinomMaml { inner: uneven(), degree: 2 })),
        ("binom-maml, partly frozen", Box::new(BinomMaml { inner: partly(), degree: 1 })),
        ("hf-maml", Box::new(HfMaml { inner: uneven(), epsilon: 1e-2 })),
        ("hf-maml, partly frozen", Box::new(HfMaml { inner: partly(), epsilon: 1e-2 })),
    ]
}

/// The LSTM meta-learner as it starts.
pub(crate) fn lstm(frozen: &[&str]) -> Lstm {
    Lstm { frozen: frozen.iter().map(ToString::to_string).collect(), key: Key::new(97) }
}

/// Another method with learned rates.
pub(crate) fn learned(base: impl Algorithm + 'static) -> LearnedRates {
    LearnedRates::new(Box::new(base))
}

/// MAML++'s multi-step loss over the whole of training, wrapping another method.
pub(crate) fn plus_plus(base: impl Algorithm + 'static) -> Box<dyn Algorithm> {
    Box::new(MamlPlusPlus::new(Box::new(base), 1.0, 0.0))
}

pub(crate) fn multi_step(inner: InnerLoop, sharing: Sharing, momentum: f64) -> MultiStep {
    MultiStep::new(Box::new(Maml { inner }), sharing, momentum)
}

/// Another method with windows.
pub(crate) fn windowed(base: Box<dyn Algorithm>, sharing: Sharing) -> Box<dyn Algorithm> {
    Box::new(MultiStep::new(base, sharing, 0.0))
}

/// SHOT with a target of one step, or a reference of four.
pub(crate) fn shot(base: Box<dyn Algorithm>, distance: Distance, role: Role) -> Box<dyn Algorithm> {
    let steps = if role == Role::Reference { 1 } else { 4 };
    Box::new(Shot::new(base, 0.5, distance, (role, steps)))
}

pub(crate) fn imaml(inner: InnerLoop) -> Imaml {
    Imaml { inner, proximal: 2.0, iterations: 4, damping: 0.0 }
}

pub(crate) fn similarity(inner: InnerLoop) -> GradientSimilarity {
    GradientSimilarity {
        inner,
        cosine: 1.0,
        l2: 0.0,
        strength: 0.2,
        decay: Decay::Constant,
        comparison: Comparison::Whole,
    }
}

/// Whether the inner loop of training is that of adaptation.
pub(crate) fn adapts_as_trained(algorithm: &dyn Algorithm) -> bool {
    !matches!(algorithm.sharing(), Sharing::Forward(window) if window > 1)
}

pub(crate) fn maml(rate: f64) -> Maml {
    Maml { inner: InnerLoop::new(rate) }
}
