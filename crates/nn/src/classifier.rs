//! A network with two last layers: one for the classes of a task, one for all classes of training.

use innerloop_engine::{Params, Shape, Var};

use crate::{Forward, Init, Model, NormStatistics, ParamSpec, Vars};

/// Beginning of the names of a network's last layer.
pub const HEAD: &str = "head.";
/// Beginning of the names of the layer beside it.
pub const CLASSIFIER: &str = "classifier.";

/// A network whose head, which starts at zero, has a classifier of other width beside it: one set of parameters for
/// training on many classes and for adaptation to a few. Which of both gives the output is the tracer's choice.
pub struct WithClassifier {
    model: Box<dyn Model>,
    specs: Vec<ParamSpec>,
    in_use: bool,
}

impl WithClassifier {
    /// Around a network whose last layer has the name [`HEAD`], each of its tensors one row an output; nothing where
    /// there is none. The classifier's tensors are called [`CLASSIFIER`] and start as the head of the network would.
    pub fn new(model: Box<dyn Model>, classes: usize, in_use: bool) -> Option<WithClassifier> {
        let mut specs = model.parameters().to_vec();
        let mut beside = Vec::new();
        for spec in &mut specs {
            let Some(rest) = spec.name.strip_prefix(HEAD) else { continue };
            let shape: Shape = [&[classes], &spec.shape[1..]].concat();
            beside.push(ParamSpec { name: format!("{CLASSIFIER}{rest}"), shape, ..spec.clone() });
            spec.init = Init::Constant(0.0);
        }
        let found = !beside.is_empty();
        specs.extend(beside);
        found.then_some(WithClassifier { model, specs, in_use })
    }
}

impl Model for WithClassifier {
    fn parameters(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn statistics(&self) -> Params<Shape> {
        self.model.statistics()
    }

    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, norm: &NormStatistics<'g>) -> Forward<'g> {
        let chosen = |name: &str, &value: &Var<'g>| match name.strip_prefix(HEAD) {
            Some(rest) if self.in_use => params[&format!("{CLASSIFIER}{rest}")],
            _ => value,
        };
        self.model.forward(&params.map_named(chosen), x, norm)
    }
}
