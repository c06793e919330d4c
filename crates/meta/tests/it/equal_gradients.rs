//! Parameters whose gradients are one value of the graph.

use innerloop_engine::check::assert_close;
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};
use innerloop_meta::algorithms::{Fomaml, HfMaml, InnerLoop, Maml, MamlPlusPlus};
use innerloop_meta::{
    Algorithm, Learner, Loss, MetaState, Point, Problem, Setup, Strategy, TaskData,
};

/// `L_S = Σ sin(a + b − s)`, whose derivatives by `a` and `b` are the same; `L_Q = Σ (a − 2b − q)²`.
struct Shifts;

impl Problem for Shifts {
    fn parameters(&self) -> Params<Shape> {
        ["a", "b"].map(|name| (name.to_string(), vec![3])).into_iter().collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn support_examples(&self) -> usize {
        3
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        vec![vec![examples]]
    }

    fn query_shapes(&self) -> Vec<Shape> {
        vec![vec![3]]
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let off = at.params["a"] + at.params["b"] - support[0];
        Loss { value: off.sin().sum(), output: off, statistics: Params::new() }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        let off = at.params["a"] - at.params["b"] * 2.0 - query[0];
        Loss { value: off.dot(off), output: off, statistics: Params::new() }
    }
}

/// The meta-gradient before the second derivatives set in, if they ever do.
fn gradient(algorithm: &dyn Algorithm, strategy: Strategy) -> Params<Tensor> {
    let vector = |x: [f64; 3]| Tensor::from_f64(&[3], x.to_vec());
    let start = [("a", [0.1, 0.5, -0.4]), ("b", [0.7, -0.2, 0.3])];
    let start = start.map(|(name, x)| (name.to_string(), vector(x))).into_iter().collect();
    let mut meta = MetaState::new(&Shifts, algorithm, 3, start);
    meta.schedule(algorithm, 0.0);
    let (s, q) = (vector([0.2, -0.3, 0.9]), vector([1.0, 0.4, -0.6]));
    let task = TaskData { support: &[&s], query: &[&q], key: Key::new(0) };
    let learner = Learner::new(&Shifts, algorithm, Setup { strategy, ..Setup::new(3) });
    let mut result = learner.result(Dtype::F64);
    learner.run(&mut learner.worker(Dtype::F64), &meta, task, &mut result);
    result.gradient
}

#[test]
fn equal_gradients_have_cotangents_of_their_own() {
    let maml = Maml { inner: InnerLoop::new(0.3) };
    let [unrolled, adjoint] =
        [Strategy::Unrolled, Strategy::Adjoint].map(|strategy| gradient(&maml, strategy));
    unrolled.iter().for_each(|(name, g)| assert_close(name, &adjoint[name], g, 1e-12));
}

/// An algorithm that holds gradients constant itself does not hit upon the variable of another one.
#[test]
fn equal_gradients_stay_apart_where_an_algorithm_holds_them() {
    let inner = || InnerLoop::new(0.3);
    let first_order = gradient(&Fomaml { inner: inner() }, Strategy::Unrolled);
    let later = |base: Box<dyn Algorithm>| MamlPlusPlus::new(base, 0.0, 0.5);
    let annealed: [MamlPlusPlus; 2] = [
        later(Box::new(Maml { inner: inner() })),
        later(Box::new(HfMaml { inner: inner(), epsilon: 1e-3 })),
    ];
    for algorithm in &annealed {
        for strategy in [Strategy::Unrolled, Strategy::Adjoint] {
            let got = gradient(algorithm, strategy);
            first_order.iter().for_each(|(name, g)| assert_close(name, &got[name], g, 1e-9));
        }
    }
}
