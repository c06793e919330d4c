//! LSTM meta-learner: Ravi and Larochelle 2017, "Optimization as a model for few-shot learning", ICLR, section 3, with
//! the details of its code, github.com/twitter/meta-learning-lstm.
//!
//! x_t = LSTM(p(g_t), p(L_t))                       20 units, applied to every coordinate separately
//! f_t = W_F [x_t, φ_{t−1}, f_{t−1}] + b_F          i_t = W_I [x_t, φ_{t−1}, i_{t−1}] + b_I
//! φ_t = σ(f_t) φ_{t−1} − σ(i_t) g_t                φ_0 = θ
//! p(z) = (ln|z|/10, sign z) where |z| > e⁻¹⁰, else (−1, e¹⁰ z)
//! G   = ∇_{θ,W,b} L_Q(φ_K)                         through the cells, with g_t and L_t held constant
//!
//! Coordinates share the weights; each has its own state, which is zero at the start of a task. Gates pass on their
//! values before the sigmoid, as in the code. Weights start in ±0.01, b_F in [4, 5] (hardly anything is forgotten) and
//! b_I in [−5, −4] (a rate of about 0.01).
//!
//! Departures: the code additionally divides the gradient of the mean loss by the number of examples. Its layer has two
//! biases that are only ever added; here they are one.

use innerloop_engine::{Key, Params, Shape, Tensor, Var, volume};
use rand::RngExt;

use crate::rates::LSTM_PREFIX;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// A learned optimizer, coordinate by coordinate.
pub struct Lstm {
    /// Parameters whose names start with one of these prefixes stay at θ while adapting.
    pub frozen: Vec<String>,
    /// Determines the initial weights of the cells.
    pub key: Key,
}

/// Units of the first layer.
const HIDDEN: usize = 20;
/// `p` of the preprocessing: numbers below e⁻ᵖ count as small.
const P: f64 = 10.0;

/// State of all coordinates: hidden values and cells of the first layer, gates of the second.
const STATE: [(&str, usize); 4] =
    [("hidden", HIDDEN), ("cell", HIDDEN), ("forget", 1), ("input", 1)];

fn weight(name: &str) -> String {
    format!("{LSTM_PREFIX}{name}")
}

impl Algorithm for Lstm {
    fn name(&self) -> &str {
        "lstm"
    }

