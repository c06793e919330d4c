//! The network that a configuration names.

use innerloop_nn::{self as nn, Model, WithClassifier};
use innerloop_tasks::EpisodeSpec;

use crate::config::{self, Config, Method, Network};
use crate::few_shot::Phase;
use crate::{Error, Result};

pub(super) fn model(config: &Config, spec: &EpisodeSpec) -> Result<Box<dyn Model>> {
    let outputs = spec.outputs();
    let embeds = config.algorithm.method == Method::Protonet;
    let weights = match config.model.init {
        config::Init::He => nn::Init::He,
        config::Init::Xavier => nn::Init::Xavier,
        config::Init::PyTorch => nn::Init::Torch,
        config::Init::TruncatedNormal => nn::Init::TruncatedNormal(0.01),
    };
    let context = match config.algorithm.method {
        Method::Cavia { parameters } => Some(parameters),
        _ => None,
    };
    match &config.model.network {
        Network::Mlp(mlp) => {
            let mut sizes = vec![spec.x.iter().product()];
            sizes.extend(&mlp.hidden);
            if !embeds {
                sizes.push(outputs);
            }
            let mlp = nn::Mlp::new(&sizes, mlp.activation, weights);
            Ok(Box::new(match context {
                Some(parameters) => mlp.with_context(parameters),
                None => mlp,
            }))
        }
        Network::Conv4(conv4) => {
            let image: [usize; 3] = spec.x.as_slice().try_into().map_err(|_| {
                Error::config(format!(
                    "model.kind is \"conv4\" and an example has shape {:?}, expected images [h, w, c]; \
                     set model.kind = \"mlp\"",
                    spec.x
                ))
            })?;
            if conv4.downsampling == nn::Downsampling::MaxPool && image[..2].iter().any(|&e| e < 16)
            {
                return Err(Error::config(format!(
                    "images are {}×{}, conv4 halves four times and needs 16×16; set \
                     model.downsampling = \"strided\"",
                    image[0], image[1]
                )));
            }
            let strided = conv4.downsampling == nn::Downsampling::Strided;
            if strided && config.algorithm.inner_batch == 1 && image[..2].iter().all(|&e| e <= 16) {
                return Err(Error::config(format!(
                    "images are {}×{}, which model.downsampling = \"strided\" halves to a single pixel, and \
                     algorithm.inner_batch is 1: batch norm over one number is zero whatever the image; expected an \
                     inner_batch of 2 or more",
                    image[0], image[1]
                )));
            }
            let with = (weights, conv4.batch_norm_eps);
            let (shape, filters) = ((conv4.downsampling, conv4.head), conv4.filters);
            let mut conv4 = nn::Conv4::new(image, filters, outputs, shape, with);
            if batch_norm(config).has_steps() {
                conv4 = conv4.with_norms(config.algorithm.adaptation_steps + 1);
            }
            Ok(Box::new(match context {
                Some(parameters) => conv4.with_context(parameters),
                None if embeds => conv4.without_head(),
                None => conv4,
            }))
        }
    }
}

/// The network with a classifier of all training classes, which is used in training.
pub(super) fn with_classifier(
    model: Box<dyn Model>,
    classes: usize,
    phase: Phase,
) -> Result<Box<dyn Model>> {
    let names: Vec<String> = model.parameters().iter().map(|spec| spec.name.clone()).collect();
    match WithClassifier::new(model, classes, phase == Phase::Train) {
        Some(model) => Ok(Box::new(model)),
        None => Err(Error::config(format!(
            "fine_tune replaces the last layer, \"head.weight\" and what else begins with \"head.\", and the network has \
             only {names:?}; name it accordingly"
        ))),
    }
}

pub(super) fn batch_norm(config: &Config) -> nn::BatchNorm {
    match &config.model.network {
        Network::Mlp(_) => nn::BatchNorm::Transductive,
        Network::Conv4(conv4) => conv4.batch_norm,
    }
}
