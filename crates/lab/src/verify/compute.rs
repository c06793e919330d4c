//! innerloop's own results for a case, under the file's names and in its layouts.

use innerloop_engine::{Dtype, Graph, Key, Params, Program, Tensor, grad_params, hvp};
use innerloop_meta::algorithms::{Fomaml, InnerLoop, LearnedRates, Maml};
use innerloop_meta::{
    Adapter, Algorithm, Learner, Losses, MetaState, Point, Problem, Setup, StepLosses, Strategy,
    TaskData, TaskResult, rate_name,
};

use super::case::Case;

/// Arrays without the precision's prefix: `meta_grad.conv1.weight`, `query_loss`, …
pub(super) struct Results {
    pub(super) arrays: Params<Tensor>,
}

/// All results that a case file may hold, computed in one precision with one strategy.
pub(super) fn results(case: &Case, dtype: Dtype, strategy: Strategy) -> Results {
    // Rates learned per tensor and step give the gradient with respect to each of them.
    let maml = LearnedRates::new(Box::new(Maml { inner: InnerLoop::new(case.lr) }));
    let runs = run(case, &maml, dtype, strategy);
    let mut arrays = Params::new();
    let (batch, steps) = (case.batch, case.steps);
    let losses = runs.iter().flat_map(|r| r.support_losses.iter().copied()).collect();
    arrays.push("inner_loss", Tensor::from_f64(&[batch, steps + 1], losses));
    let losses = runs.iter().map(|r| r.query_loss).collect();
    arrays.push("query_loss", Tensor::from_f64(&[batch], losses));
    let shape = [&[batch], runs[0].output.shape()].concat();
    let logits = runs.iter().flat_map(|r| r.output.iter()).collect();
    arrays.push("query_logits", Tensor::from_f64(&shape, logits));
    push_parameters(case, &mut arrays, "meta_grad", &mean(&runs));
    let order: Vec<&String> = case
        .param_order
        .iter()
        .map(|name| {
            let parameters = case.parameters();
            let at =
                parameters.iter().position(|(_, file)| file == name).expect("checked on reading");
            &case.theta.names()[at]
        })
        .collect();
    let mut rates = Vec::new();
    for run in &runs {
        for k in 0..steps {
            rates.extend(order.iter().map(|name| run.gradient[&rate_name(name)].get(k)));
        }
    }
    arrays.push("lr_grad", Tensor::from_f64(&[batch, steps, order.len()], rates));
    let fast = runs[0].fast.clone();
    push_parameters(case, &mut arrays, "task0.fast", &fast);
    let fomaml = Fomaml { inner: InnerLoop::new(case.lr) };
    let runs = run(case, &fomaml, dtype, strategy);
    push_parameters(case, &mut arrays, "fomaml_grad", &mean(&runs));
    let (gradient, product) = support_products(case, dtype);
    push_parameters(case, &mut arrays, "task0.support_grad", &gradient);
    push_parameters(case, &mut arrays, "task0.hvp_g", &product);
    Results { arrays }
}

fn run(
    case: &Case,
    algorithm: &dyn Algorithm,
    dtype: Dtype,
    strategy: Strategy,
) -> Vec<TaskResult> {
    let problem = case.problem();
    let setup = Setup { strategy, losses: Losses::All, ..Setup::new(case.steps) };
    let learner = Learner::new(&problem, algorithm, setup);
    let meta = MetaState::new(&problem, algorithm, case.steps, case.theta.map(|t| t.cast(dtype)));
    let mut worker = learner.worker(dtype);
    let one = |[xs, ys, xq, yq]: &[Tensor; 4]| {
        let mut result = learner.result(dtype);
        let data = TaskData { support: &[xs, ys], query: &[xq, yq], key: Key::new(0) };
        learner.run(&mut worker, &meta, data, &mut result);
        result
    };
    case.tasks.iter().map(one).collect()
}

/// Mean gradient over the tasks.
fn mean(runs: &[TaskResult]) -> Params<Tensor> {
    let n = runs.len() as f64;
    runs[0].gradient.map_named(|name, first| {
        let sum = |i: usize| runs.iter().map(|r| r.gradient[name].get(i)).sum::<f64>();
        Tensor::from_f64(first.shape(), (0..first.len()).map(|i| sum(i) / n).collect())
    })
}

