//! The pretrained source network of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_engine::{Key, Params, Tensor};
use innerloop_nn::{Init, ResNet, Staged};
use innerloop_transfer::{Course, Frozen, Matching, Method};

use super::images::{Images, Role};
use crate::checkpoint::state::same_shapes;
use crate::checkpoint::{self, Checkpoint};
use crate::config::TransferConfig;
use crate::experiment::converted;
use crate::{Error, Result};

/// ε of every normalising layer.
pub(super) const EPS: f64 = 1e-5;
/// Iterations between checks for a stop.
const BETWEEN_LOOKS: u64 = 20;
const SOURCE_FILE: &str = "source.safetensors";
const SOURCE: &str = "source";

/// The pretrained network.
pub(super) struct Source {
    pub(super) network: Arc<dyn Staged>,
    /// Weights and running statistics.
    pub(super) values: Params<Tensor>,
    /// Accuracy on unseen images of its own classes.
    pub(super) accuracy: f64,
}

impl Source {
    /// The source from the run's folder or the configured file, else trained now and saved in the folder. `stop` ends
    /// the training, which then starts over next time.
    pub(super) fn new(
        config: &TransferConfig,
        images: &Images,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<Source> {
        let key = Key::new(config.seed).with_stream(SOURCE);
        let [labelled, unseen] = images.draw(Role::Source, key);
        let classes = config.transfer.source_classes;
        let network =
            resnet(images.shape(), &config.source.channels, config.source.blocks, classes);
        let kept = folder.join(SOURCE_FILE);
        let given = Path::new(&config.source.weights);
        let found = match () {
            _ if kept.exists() => Some(kept.as_path()),
            _ if !config.source.weights.is_empty() => Some(given),
            _ => None,
        };
        let image = images.shape();
        let none = Matching::none();
        let settings = config.source_settings();
        let alone = Method::Scratch;
        let course = Course::new(alone, network.clone(), image, &none, settings);
        let mut trial = course.trial(key, None);
        let specs = network.parameters();
        let values = match found {
            Some(path) => {
                let expected = converted(specs, &course.named(&trial), true);
                let found = same_shapes(&checkpoint::load(path)?, SOURCE, &expected, path)?;
                converted(specs, &found, false)
            }
            None => {
                let diverged = |at| Error::diverged(format!("source: {at}; lower source.lr"));
                let total = settings.iterations;
                while trial.iteration < total {
                    let until = (trial.iteration + BETWEEN_LOOKS).min(total);
                    course.advance(&mut trial, &labelled, until).map_err(diverged)?;
                    if stop.load(Ordering::Relaxed) && until < total {
                        return Err(Error::interrupted(format!(
                            "stopped after iteration {until} of {total} of the source; --resume and --out {} start it over",
                            folder.display()
                        )));
                    }
                }
                course.named(&trial)
            }
        };
        if !kept.exists() {
            let groups = vec![(SOURCE.to_string(), converted(specs, &values, true))];
            checkpoint::save(&kept, &Checkpoint { groups, metadata: BTreeMap::new() })?;
        }
        let frozen = Frozen::new(network.as_ref(), image, false);
        let accuracy = frozen.accuracy(values.values().iter(), &unseen);
        Ok(Source { network, values, accuracy })
    }
}

/// Reads the configured file, if there is one, so that a bad one leaves no run folder behind.
pub(super) fn check(config: &TransferConfig) -> Result<()> {
    match config.source.weights.as_str() {
        "" => Ok(()),
        file => checkpoint::load(Path::new(file)).map(drop),
    }
}

/// A residual network as He et al. initialise it.
pub(super) fn resnet(
    image: [usize; 3],
    channels: &[usize],
    blocks: usize,
    classes: usize,
) -> Arc<dyn Staged> {
    Arc::new(ResNet::new(image, (channels, blocks), classes, (Init::He, EPS)))
}