    fn adapts(&self, name: &str) -> bool {
        !self.frozen.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Weights of the cells. The first layer's gates are rows: input, forget, output, candidate.
    fn rates(&self, _adapted: &Params<Shape>, _steps: usize) -> Params<Tensor> {
        let small = (-0.01, 0.01);
        let weights = [
            ("layer.gradient", vec![4 * HIDDEN, 2], small),
            ("layer.loss", vec![4 * HIDDEN, 2], small),
            ("layer.hidden", vec![4 * HIDDEN, HIDDEN], small),
            ("layer.bias", vec![4 * HIDDEN], small),
            ("forget.weight", vec![1, HIDDEN + 2], small),
            ("forget.bias", vec![1], (4.0, 5.0)),
            ("input.weight", vec![1, HIDDEN + 2], small),
            ("input.bias", vec![1], (-5.0, -4.0)),
        ];
        let draw = |(name, shape, (low, high)): (&str, Shape, (f64, f64))| {
            // The stream has the weight's first name, so that a seed still means the same weights.
            let mut rng = self.key.with_stream(&format!("inner_lr.lstm.{name}")).rng();
            let mut one = || low + (high - low) * rng.random::<f64>();
            // In single precision, so that a run in double precision starts from the same point.
            let values = (0..volume(&shape)).map(|_| f64::from(one() as f32)).collect();
            (weight(name), Tensor::from_f64(&shape, values))
        };
        weights.into_iter().map(draw).collect()
    }

    fn learns_rates(&self) -> bool {
        true
    }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        let coordinates = adapted.values().iter().map(|shape| volume(shape)).sum();
        let of = |(name, width): (&str, usize)| (name.to_string(), vec![coordinates, width]);
        STATE.into_iter().filter(|_| coordinates > 0).map(of).collect()
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        if step.phi.is_empty() {
            return Moved { phi: step.phi.clone(), state: step.state.clone() };
        }
        let w = |name: &str| step.rates[&weight(name)];
        let [hidden, cell, forget, input] = STATE.map(|(name, _)| step.state[name]);
        let (phi, g) = (column(step.phi.values()), column(step.gradient.values()));
        let graph = g.graph();

        let loss = prepared(step.loss.reshape(&[1, 1])).matmul_t(w("layer.loss"));
        let gates = prepared(g).matmul_t(w("layer.gradient"))
            + hidden.matmul_t(w("layer.hidden"))
            + (loss + w("layer.bias"));
        let rows = g.shape()[0];
        let gate = |i: usize| gates.slice(&[0, i * HIDDEN], &[rows, HIDDEN]);
        let cell = gate(1).sigmoid() * cell + gate(0).sigmoid() * gate(3).tanh();
        let hidden = gate(2).sigmoid() * cell.tanh();

        let second = |name: &str, before: Var<'g>| {
            let x = graph.concat(&[hidden, phi, before], 1);
            x.matmul_t(w(&format!("{name}.weight"))) + w(&format!("{name}.bias"))
        };
        let (forget, input) = (second("forget", forget), second("input", input));
        let moved = forget.sigmoid() * phi - input.sigmoid() * g;
        let state = [hidden, cell, forget, input];
        let state = STATE.iter().zip(state).map(|((name, _), x)| (name.to_string(), x)).collect();
        Moved { phi: apart(moved, &step.phi), state }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::HeldGradients
    }
}

/// `[ln|z|/p, sign z]` or `[−1, eᵖ z]` for each row of a column. Its derivative is taken only where an inner loop is
/// diagnosed.
fn prepared(z: Var<'_>) -> Var<'_> {
    let least = (-P).exp();
    let size = z * z.sign();
    let large = (size - least).step();
    let small = 1.0 - large;
    let length = (size * large + small * least).log() * (1.0 / P);
    let direction = z.sign() * large + z * small * P.exp();
    z.graph().concat(&[length, direction], 1)
}

/// All elements of some values, one per row.
fn column<'g>(values: &[Var<'g>]) -> Var<'g> {
    let rows = |x: &Var<'g>| x.reshape(&[volume(&x.shape()), 1]);
    values[0].graph().concat(&values.iter().map(rows).collect::<Vec<_>>(), 0)
}

/// A column's elements in the shapes of the values it was made from.
fn apart<'g>(column: Var<'g>, like: &Params<Var<'g>>) -> Params<Var<'g>> {
    let mut first = 0;
    like.map(|x| {
        let (shape, n) = (x.shape(), volume(&x.shape()));
        first += n;
        column.slice(&[first - n, 0], &[n, 1]).reshape(&shape)
    })
}

#[cfg(test)]
mod tests {
    use innerloop_engine::Graph;
    use innerloop_engine::check::{assert_close, evaluate};

    use super::*;

    #[test]
    fn numbers_are_prepared_as_published() {
        let graph = Graph::new();
        let z = graph.input("z", &[6, 1]);
        let small = (-11.0_f64).exp();
        let values = vec![1.0, -1.0, (-5.0_f64).exp(), -20.0_f64.exp(), small, 0.0];
        let got = evaluate(&graph, &[prepared(z)], &[Tensor::from_f64(&[6, 1], values)]).remove(0);
        let e = (-1.0_f64).exp();
        let want = vec![0.0, 1.0, 0.0, -1.0, -0.5, 1.0, 2.0, -1.0, -1.0, e, -1.0, 0.0];
        assert_close("prepared", &got, &Tensor::from_f64(&[6, 2], want), 1e-12);
    }
}
