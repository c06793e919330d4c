//! Random convolutional graphs over two batches: the compiled sweeps against the same graph over single images, where
//! there is no batch to sweep over, and against each output compiled alone and together with every intermediate value.
//! Images are large enough that a sweep takes several chunks.

use innerloop_engine::check::random;
use innerloop_engine::{
    Dtype, Graph, Isa, Key, Program, Tensor, Var, Window, Workspace, grad, hvp, volume,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// One set of maps, made of earlier ones.
#[derive(Clone, Debug)]
enum Term {
    /// The images of a batch.
    Images(usize),
    /// A convolution with the weights of that number.
    Conv(usize, usize, Window),
    /// Normalised with the mean and the deviation over the batch.
    Norm(usize),
    MaxPool(usize, Window),
    AvgPool(usize, Window),
    Relu(usize),
    Tanh(usize),
    Add(usize, usize),
    Mul(usize, usize),
    /// Channels scaled by the means of other maps, perhaps of the other batch.
    Scale(usize, usize),
    /// Each image scaled by its own mean.
    ByImage(usize),
    /// Each pixel minus the mean of its channels.
    ByPixel(usize),
}

/// Maps of a batch: which batch, and their extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maps {
    batch: usize,
    extents: [usize; 3],
}

#[derive(Clone, Debug)]
struct Net {
    /// Images in each batch.
    sizes: [usize; 2],
    weights: Vec<[usize; 4]>,
    terms: Vec<Term>,
    maps: Vec<Maps>,
}

impl Net {
    fn new(sizes: [usize; 2], extents: [[usize; 3]; 2], code: &[[u8; 4]]) -> Net {
        let mut net = Net { sizes, weights: Vec::new(), terms: Vec::new(), maps: Vec::new() };
        for (batch, &extents) in extents.iter().enumerate() {
            net.push(Term::Images(batch), Maps { batch, extents });
        }
        code.iter().for_each(|&word| net.decode(word));
        net
    }

    fn push(&mut self, term: Term, maps: Maps) {
        self.terms.push(term);
        self.maps.push(maps);
    }

    /// Adds the term that four random bytes mean.
    fn decode(&mut self, [op, a, b, extra]: [u8; 4]) {
        let [op, a, b, extra] = [op, a, b, extra].map(usize::from);
        // Recent maps are likelier operands.
        let n = self.maps.len();
        let x = if a % 3 == 0 { n - 1 } else { n - 1 - a / 3 % n };
        let maps = self.maps[x];
        let [h, w, c] = maps.extents;
        let like = |fits: &dyn Fn(&Maps) -> bool| {
            (0..n).map(|i| (b + i) % n).find(|&y| fits(&self.maps[y])).expect("maps fit themselves")
        };
        let pool = if extra % 3 == 0 { Window::square(3, 2, 1) } else { Window::square(2, 2, 0) };
        let pools = h.min(w) >= 4;
        let term = match op % 16 {
            0..=3 => {
                let size = [1, 3, 3, 2][extra % 4];
                let stride = if pools && extra / 4 % 4 == 0 { 2 } else { 1 };
                let filters = [3, 8, 8, 16, 5][extra / 16 % 5];
                let shape = [size, size, c, filters];
                let at = self.weights.iter().position(|s| *s == shape).unwrap_or_else(|| {
                    self.weights.push(shape);
                    self.weights.len() - 1
                });
                Term::Conv(x, at, Window::square(size, stride, size / 2))
            }
            4..=5 => Term::Norm(x),
            6..=7 if pools => Term::MaxPool(x, pool),
            8 if pools => Term::AvgPool(x, pool),
            9 => Term::Tanh(x),
            10 => Term::Add(x, like(&|other| *other == maps)),
            11 => Term::Mul(x, like(&|other| *other == maps)),
            12 => Term::Scale(x, like(&|other| other.extents[2] == c)),
            13 => Term::ByImage(x),
            14 => Term::ByPixel(x),
            _ => Term::Relu(x),
        };
        let extents = match &term {
            Term::Conv(_, weights, window) => {
                let [h, w] = window.output([h, w]);
                [h, w, self.weights[*weights][3]]
            }
            Term::MaxPool(_, window) | Term::AvgPool(_, window) => {
                let [h, w] = window.output([h, w]);
                [h, w, c]
            }
            _ => maps.extents,
        };
        self.push(term, Maps { extents, ..maps });
    }

