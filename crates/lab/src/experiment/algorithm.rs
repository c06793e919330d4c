//! The method that a configuration names, and what wraps it: windows, the multi-step loss, a regularizer.

use innerloop_engine::Key;
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, FineTune, Fomaml, GradientSimilarity, HfMaml, Imaml, InnerLoop,
    InnerOptimizer, LearnedRates, Lstm, Maml, MamlPlusPlus, MetaCurvature, MetaSgd, MultiStep,
    Pretraining, Protonet, Reptile, Shot, SignMaml, TruncatedMaml,
};
use innerloop_meta::{Algorithm, Rates, Sharing};
use innerloop_nn as nn;

use super::model::batch_norm;
use crate::config::{self, Config, Method, Regularizer};

/// The algorithm that a configuration names, for a network with `outputs` outputs.
pub(crate) fn algorithm(config: &Config, outputs: usize) -> Box<dyn Algorithm> {
    let settings = &config.algorithm;
    let of = settings.inner_lr_of.iter().map(|(name, &rate)| (name.clone(), rate)).collect();
    let rates = Rates { default: settings.inner_lr, of };
    let mut frozen = settings.frozen.clone();
    // With one per step, each would be moved by its own step and never be read again.
    if batch_norm(config).has_steps() {
        frozen.extend(nn::Conv4::NORMS.map(String::from));
    }
    let inner = InnerLoop { rates, frozen };
    let method: Box<dyn Algorithm> = match settings.method {
        Method::Maml | Method::MamlPlusPlus | Method::MultiStep { .. } => Box::new(Maml { inner }),
        Method::Fomaml => Box::new(Fomaml { inner }),
        Method::Anil => Box::new(Anil { inner, head: nn::HEAD.into() }),
        Method::Boil => Box::new(Boil { inner, head: nn::HEAD.into() }),
        Method::Cavia { .. } => Box::new(Cavia { inner, context: nn::CONTEXT.into() }),
        Method::MetaSgd => Box::new(MetaSgd { inner }),
        Method::Imaml { proximal, iterations, damping } => {
            Box::new(Imaml { inner, proximal, iterations, damping })
        }
        Method::MetaCurvature => Box::new(MetaCurvature { inner }),
        Method::SignMaml => Box::new(SignMaml { inner }),
        Method::TruncatedMaml { last_steps } => Box::new(TruncatedMaml { inner, last: last_steps }),
        Method::BinomMaml { degree } => Box::new(BinomMaml { inner, degree }),
        Method::GradientSimilarity(of) => Box::new(GradientSimilarity {
            inner,
            cosine: of.cosine_weight,
            l2: of.l2_weight,
            strength: of.strength,
            decay: of.strength_schedule,
            comparison: of.comparison,
        }),
        Method::Lstm => Box::new(Lstm { frozen: inner.frozen, key: Key::new(config.seed) }),
        Method::Protonet => Box::new(Protonet),
        Method::FineTune => {
            Box::new(FineTune { inner, head: nn::HEAD.into(), classifier: nn::CLASSIFIER.into() })
        }
        Method::HfMaml { epsilon } => Box::new(HfMaml { inner, epsilon }),
        Method::Reptile => Box::new(Reptile {
            inner,
            optimizer: match settings.inner_optimizer {
                config::InnerOptimizer::Sgd => InnerOptimizer::Sgd,
                config::InnerOptimizer::Adam => InnerOptimizer::Adam { beta2: 0.999, eps: 1e-8 },
            },
        }),
    };
    let method = match settings.learn_inner_lr {
        true => Box::new(LearnedRates::new(method)),
        false => method,
    };
    let method = in_windows(config, method);
    let (losses_until, second_order_from) =
        (settings.multi_step_loss_until, settings.second_order_from);
    let plus_plus = settings.method == Method::MamlPlusPlus;
    let method: Box<dyn Algorithm> = match plus_plus || losses_until + second_order_from > 0.0 {
        true => Box::new(MamlPlusPlus::new(method, losses_until, second_order_from)),
        false => method,
    };
    match settings.regularizer {
        Regularizer::None => method,
        Regularizer::Shot(shot) => {
            let mut regularized =
                Shot::new(method, shot.weight, shot.distance, (shot.base, shot.steps));
            regularized.travel = shot.travel;
            let key = Key::new(config.seed);
            regularized.pretraining = (shot.pretraining_until > 0.0).then(|| Pretraining {
                until: shot.pretraining_until,
                projector: shot.projector.then_some((key, outputs)),
            });
            Box::new(regularized)
        }
    }
}

/// The method with windows of inner steps that share a gradient, if configured.
fn in_windows(config: &Config, method: Box<dyn Algorithm>) -> Box<dyn Algorithm> {
    let sharing = config.algorithm.window.sharing();
    match config.algorithm.method {
        Method::MultiStep { momentum } => Box::new(MultiStep::new(method, sharing, momentum)),
        _ if sharing != Sharing::None => Box::new(MultiStep::new(method, sharing, 0.0)),
        _ => method,
    }
}
