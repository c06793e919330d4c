//! Residual networks for small images: He, Zhang, Ren, Sun 2016, arXiv 1512.03385, section 4.2.
//!
//! One departure: where extents or channels change, the shortcut is a strided 1×1 convolution with batch norm (their
//! option B), not a padded identity.

use innerloop_engine::{Params, Shape, Var};

use crate::stages::{Layers, Pass, Staged};
use crate::{Forward, Init, Model, NormStatistics, ParamSpec, Vars};

/// A 3×3 convolution, stages of basic blocks (the first block of every later stage has stride 2), the mean over
/// positions, a linear layer: `2 · stages · blocks + 2` layers with weights.
///
/// Parameters have torchvision's names: `conv1`, `bn1`, `layer{1..}.{block}.{conv1,bn1,conv2,bn2}`,
/// `layer{s}.0.downsample.{0,1}`, `fc`.
pub struct ResNet {
    layers: Layers,
    blocks: usize,
    stages: Vec<[usize; 3]>,
}

impl ResNet {
    /// For images `[h, w, c]`, with the channels of each stage and the number of blocks in each.
    #[track_caller]
    pub fn new(
        image: [usize; 3],
        (channels, blocks): (&[usize], usize),
        classes: usize,
        (weights, eps): (Init, f64),
    ) -> ResNet {
        assert!(!channels.is_empty() && blocks > 0, "a residual network without blocks");
        let [mut h, mut w, c] = image;
        let mut layers = Layers::new(weights, eps);
        layers.conv_norm(["conv1", "bn1"], 3, [c, channels[0]]);
        let (mut from, mut stages) = (channels[0], Vec::new());
        for (s, &to) in channels.iter().enumerate() {
            if s > 0 {
                (h, w) = (h.div_ceil(2), w.div_ceil(2));
            }
            for b in 0..blocks {
                let [one, two, shortcut] = names(s, b);
                layers.conv_norm([&one[0], &one[1]], 3, [from, to]);
                layers.conv_norm([&two[0], &two[1]], 3, [to, to]);
                if b == 0 && (s > 0 || from != to) {
                    layers.conv_norm([&shortcut[0], &shortcut[1]], 1, [from, to]);
                }
                from = to;
            }
            stages.push([h, w, to]);
        }
        layers.head("fc", from, classes);
        ResNet { layers, blocks, stages }
    }
}

/// Names of the convolutions and their batch norms: the two of a block, and the shortcut's.
fn names(stage: usize, block: usize) -> [[String; 2]; 3] {
    let name = format!("layer{}.{block}", stage + 1);
    [["conv1", "bn1"], ["conv2", "bn2"], ["downsample.0", "downsample.1"]]
        .map(|pair| pair.map(|part| format!("{name}.{part}")))
}

impl Model for ResNet {
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

impl Staged for ResNet {
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
        let mut h = pass.conv_norm(x, ["conv1", "bn1"], 1).relu();
        let mut maps = Vec::new();
        for s in 0..self.stages.len() {
            for b in 0..self.blocks {
                let [one, two, shortcut] = names(s, b);
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                let y = pass.conv_norm(h, [&one[0], &one[1]], stride).relu();
                let y = pass.conv_norm(y, [&two[0], &two[1]], 1);
                let changes = params.get(&format!("{}.weight", shortcut[0])).is_some();
                let past = match changes {
                    true => pass.conv_norm(h, [&shortcut[0], &shortcut[1]], stride),
                    false => h,
                };
                h = (y + past).relu();
            }
            maps.push(h);
        }
        (pass.finish(h, "fc"), maps)
    }
}