    /// The maps of every term. Each is a list of values: one for the whole batch, or one per image.
    fn build<'g>(&self, weights: &[Var<'g>], images: &[Vec<Var<'g>>; 2]) -> Vec<Vec<Var<'g>>> {
        let mut values: Vec<Vec<Var<'g>>> = Vec::new();
        for (term, maps) in self.terms.iter().zip(&self.maps) {
            let each = |x: &usize, f: &dyn Fn(Var<'g>) -> Var<'g>| -> Vec<Var<'g>> {
                values[*x].iter().map(|&v| f(v)).collect()
            };
            let pair = |x: &usize, y: &usize, f: &dyn Fn(Var<'g>, Var<'g>) -> Var<'g>| {
                values[*x].iter().zip(&values[*y]).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>()
            };
            let value = match term {
                Term::Images(batch) => images[*batch].clone(),
                Term::Conv(x, w, window) => each(x, &|v| v.conv(weights[*w], *window)),
                Term::Norm(x) => {
                    let (mean, deviation) = self.statistics(*x, &values[*x]);
                    let [h, w, _] = maps.extents;
                    let count = (self.sizes[maps.batch] * h * w) as f64;
                    let scale = (deviation * (1.0 / count) + 0.1).sqrt().recip();
                    each(x, &|v| (v - mean) * scale + 0.1)
                }
                Term::MaxPool(x, window) => each(x, &|v| v.max_pool(*window)),
                Term::AvgPool(x, window) => each(x, &|v| v.avg_pool(*window)),
                Term::Relu(x) => each(x, &Var::relu),
                Term::Tanh(x) => each(x, &Var::tanh),
                Term::Add(x, y) => pair(x, y, &|a, b| a + b * 0.5),
                Term::Mul(x, y) => pair(x, y, &|a, b| a * b.tanh()),
                Term::Scale(x, y) => {
                    let (mean, _) = self.statistics(*y, &values[*y]);
                    each(x, &|v| v * (mean + 0.5))
                }
                Term::ByImage(x) => each(x, &|v| v * (v.mean_to(&[v.shape()[0], 1, 1, 1]) + 0.5)),
                Term::ByPixel(x) => each(x, &|v| {
                    let [n, h, w, _] = v.shape()[..] else { unreachable!("maps have four axes") };
                    v - v.mean_to(&[n, h, w, 1])
                }),
            };
            values.push(value);
        }
        values
    }

    /// Mean and squared deviations of each channel over a batch.
    fn statistics<'g>(&self, x: usize, values: &[Var<'g>]) -> (Var<'g>, Var<'g>) {
        let Maps { batch, extents: [h, w, c] } = self.maps[x];
        let sum = |terms: Vec<Var<'g>>| terms.into_iter().reduce(|a, b| a + b).expect("images");
        let count = (self.sizes[batch] * h * w) as f64;
        let total = sum(values.iter().map(|v| v.sum_to(&[c])).collect());
        let mean = total * (1.0 / count);
        let deviation = match values {
            [all] => all.deviation_to(&[c]),
            images => sum(images.iter().map(|&v| ((v - mean) * (v - mean)).sum_to(&[c])).collect()),
        };
        (mean, deviation)
    }

    /// Weights, directions for them, and the images of both batches, whole or one by one.
    fn inputs(&self, singly: bool) -> Vec<Tensor> {
        let mut values = Vec::new();
        for stream in 0..2 {
            for (i, shape) in self.weights.iter().enumerate() {
                let scale = 1.0 / (volume(&shape[..3]) as f64).sqrt();
                values.push(random(Key::new(51).at(stream, i as u64), shape, scale));
            }
        }
        for (batch, &n) in self.sizes.iter().enumerate() {
            let [h, w, c] = self.maps[batch].extents;
            let images = random(Key::new(52).at(0, batch as u64), &[n, h, w, c], 1.0);
            if singly {
                let image = |i| images.as_f64()[i * h * w * c..][..h * w * c].to_vec();
                values.extend((0..n).map(|i| Tensor::from_f64(&[1, h, w, c], image(i))));
            } else {
                values.push(images);
            }
        }
        values
    }

    /// The requested outputs (loss, some maps, gradients by weights and images, Hessian-vector products), and the
    /// intermediate maps. Each is one value, or a list over the images.
    fn ask<'g>(&self, graph: &'g Graph, singly: bool) -> [Vec<Vec<Var<'g>>>; 2] {
        let declare = || self.weights.iter().map(|shape| graph.input("weights", shape)).collect();
        let (weights, directions): (Vec<Var<'g>>, Vec<Var<'g>>) = (declare(), declare());
        let images: [Vec<Var<'g>>; 2] = std::array::from_fn(|batch| {
            let [h, w, c] = self.maps[batch].extents;
            let (count, n) = if singly { (self.sizes[batch], 1) } else { (1, self.sizes[batch]) };
            (0..count).map(|_| graph.input("images", &[n, h, w, c])).collect()
        });
        let maps = self.build(&weights, &images);
        let n = maps.len();
        let mut loss = graph.scalar(0.0);
        // Maps from the end and one from the middle.
        for i in [n - 1, n - 2, n / 2] {
            let scale = 1.0 / volume(&self.maps[i].extents) as f64;
            for &v in &maps[i] {
                loss = loss + ((v + 0.3).sin() + v * v * 0.1).sum() * scale;
            }
        }
        let mut asked = vec![vec![loss], maps[n / 2].clone(), maps[n - 1 - n / 4].clone()];
        asked.extend(grad(loss, &weights).into_iter().map(|g| vec![g]));
        asked.extend(hvp(loss, &weights, &directions, &weights).into_iter().map(|h| vec![h]));
        asked.extend(images.iter().map(|images| grad(loss, images)));
        [asked, maps]
    }
}

