//! VGG networks with batch norm for small images: Simonyan and Zisserman 2015, arXiv 1409.1556, with one linear layer
//! on the mean over positions in place of three.

use innerloop_engine::{Params, Shape, Var, Window};

use crate::stages::{Layers, Pass, Staged};
use crate::{Forward, Init, Model, NormStatistics, ParamSpec, Vars};

/// Stages of [3×3 convolution, batch norm, ReLU], with 2×2 max-pooling between stages.
///
/// Parameters: `features.{stage}.{layer}.{conv,norm}`, `head`.
pub struct Vgg {
    layers: Layers,
    depths: Vec<usize>,
    stages: Vec<[usize; 3]>,
}

impl Vgg {
    /// For images `[h, w, c]`, with the channels of each stage and its number of convolutions. Panics when the images
    /// are too small for the poolings.
    #[track_caller]
    pub fn new(
        image: [usize; 3],
        (channels, depths): (&[usize], &[usize]),
        classes: usize,
        (weights, eps): (Init, f64),
    ) -> Vgg {
        assert_eq!(channels.len(), depths.len(), "channels and convolutions of every stage");
        let [mut h, mut w, mut from] = image;
        let (mut layers, mut stages) = (Layers::new(weights, eps), Vec::new());
        for (s, (&to, &depth)) in channels.iter().zip(depths).enumerate() {
            if s > 0 {
                (h, w) = (h / 2, w / 2);
            }
            assert!(h > 0 && w > 0, "images {image:?} are too small for {} stages", depths.len());
            for l in 0..depth {
                let [conv, norm] = names(s, l);
                layers.conv_norm([&conv, &norm], 3, [from, to]);
                from = to;
            }
            stages.push([h, w, to]);
        }
        layers.head("head", from, classes);
        Vgg { layers, depths: depths.to_vec(), stages }
    }
}

fn names(stage: usize, layer: usize) -> [String; 2] {
    ["conv", "norm"].map(|part| format!("features.{stage}.{layer}.{part}"))
}

impl Model for Vgg {
    fn parameters(&self) -> &[ParamSpec] {
        &self.layers.specs
    }

    fn statistics(&self) -> Params<Shape> {
        self.layers.statistics()
    }

    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, norm: &NormStatistics<'g>) -> Forward<'g> {
        self.forward_stages(params, x, norm).0
    }
}

impl Staged for Vgg {
    fn stages(&self) -> &[[usize; 3]] {
        &self.stages
    }

    fn forward_stages<'g>(
        &self,
        params: &Vars<'g>,
        x: Var<'g>,
        norm: &NormStatistics<'g>,
    ) -> (Forward<'g>, Vec<Var<'g>>) {
        let mut pass = Pass::new(&self.layers, params, norm);
        let (mut h, mut maps) = (x, Vec::new());
        for (s, &depth) in self.depths.iter().enumerate() {
            if s > 0 {
                h = h.max_pool(Window::square(2, 2, 0));
            }
            for l in 0..depth {
                let [conv, norm] = names(s, l);
                h = pass.conv_norm(h, [&conv, &norm], 1).relu();
            }
            maps.push(h);
        }
        (pass.finish(h, "head"), maps)
    }
}
