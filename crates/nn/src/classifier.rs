//! A network with two last layers: one for the classes of a task, one for all classes of training.

use innerloop_engine::{Params, Shape, Var};

use crate::{Forward, Init, Model, NormStatistics, ParamSpec, Vars};

/// Prefix of the names of a network's last layer.
pub const HEAD: &str = "head.";
/// Prefix of the names of the layer beside it.
pub const CLASSIFIER: &str = "classifier.";

/// A network with two last layers: its head, which starts at zero, and a classifier of another width. One set of
/// parameters serves training on many classes and adaptation to a few. `in_use` selects which of the two produces the
/// output.
pub struct WithClassifier {
    model: Box<dyn Model>,
    specs: Vec<ParamSpec>,
    in_use: bool,
}

impl WithClassifier {
    /// Wraps a network whose last layer has the name [`HEAD`] and tensors with one row per output; `None` if there is
    /// no such layer. The classifier's tensors are called [`CLASSIFIER`] and are initialised like the network's own
    /// head.
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