/// The outputs of a program, by any kernels, in memory that was filled with NaN before.
pub(crate) fn run(program: &Program, inputs: &[Tensor], isa: Isa) -> Vec<Tensor> {
    let mut workspace = program.workspace_for(Dtype::F64, isa);
    for poison in [true, false] {
        for (i, x) in inputs.iter().enumerate() {
            let nan = Tensor::full(Dtype::F64, x.shape(), f64::NAN);
            workspace.set(i, if poison { &nan } else { x });
        }
        program.run(&mut workspace);
    }
    (0..program.n_outputs()).map(|i| workspace.output(i)).collect()
}

/// Lists over images put together.
fn gathered(lists: &[Vec<Var<'_>>], values: Vec<Tensor>) -> Vec<Tensor> {
    let mut values = values.into_iter();
    let whole = |list: &Vec<Var<'_>>| {
        let parts: Vec<Tensor> = values.by_ref().take(list.len()).collect();
        let mut shape = parts[0].shape().to_vec();
        if parts.len() > 1 {
            shape[0] = parts.len();
        }
        Tensor::from_f64(&shape, parts.iter().flat_map(|x| x.iter()).collect())
    };
    lists.iter().map(whole).collect()
}

/// Outputs agree up to rounding; those smaller than the loss are compared on its scale.
#[track_caller]
fn assert_all_close(name: &str, got: &[Tensor], want: &[Tensor]) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.shape(), want.shape(), "{name}, output {i}");
        let size = want.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert!(size.is_finite(), "{name}, output {i}: {want:?}");
        for (at, (a, b)) in got.iter().zip(want.iter()).enumerate() {
            assert!((a - b).abs() <= 1e-8 * size, "{name}, output {i}: {a} at {at}, want {b}");
        }
    }
}

fn nets() -> impl Strategy<Value = Net> {
    let sizes = prop_oneof![
        6 => (1..14_usize, 1..14_usize),
        1 => (1..3_usize, 14..41_usize),
        1 => (14..41_usize, 1..3_usize),
    ];
    let extents =
        (8..26_usize, 8..26_usize, 8..20_usize, prop_oneof![Just(1_usize), Just(3), Just(8)]);
    let code = prop::collection::vec(any::<[u8; 4]>(), 4..16);
    (sizes, extents, code).prop_map(|((m, n), (h, w, other, c), mut code)| {
        // Both batches begin with a convolution by the same weights.
        code.insert(0, [0, 3, 0, 0x15]);
        code.insert(1, [0, 0, 0, 0x15]);
        Net::new([m, n], [[h, w, c], [other, w, c]], &code)
    })
}

fn config(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(2026);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn sweeps_equal_single_images(net in nets()) {
        let singly = Graph::new();
        let [asked, _] = net.ask(&singly, true);
        let program = Program::compile(&singly, &asked.concat());
        let want = gathered(&asked, run(&program, &net.inputs(true), Isa::detect()));

        let graph = Graph::new();
        let [asked, maps] = net.ask(&graph, false);
        let (asked, inputs) = (asked.concat(), net.inputs(false));
        let together = Program::compile(&graph, &asked);
        for isa in [Isa::detect(), Isa::Portable] {
            assert_all_close("together", &run(&together, &inputs, isa), &want);
        }
        // Alone, so that less is kept, and with every intermediate value, so that more is.
        for at in [0, 2, asked.len() - 1] {
            let alone = Program::compile(&graph, &asked[at..=at]);
            assert_all_close("alone", &run(&alone, &inputs, Isa::detect()), &want[at..=at]);
        }
        let all = Program::compile(&graph, &[asked, maps.concat()].concat());
        let got = run(&all, &inputs, Isa::detect());
        assert_all_close("with all maps", &got[..want.len()], &want);
    }
}

/// Several programs in the same memory, one after another and back.
#[test]
fn programs_take_turns() {
    let code = [[0, 0, 0, 0x15], [4, 0, 0, 0], [6, 0, 0, 1], [15, 0, 0, 0], [0, 0, 0, 0x31]];
    let nets = [[9, 2], [3, 5], [1, 17]].map(|sizes| Net::new(sizes, [[24, 20, 3]; 2], &code));
    let graphs = nets.each_ref().map(|_| Graph::new());
    let programs: Vec<Program> = nets
        .iter()
        .zip(&graphs)
        .map(|(net, graph)| Program::compile(graph, &net.ask(graph, false)[0].concat()))
        .collect();
    let all: Vec<&Program> = programs.iter().collect();
    let mut shared = Workspace::new(&all, Dtype::F32, Isa::detect());
    let once = |at: usize, workspace: &mut Workspace| -> Vec<Tensor> {
        nets[at].inputs(false).iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
        programs[at].run(workspace);
        (0..programs[at].n_outputs()).map(|i| workspace.output(i)).collect()
    };
    for at in [0, 1, 2, 0, 2, 1] {
        shared.enter(&programs[at]);
        let alone = once(at, &mut programs[at].workspace(Dtype::F32));
        assert_eq!(once(at, &mut shared), alone, "program {at}");
    }
}
