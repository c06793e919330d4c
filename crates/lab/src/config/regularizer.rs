//! What is added to the outer objective, and the keys of `[algorithm]` that go with it.

use super::bounds::{Inapplicable, MOST, fixed};
use super::file::{AlgorithmFile, RegularizerName};
use super::layers::Layers;
use super::method::Method;
use super::setting::Choice;
use super::window::{WindowConfig, WindowMode};
use super::{Distance, InnerOptimizer, Role};
use crate::Result;

/// What is added to the outer objective: `algorithm.regularizer`, and the keys that go with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regularizer {
    /// Nothing.
    None,
    /// Lee et al. 2023: two inner loops that travel equally far, one in few steps and one in many, are to agree:
    /// throughout training (SHOT_r) or before it (SHOT_p).
    Shot(ShotConfig),
}

/// Keys of `[algorithm]` that go with `regularizer = "shot"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShotConfig {
    /// `shot_weight`. Default as published: 0.1, and 1e-6 if the target is a single inner step; 0 with
    /// `shot_pretraining_until`. With Reptile it is the weight beside a displacement, and only much larger values have
    /// an effect ([`innerloop_meta::algorithms::Shot`]).
    pub weight: f64,
    /// `shot_distance`: `kl_reference_target` (default; the authors' code), `kl_target_reference` (their text),
    /// `cross_entropy`, `outputs` (default for regression, which has no logits) or `parameters` (the only one for
    /// Reptile, which has no queries).
    pub distance: Distance,
    /// `shot_base`, the role of the method's own inner loop: `reference` (default) or `target` (default with a
    /// single inner step).
    pub base: Role,
    /// `shot_steps`: steps of the other inner loop, fewer than the method's if that is the reference, more if it is the
    /// target. Default 1 and twice as many, respectively.
    pub steps: usize,
    /// `shot_travel`: how far the other inner loop travels along a constant gradient, as a multiple of how far the
    /// method's travels: without inner momentum, the ratio of their summed rates. Default 1.
    pub travel: f64,
    /// `shot_pretraining_until`, SHOT_p: fraction of training until which the distance alone is the objective.
    /// Default 0.
    pub pretraining_until: f64,
    /// `shot_views`: whether, during this pre-training, the two inner loops are compared on different views of the
    /// queries ([`innerloop_tasks::draw_view`]). Default true for images.
    pub views: bool,
    /// `shot_projector`: whether, during this pre-training, the reference's outputs go through a fixed random
    /// projector. Default true if outputs are logits, else false.
    pub projector: bool,
}

impl RegularizerName {
    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        const NO_SHOT: &str = "only the regularizer shot has a second inner loop";
        match self {
            RegularizerName::Shot => Inapplicable::new(),
            RegularizerName::None => fixed(&[
                ("algorithm.shot_weight", NO_SHOT),
                ("algorithm.shot_distance", NO_SHOT),
                ("algorithm.shot_base", NO_SHOT),
                ("algorithm.shot_steps", NO_SHOT),
                ("algorithm.shot_travel", NO_SHOT),
                ("algorithm.shot_pretraining_until", NO_SHOT),
                ("algorithm.shot_projector", NO_SHOT),
                ("algorithm.shot_views", NO_SHOT),
            ]),
        }
    }
}

