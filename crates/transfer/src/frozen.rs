//! A trained network with its running statistics: predictions, accuracy, maps.

use innerloop_engine::{Dtype, Graph, Params, Program, Tensor};
use innerloop_nn::{NormStatistics, Staged};

use crate::Samples;

/// Examples per run of the program.
const CHUNK: usize = 50;

/// A network compiled for inference.
pub struct Frozen {
    program: Program,
    parameters: usize,
    image: [usize; 3],
}

impl Frozen {
    /// Compiles a network for images `[h, w, c]`; it gives the maps of its stages if `maps` is set, else logits.
    pub fn new(network: &dyn Staged, image: [usize; 3], maps: bool) -> Frozen {
        let graph = Graph::new();
        let specs = network.parameters().iter();
        let params: Params<_> =
            specs.map(|spec| (spec.name.clone(), graph.input(&spec.name, &spec.shape))).collect();
        let given = network.statistics().map_named(|name, shape| graph.input(name, shape));
        let parameters = params.len() + given.len();
        let x = graph.input("x", &[CHUNK, image[0], image[1], image[2]]);
        let (forward, stages) = network.forward_stages(&params, x, &NormStatistics::Given(given));
        let outputs = if maps { stages } else { vec![forward.output] };
        Frozen { program: Program::compile(&graph, &outputs), parameters, image }
    }

    /// The network's outputs for images, one tensor per output, one row per image. `values` are the parameters and then
    /// the statistics, in the network's order.
    #[track_caller]
    pub fn run<'a>(
        &self,
        values: impl Iterator<Item = &'a Tensor>,
        images: &Tensor,
    ) -> Vec<Tensor> {
        let mut workspace = self.program.workspace(Dtype::F32);
        let values: Vec<&Tensor> = values.collect();
        assert_eq!(values.len(), self.parameters, "one value per parameter and statistic");
        let n = images.shape()[0];
        let size = self.image.iter().product::<usize>();
        let [h, w, c] = self.image;
        let mut chunk = Tensor::zeros(Dtype::F32, &[CHUNK, h, w, c]);
        let shapes = (0..self.program.n_outputs()).map(|i| workspace.output_shape(i).to_vec());
        let shapes: Vec<Vec<usize>> = shapes.collect();
        let mut rows: Vec<Vec<f32>> = vec![Vec::new(); shapes.len()];
        for first in (0..n).step_by(CHUNK) {
            let here = CHUNK.min(n - first);
            // Rows beyond the last image keep their old contents, which are not read.
            chunk.as_f32_mut()[..here * size]
                .copy_from_slice(&images.as_f32()[first * size..(first + here) * size]);
            // A run may overwrite its inputs, so all of them are set for each run.
            for (input, value) in values.iter().copied().chain([&chunk]).enumerate() {
                workspace.set(input, value);
            }
            self.program.run(&mut workspace);
            for (i, rows) in rows.iter_mut().enumerate() {
                let output = workspace.output(i);
                rows.extend(&output.as_f32()[..here * output.len() / CHUNK]);
            }
        }
        let shaped = |(shape, values): (&Vec<usize>, Vec<f32>)| {
            Tensor::from_f32(&[&[n], &shape[1..]].concat(), values)
        };
        shapes.iter().zip(rows).map(shaped).collect()
    }

    /// Fraction of the examples whose largest logit is that of their label; a NaN logit counts as wrong.
    pub fn accuracy<'a>(&self, values: impl Iterator<Item = &'a Tensor>, of: &Samples) -> f64 {
        let logits = self.run(values, &of.arrays[0]).remove(0);
        let classes = logits.shape()[1];
        let right = |(row, &label): (&[f32], &f32)| {
            let own = row[label as usize];
            row.iter().enumerate().all(|(i, &x)| i == label as usize || x < own)
        };
        let pairs = logits.as_f32().chunks_exact(classes).zip(of.arrays[1].as_f32());
        pairs.filter(|&pair| right(pair)).count() as f64 / of.len() as f64
    }
}
