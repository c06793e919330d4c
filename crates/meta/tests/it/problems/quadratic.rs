//! A quadratic problem.

use innerloop_engine::{Key, Params, Shape, Tensor, Var};
use innerloop_meta::{Loss, Point, Problem};
use innerloop_tasks::Quadratic as Draw;

use super::{Case, Task, draw};

/// The support loss of a quadratic problem.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Support {
    Quadratic,
    /// Only the linear part: the Hessian is zero.
    Linear,
}

/// The mean of `½ φᵀAφ − bᵀφ` over examples `A` `[n, n]`, `b` `[n]`; φ is a body of 2 numbers and a head
/// of 3.
struct Quadratic {
    examples: usize,
    support: Support,
}

/// Unknowns of the quadratic problem.
pub(crate) const N: usize = 5;

impl Quadratic {
    fn shapes(examples: usize) -> Vec<Shape> {
        vec![vec![examples, N, N], vec![examples, N]]
    }

    fn loss<'g>(at: &Point<'g>, data: &[Var<'g>], kind: Support) -> Loss<'g> {
        let (a, b) = (data[0], data[1]);
        let phi = a.graph().concat(&[at.params["body"], at.params["head"]], 0);
        let mean = 1.0 / a.shape()[0] as f64;
        let a = a.sum_to(&[N, N]) * mean;
        let b = b.sum_to(&[N]) * mean;
        let curved = a.matmul(phi.reshape(&[N, 1])).reshape(&[N]);
        let value = match kind {
            Support::Quadratic => phi.dot(curved) * 0.5 - phi.dot(b),
            Support::Linear => -phi.dot(b),
        };
        Loss { value, output: phi.reshape(&[1, N]), statistics: Params::new() }
    }
}

impl Problem for Quadratic {
    fn parameters(&self) -> Params<Shape> {
        [("body".to_string(), vec![2]), ("head".to_string(), vec![3])].into_iter().collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        Quadratic::shapes(examples)
    }

    fn support_examples(&self) -> usize {
        self.examples
    }

    fn query_shapes(&self) -> Vec<Shape> {
        Quadratic::shapes(1)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        Quadratic::loss(at, support, self.support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        Quadratic::loss(at, query, Support::Quadratic)
    }
}

pub(crate) fn quadratic(examples: usize, support: Support) -> Case {
    let arrays = |examples: usize, key: Key| {
        let drawn: Vec<Draw> =
            (0..examples).map(|i| Draw::draw(N, key.at(i as u64, key.task))).collect();
        let a = drawn.iter().flat_map(|q| q.a.iter().collect::<Vec<_>>()).collect();
        let b = drawn.iter().flat_map(|q| q.b.iter().collect::<Vec<_>>()).collect();
        vec![Tensor::from_f64(&[examples, N, N], a), Tensor::from_f64(&[examples, N], b)]
    };
    let problem = Quadratic { examples, support };
    Case {
        name: "quadratic",
        theta: problem.parameters().map_named(|name, shape| draw("theta", name, shape, 1.0)),
        problem: Box::new(problem),
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: arrays(examples, key.with_stream("support")),
            query: arrays(1, key.with_stream("query")),
            key,
        }),
    }
}
