//! Two small networks that other tests differentiate.

use innerloop_engine::check::random;
use innerloop_engine::{Graph, Key, Tensor, Var, Window};

/// A scalar loss of a few parameters, with a point to evaluate it at. The other inputs are data.
pub(crate) struct Net {
    pub(crate) name: &'static str,
    parameters: Vec<Vec<usize>>,
    data: Vec<Tensor>,
    loss: for<'g> fn(&[Var<'g>], &[Var<'g>]) -> Var<'g>,
}

impl Net {
    /// Declares the inputs, parameters first, and builds the loss.
    pub(crate) fn build<'g>(&self, graph: &'g Graph) -> (Vec<Var<'g>>, Var<'g>) {
        let parameters: Vec<Var<'g>> =
            self.parameters.iter().map(|shape| graph.input("parameter", shape)).collect();
        let data: Vec<Var<'g>> =
            self.data.iter().map(|value| graph.input("data", value.shape())).collect();
        let loss = (self.loss)(&parameters, &data);
        (parameters, loss)
    }

    /// Values of all inputs: parameters, then data.
    pub(crate) fn inputs(&self) -> Vec<Tensor> {
        let mut values = self.direction(0);
        values.extend(self.data.iter().cloned());
        values
    }

    /// Numbers in the shape of the parameters.
    pub(crate) fn direction(&self, n: u64) -> Vec<Tensor> {
        let shapes = self.parameters.iter().enumerate();
        shapes.map(|(i, shape)| random(Key::new(41).at(n, i as u64), shape, 0.6)).collect()
    }
}

/// Two hidden layers and a squared error: `[8, 3] -> [8, 2]`.
pub(crate) fn mlp() -> Net {
    Net {
        name: "mlp",
        parameters: vec![vec![10, 3], vec![10], vec![7, 10], vec![7], vec![2, 7], vec![2]],
        data: vec![random(Key::new(42), &[8, 3], 1.0), random(Key::new(43), &[8, 2], 1.0)],
        loss: |p, data| {
            let hidden = (data[0].matmul_t(p[0]) + p[1]).tanh();
            let hidden = (hidden.matmul_t(p[2]) + p[3]).sigmoid();
            let error = hidden.matmul_t(p[4]) + p[5] - data[1];
            (error * error).mean()
        },
    }
}

/// Two blocks of convolution, batch norm, ReLU and max pooling, a linear layer, and cross-entropy:
/// `[6, 8, 8, 2] -> [6, 3]`.
pub(crate) fn conv_net() -> Net {
    let labels = [0.0, 1.0, 2.0, 2.0, 1.0, 0.0];
    let one_hot: Vec<f64> = labels
        .iter()
        .flat_map(|label| [0.0, 1.0, 2.0].map(|class| f64::from(class == *label)))
        .collect();
    Net {
        name: "conv net",
        parameters: vec![
            vec![3, 3, 2, 9],
            vec![9],
            vec![9],
            vec![3, 3, 9, 5],
            vec![5],
            vec![5],
            vec![3, 20],
            vec![3],
        ],
        data: vec![random(Key::new(44), &[6, 8, 8, 2], 1.0), Tensor::from_f64(&[6, 3], one_hot)],
        loss: |p, data| {
            let first = block(data[0], &p[..3]);
            let second = block(first, &p[3..6]).reshape(&[6, 20]);
            let logits = second.matmul_t(p[6]) + p[7];
            -(logits.log_softmax() * data[1]).sum() * (1.0 / 6.0)
        },
    }
}

/// Convolution, batch norm with scale and shift, ReLU, max pooling.
fn block<'g>(x: Var<'g>, p: &[Var<'g>]) -> Var<'g> {
    let y = x.conv(p[0], Window::square(3, 1, 1));
    let shape = y.shape();
    let channels = [shape[3]];
    let scale = 1.0 / (shape[0] * shape[1] * shape[2]) as f64;
    let centred = y - y.sum_to(&channels) * scale;
    let variance = (centred * centred).sum_to(&channels) * scale;
    let normal = centred / (variance + 1e-5).sqrt();
    (normal * p[1] + p[2]).relu().max_pool(Window::square(2, 2, 0))
}