fn push_parameters(
    case: &Case,
    arrays: &mut Params<Tensor>,
    prefix: &str,
    values: &Params<Tensor>,
) {
    for (spec, name) in case.parameters() {
        arrays.push(format!("{prefix}.{name}"), spec.to_torch(&values[&spec.name]));
    }
}

/// Gradient `g` of the first task's support loss at θ, and its Hessian times `g`.
fn support_products(case: &Case, dtype: Dtype) -> (Params<Tensor>, Params<Tensor>) {
    let problem = case.problem();
    let graph = Graph::new();
    let theta = case.theta.map_named(|name, t| graph.input(name, t.shape()));
    let support: Vec<_> =
        case.tasks[0][..2].iter().map(|t| graph.input("data", t.shape())).collect();
    let step = graph.scalar(0.0).one_hot(case.steps + 1);
    let at = Point { params: theta.clone(), carried: Params::new(), step, closing: false };
    let loss = problem.support_loss(&at, &support).value;
    let g = grad_params(loss, &theta);
    let h = hvp(loss, theta.values(), g.values(), theta.values());
    let outputs: Vec<_> = g.values().iter().chain(&h).copied().collect();
    let program = Program::compile(&graph, &outputs);
    let mut workspace = program.workspace(dtype);
    for (i, value) in case.theta.values().iter().chain(&case.tasks[0][..2]).enumerate() {
        workspace.set(i, value);
    }
    program.run(&mut workspace);
    let n = case.theta.len();
    let read = |first: usize| (first..first + n).map(|i| workspace.output(i)).collect();
    (case.theta.with_values(read(0)), case.theta.with_values(read(n)))
}

/// ReLU and pooling decisions along all trajectories that differ between single and double precision, and the total
/// number of decisions.
pub(super) fn flips(case: &Case) -> (usize, usize) {
    let single = decisions(case, Dtype::F32);
    let double = decisions(case, Dtype::F64);
    let differ = single.iter().zip(&double).filter(|(a, b)| a != b).count();
    (differ, double.len())
}

/// Every decision of every forward pass: support at φ_0 … φ_K, query at φ_K, of every task.
fn decisions(case: &Case, dtype: Dtype) -> Vec<f64> {
    let problem = case.problem();
    let maml = Maml { inner: InnerLoop::new(case.lr) };
    let meta = MetaState::new(&problem, &maml, case.steps, case.theta.map(|t| t.cast(dtype)));
    let adapter = Adapter::new(&problem, &maml, (case.steps, case.steps), None);
    let mut worker = adapter.worker(dtype);
    let pass = |query: bool| {
        let graph = Graph::new();
        let params = case.theta.map_named(|name, t| graph.input(name, t.shape()));
        let from = if query { 2 } else { 0 };
        let parts = &case.tasks[0][from..from + 2];
        let data: Vec<_> = parts.iter().map(|t| graph.input("data", t.shape())).collect();
        let step = graph.scalar(0.0).one_hot(case.steps + 1);
        let at = Point { params, carried: Params::new(), step, closing: false };
        let loss = if query {
            problem.query_loss(&at, &[], &data)
        } else {
            problem.support_loss(&at, &data)
        };
        Program::compile(&graph, &graph.decisions(&[loss.value]))
    };
    let (support, query) = (pass(false), pass(true));
    let mut all = Vec::new();
    let mut collect = |program: &Program, fast: &[Tensor], data: &[Tensor]| {
        let mut workspace = program.workspace(dtype);
        for (i, value) in fast.iter().chain(data).enumerate() {
            workspace.set(i, value);
        }
        program.run(&mut workspace);
        for i in 0..program.n_outputs() {
            all.extend(workspace.output(i).iter());
        }
    };
    for task in &case.tasks {
        let mut evaluation = StepLosses::default();
        let [xs, ys, xq, yq] = task;
        let data = TaskData { support: &[xs, ys], query: &[xq, yq], key: Key::new(0) };
        adapter.run(&mut worker, &meta, data, &mut evaluation, |at| {
            if at.k < case.steps {
                collect(&support, at.fast, &task[..2]);
            } else {
                collect(&query, at.fast, &task[2..]);
            }
        });
    }
    all
}