impl Regularizer {
    /// The regularizer of a method with this many inner steps.
    pub(super) fn check(
        at: &Layers,
        file: &AlgorithmFile,
        (method, window): (Method, WindowConfig),
        (inner_steps, regression): (usize, bool),
    ) -> Result<Regularizer> {
        let name = file.regularizer.unwrap_or(RegularizerName::None);
        at.refuse(&name.inapplicable_keys())?;
        if name == RegularizerName::None {
            return Ok(Regularizer::None);
        }
        let refused = |why: &str| {
            Err(at.bad("algorithm.regularizer", "\"shot\"", &format!("\"none\": {why}")))
        };
        if file.inner_optimizer == Some(InnerOptimizer::Adam) {
            return refused(
                "Adam's steps are not in proportion to the gradient, and fewer and longer ones end elsewhere even on a \
                 straight path",
            );
        }
        if matches!(method, Method::Imaml { .. }) {
            return refused(
                "an implicit gradient is valid at a minimum, which a few steps do not reach",
            );
        }
        if method == Method::Lstm {
            return refused(
                "an LSTM's steps have no rate that could be scaled up for fewer of them",
            );
        }
        if inner_steps == 0 {
            return refused("without an inner step there is no path to straighten");
        }
        let default = match (method, regression) {
            (Method::Reptile, _) => Distance::Parameters,
            (_, true) => Distance::Outputs,
            (_, false) => Distance::ReferenceToTarget,
        };
        let distance = file.shot_distance.unwrap_or(default);
        if method == Method::Reptile && distance != Distance::Parameters {
            let expected = "\"parameters\" with algorithm.name = \"reptile\": without a query set there are no outputs to \
                            compare";
            return Err(at.bad(
                "algorithm.shot_distance",
                format!("\"{}\"", distance.name()),
                expected,
            ));
        }
        let of_logits = !matches!(distance, Distance::Outputs | Distance::Parameters);
        if regression && of_logits {
            let expected = "\"outputs\" or \"parameters\": regression tasks have no classes";
            return Err(at.bad(
                "algorithm.shot_distance",
                format!("\"{}\"", distance.name()),
                expected,
            ));
        }
        let default = if inner_steps == 1 { Role::Target } else { Role::Reference };
        let base = file.shot_base.unwrap_or(default);
        let (default, fits, words) = match base {
            Role::Reference => (1, 1..=inner_steps - 1, "fewer"),
            Role::Target => (2 * inner_steps, inner_steps + 1..=MOST, "more"),
        };
        let steps = file.shot_steps.unwrap_or(default);
        if !fits.contains(&steps) {
            let expected = format!(
                "{words} than algorithm.adaptation_steps, {inner_steps}, with algorithm.shot_base = \"{}\"",
                base.name()
            );
            return Err(at.bad("algorithm.shot_steps", steps, &expected));
        }
        let travel = at.above_zero("algorithm.shot_travel", file.shot_travel.unwrap_or(1.0))?;
        let is_one_step = window.mode == WindowMode::Forward && window.steps >= inner_steps;
        if base == Role::Reference && is_one_step && steps == 1 && travel == 1.0 {
            return refused(
                "with a window over all inner steps, target and reference are the same single step",
            );
        }
        let pretraining_until = at
            .part("algorithm.shot_pretraining_until", file.shot_pretraining_until.unwrap_or(0.0))?;
        if method == Method::Reptile && pretraining_until > 0.0 {
            let expected = "0 with algorithm.name = \"reptile\": its outer step is a share of the displacement, which \
                            pre-training leaves out";
            return Err(at.bad("algorithm.shot_pretraining_until", pretraining_until, expected));
        }
        let projector = file.shot_projector.unwrap_or(of_logits);
        if projector && distance == Distance::Parameters {
            let expected =
                "false with algorithm.shot_distance = \"parameters\", which are not projected";
            return Err(at.bad("algorithm.shot_projector", true, expected));
        }
        let views = file.shot_views.unwrap_or(pretraining_until > 0.0 && !regression);
        if views && (pretraining_until == 0.0 || regression) {
            let expected = match regression {
                true => "false: regression tasks have no images",
                false => "false without algorithm.shot_pretraining_until",
            };
            return Err(at.bad("algorithm.shot_views", true, expected));
        }
        let default = match base {
            _ if pretraining_until > 0.0 => 0.0,
            Role::Target if inner_steps == 1 => 1e-6,
            Role::Target | Role::Reference => 0.1,
        };
        Ok(Regularizer::Shot(ShotConfig {
            weight: at
                .not_negative("algorithm.shot_weight", file.shot_weight.unwrap_or(default))?,
            distance,
            base,
            steps,
            travel,
            pretraining_until,
            views,
            projector,
        }))
    }

    /// Writes the keys that [`Regularizer::check`] reads.
    pub(super) fn write(self, into: &mut AlgorithmFile) {
        into.regularizer = Some(match self {
            Regularizer::None => RegularizerName::None,
            Regularizer::Shot(_) => RegularizerName::Shot,
        });
        if let Regularizer::Shot(shot) = self {
            into.shot_weight = Some(shot.weight);
            into.shot_distance = Some(shot.distance);
            into.shot_base = Some(shot.base);
            into.shot_steps = Some(shot.steps);
            into.shot_travel = Some(shot.travel);
            into.shot_pretraining_until = Some(shot.pretraining_until);
            into.shot_projector = Some(shot.projector);
            into.shot_views = Some(shot.views);
        }
    }
}
