//! Losses, gradients and Hessian-vector products at arbitrary fast weights.

use innerloop_engine::{
    Dtype, Graph, Isa, Params, Program, Shape, Tensor, Var, Workspace, grad_params, hvp, volume,
};

use crate::{Algorithm, MetaState, Point, Problem, TaskData};

/// Programs of one problem; inputs are θ, the carried values, the step, the fast weights, the data, and a direction for
/// the product.
pub(super) struct Probe {
    support: Program,
    query: Program,
    product: Program,
    theta: Params<Shape>,
    adapted: Params<Shape>,
    steps: usize,
}

pub(super) struct ProbeWorker {
    workspace: Workspace,
    dtype: Dtype,
}

/// A task at some meta-parameters and a step.
pub(super) struct At<'a> {
    probe: &'a Probe,
    worker: &'a mut ProbeWorker,
    meta: &'a MetaState,
    task: TaskData<'a>,
    /// The rows of per-step normalisation that the support set and the query set use.
    rows: [Tensor; 2],
}

/// A graph's inputs, traced.
struct Inputs<'g> {
    at: Point<'g>,
    phi: Params<Var<'g>>,
    support: Vec<Var<'g>>,
}

impl Probe {
    pub(super) fn new(problem: &dyn Problem, algorithm: &dyn Algorithm, steps: usize) -> Probe {
        let theta = problem.parameters();
        let adapted = theta.filter(|name| algorithm.adapts(name));
        fn arrays<'g>(graph: &'g Graph, shapes: &[Shape]) -> Vec<Var<'g>> {
            shapes.iter().map(|shape| graph.input("data", shape)).collect()
        }
        fn inputs<'g>(
            graph: &'g Graph,
            problem: &dyn Problem,
            (adapted, steps): (&Params<Shape>, usize),
        ) -> Inputs<'g> {
            let named =
                |shapes: &Params<Shape>| shapes.map_named(|name, shape| graph.input(name, shape));
            let theta = named(&problem.parameters());
            let carried = named(&problem.carried());
            let step = graph.input("step", &[steps + 1]);
            let phi = named(adapted);
            let at = Point { params: theta.overlay(&phi), carried, step, closing: false };
            let examples = problem.support_examples();
            let support = arrays(graph, &problem.support_shapes(examples));
            Inputs { at, phi, support }
        }
        let of = (&adapted, steps);
        let support = {
            let graph = Graph::new();
            let Inputs { at, phi, support } = inputs(&graph, problem, of);
            let loss = problem.support_loss(&at, &support).value;
            let outputs = [&[loss], grad_params(loss, &phi).values()].concat();
            Program::compile(&graph, &outputs)
        };
        let query = {
            let graph = Graph::new();
            let Inputs { at, phi, support } = inputs(&graph, problem, of);
            let query = arrays(&graph, &problem.query_shapes());
            let loss = problem.query_loss(&at, &support, &query).value;
            let outputs = [&[loss], grad_params(loss, &phi).values()].concat();
            Program::compile(&graph, &outputs)
        };
        let product = {
            let graph = Graph::new();
            let Inputs { at, phi, support } = inputs(&graph, problem, of);
            let direction: Vec<_> =
                adapted.iter().map(|(name, shape)| graph.input(name, shape)).collect();
            let loss = problem.support_loss(&at, &support).value;
            Program::compile(&graph, &hvp(loss, phi.values(), &direction, phi.values()))
        };
        Probe { support, query, product, theta, adapted, steps }
    }

    pub(super) fn worker(&self, dtype: Dtype) -> ProbeWorker {
        let programs = [&self.support, &self.query, &self.product];
        ProbeWorker { workspace: Workspace::new(&programs, dtype, Isa::detect()), dtype }
    }

    /// `k` steps after the start. Per-step normalisation is that of training: the query set has a row for the end of
    /// the inner loop; the support set, which no step sees there, uses the last step's.
    pub(super) fn at<'a>(
        &'a self,
        worker: &'a mut ProbeWorker,
        meta: &'a MetaState,
        task: TaskData<'a>,
        k: usize,
    ) -> At<'a> {
        let row = |k: usize| {
            let mut row = Tensor::zeros(worker.dtype, &[self.steps + 1]);
            row.set(k, 1.0);
            row
        };
        let rows = [row(k.min(self.steps.saturating_sub(1))), row(k.min(self.steps))];
        At { probe: self, worker, meta, task, rows }
    }
}

impl At<'_> {
    /// `L_S(φ)` and its gradient.
    pub(super) fn support(&mut self, phi: &[f64]) -> (f64, Vec<f64>) {
        let probe = self.probe;
        self.run((&probe.support, 0), phi, self.task.support, None);
        (self.worker.workspace.read_scalar(0), self.read(1))
    }

    /// `L_Q(φ)` and its gradient.
    pub(super) fn query(&mut self, phi: &[f64]) -> (f64, Vec<f64>) {
        let probe = self.probe;
        let data = [self.task.support, self.task.query].concat();
        self.run((&probe.query, 1), phi, &data, None);
        (self.worker.workspace.read_scalar(0), self.read(1))
    }

    /// `∇²L_S(φ) u`
    pub(super) fn hessian_times(&mut self, phi: &[f64], u: &[f64]) -> Vec<f64> {
        let probe = self.probe;
        self.run((&probe.product, 0), phi, self.task.support, Some(u));
        self.read(0)
    }

    /// Runs a program with one of the rows.
    fn run(
        &mut self,
        (program, row): (&Program, usize),
        phi: &[f64],
        data: &[&Tensor],
        u: Option<&[f64]>,
    ) {
        let (phi, u) = (self.split(phi), u.map(|u| self.split(u)));
        let theta = self.probe.theta.names().iter().map(|name| &self.meta.omega[name.as_str()]);
        let carried = self.meta.carried.values();
        let step = [&self.rows[row]];
        let all = theta.chain(carried).chain(step).chain(&phi).chain(data.iter().copied());
        self.worker.workspace.enter(program);
        for (input, value) in all.chain(u.iter().flatten()).enumerate() {
            self.worker.workspace.set(input, value);
        }
        program.run(&mut self.worker.workspace);
    }

    /// A vector as tensors of the adapted parameters.
    fn split(&self, flat: &[f64]) -> Vec<Tensor> {
        let mut rest = flat;
        let one = |shape: &Shape| {
            let (head, tail) = rest.split_at(volume(shape));
            rest = tail;
            Tensor::from_f64(shape, head.to_vec())
        };
        self.probe.adapted.values().iter().map(one).collect()
    }

    /// The outputs from the `first` on as one vector.
    fn read(&self, first: usize) -> Vec<f64> {
        let outputs =
            (0..self.probe.adapted.len()).map(|i| self.worker.workspace.output(first + i));
        outputs.flat_map(|value| value.iter().collect::<Vec<_>>()).collect()
    }
}
