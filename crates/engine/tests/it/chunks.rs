//! Values of a batch that is processed chunk by chunk, in the cases that are easiest to get wrong.

use innerloop_engine::check::{assert_close, check_derivatives, random, relative_error};
use innerloop_engine::{Dtype, Graph, Isa, Key, Program, Tensor, Var, Window, grad, hvp, volume};

use crate::sweeps::run;

/// Derivatives through sums over the batch, of several chunks, against finite differences.
#[test]
fn derivatives_across_chunks() {
    let (n, h) = (9, 32);
    let at = [
        random(Key::new(53), &[n, h, h, 2], 1.0),
        random(Key::new(54), &[3, 3, 2, 8], 0.3),
        random(Key::new(54).at(1, 0), &[3, 3, 8, 6], 0.2),
    ];
    fn sums<'g>(p: &[Var<'g>]) -> Vec<Var<'g>> {
        let y = normal(p[0].conv(p[1], Window::square(3, 1, 1))).tanh();
        let y = normal(y.avg_pool(Window::square(2, 2, 0)).conv(p[2], Window::square(3, 1, 1)));
        let mean = y.mean_to(&[y.shape()[0], 1, 1, 1]);
        vec![(y.sin() * mean).sum(), y.tanh().sum_to(&[6])]
    }
    check_derivatives(sums, &at, 2, 1e-5).unwrap();
}

/// Normalises channels to a mean of zero over the batch.
fn normal(y: Var<'_>) -> Var<'_> {
    let channels = [y.shape()[3]];
    let count = volume(&y.shape()) as f64 / channels[0] as f64;
    let deviation = y.deviation_to(&channels) * (1.0 / count);
    (y - y.mean_to(&channels)) * (deviation + 0.1).sqrt().recip()
}

/// Whole programs in single precision with enough channels for Winograd's convolutions, against double precision, where
/// convolutions are direct.
#[test]
fn wide_convolutions_in_single_precision() {
    for (n, h, w) in [(1, 3, 3), (5, 7, 7), (9, 14, 5), (26, 21, 19)] {
        let key = Key::new(60).at(n as u64, h as u64);
        let draw = |name: &str, shape: &[usize], scale| random(key.with_stream(name), shape, scale);
        let kernels = [[3, 3, 16, 16], [3, 3, 16, 24]];
        let mut inputs = vec![draw("images", &[n, h, w, 16], 1.0)];
        for part in ["kernel", "direction"] {
            let of = |(i, shape): (usize, &[usize; 4])| draw(&format!("{part} {i}"), shape, 0.1);
            inputs.extend(kernels.iter().enumerate().map(of));
        }
        let graph = Graph::new();
        let p: Vec<_> = inputs.iter().map(|x| graph.input("x", x.shape())).collect();
        let first = normal(p[0].conv(p[1], Window::square(3, 1, 1))).tanh();
        let second = normal(first.conv(p[2], Window::square(3, 1, 1)));
        let loss = (second.sin() * second).mean();
        let mut outputs = vec![loss];
        outputs.extend(grad(loss, &p[..3]));
        outputs.extend(hvp(loss, &p[1..3], &p[3..], &p[..3]));
        let program = Program::compile(&graph, &outputs);
        let [single, double] = [Dtype::F32, Dtype::F64].map(|dtype| {
            let mut workspace = program.workspace(dtype);
            inputs.iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
            program.run(&mut workspace);
            (0..outputs.len()).map(|i| workspace.output(i)).collect::<Vec<_>>()
        });
        for (at, (a, b)) in single.iter().zip(&double).enumerate() {
            let error = relative_error(&a.cast(Dtype::F64), b);
            assert!(error <= 1e-4, "{n} images of {h}×{w}, output {at}: {error:e}");
        }
    }
}

/// Values by image that a later sweep recomputes, and that it also needs as a whole.
#[test]
fn computed_again_and_needed_whole() {
    let (n, h) = (12, 40);
    let x = random(Key::new(55), &[n, h, h, 3], 1.0);
    let w = random(Key::new(56), &[3, 3, 3, n], 0.2);
    let graph = Graph::new();
    let (image, weights) = (graph.input("x", x.shape()), graph.input("w", w.shape()));
    let y = image.conv(weights, Window::square(3, 1, 1));
    let mean = y.mean_to(&[n, 1, 1, 1]);
    let cheap = (mean + 0.5).tanh();
    let total = y.mean_to(&[n]);
    let centred = y - total;
    // By image with its mean, then by image with the cheap value, then with all of the cheap values.
    let first = (centred * mean).sum_to(&[n]);
    let second = (centred * (cheap + centred)).sum_to(&[n]);
    let third = (centred.tanh() * (cheap.reshape(&[n]) + centred)).sum_to(&[n]);
    let outputs = [first, second, third];
    let inputs = [x, w];
    let together = run(&Program::compile(&graph, &outputs), &inputs, Isa::detect());
    let whole = [outputs.as_slice(), &[y, mean, cheap, centred]].concat();
    let stored = run(&Program::compile(&graph, &whole), &inputs, Isa::detect());
    for (at, (&output, together)) in outputs.iter().zip(&together).enumerate() {
        let alone = run(&Program::compile(&graph, &[output]), &inputs, Isa::detect());
        assert_close("alone and together", &alone[0], together, 1e-12);
        assert_close("stored and together", &stored[at], together, 1e-12);
    }
}

/// Images that also serve as the kernel.
#[test]
fn images_convolved_with_themselves() {
    let (n, h, c) = (7, 64, 64);
    let x = random(Key::new(57), &[n, h, c, c], 0.1);
    let graph = Graph::new();
    let image = graph.input("x", x.shape());
    let y = image.tanh();
    let window = Window { size: [n, h], stride: [1, 64], pad: [[0, 0], [0, 0]] };
    let other = graph.input("x", x.shape());
    let outputs = [y.conv(y, window), y.conv(other.tanh(), window)];
    let got = run(&Program::compile(&graph, &outputs), &[x.clone(), x], Isa::detect());
    assert_close("itself and a copy", &got[0], &got[1], 1e-12);
}

/// Chains of cheap values with two readers each: planning takes negligible time.
#[test]
fn long_chains_of_cheap_values() {
    let x = random(Key::new(58), &[3, 6, 6, 2], 1.0);
    let w = random(Key::new(59), &[1, 1, 2, 8], 1.0);
    let graph = Graph::new();
    let (image, weights) = (graph.input("x", x.shape()), graph.input("w", w.shape()));
    let y = image.conv(weights, Window::square(1, 1, 0));
    let (mut before, mut last) = (y, y.tanh());
    for _ in 0..200 {
        (before, last) = (last, last.tanh() + before);
    }
    let centred = last - last.mean_to(&[8]);
    let outputs = [(centred * centred * centred).sum(), (centred * before).sum_to(&[8])];
    let inputs = [x, w];
    let program = Program::compile(&graph, &outputs);
    let whole = Program::compile(&graph, &[outputs[0], outputs[1], last, before]);
    let (a, b) = (run(&program, &inputs, Isa::detect()), run(&whole, &inputs, Isa::detect()));
    assert_close("cubes", &a[0], &b[0], 1e-12);
    assert_close("products", &a[1], &b[1], 1e-12);
}

/// A NaN in one column leaves the deviations of the others alone.
#[test]
fn deviations_beside_a_nan() {
    for (rows, columns) in [(2000, 8), (900, 40), (5, 700)] {
        let clean = random(Key::new(60), &[rows, columns], 1.0);
        for at in [0, columns - 1, (rows - 1) * columns + 3] {
            let mut x = clean.clone();
            // Means that drift from tile to tile reveal a shift that was changed on the way.
            (0..x.len()).for_each(|i| x.set(i, x.get(i) + (i / columns) as f64 * 0.01));
            let mut broken = x.clone();
            broken.set(at, f64::NAN);
            let graph = Graph::new();
            let deviation = graph.input("x", x.shape()).deviation_to(&[columns]);
            let program = Program::compile(&graph, &[deviation]);
            let want = run(&program, &[x], Isa::detect());
            let got = run(&program, &[broken], Isa::detect());
            for j in 0..columns {
                let (got, want) = (got[0].get(j), want[0].get(j));
                assert!(if j == at % columns { got.is_nan() } else { got == want }, "{j}: {got}");
            }
        }
    }
}

/// A value that every image needs as a whole, as large as one that is computed image by image: its place is not free
/// before the last image is done.
#[test]
fn a_table_for_all_images() {
    let (n, h, c) = (8, 32, 8);
    let graph = Graph::new();
    let shapes: [&[usize]; 4] = [&[n, h, h, c], &[3, 3, c, c], &[h, h, c], &[3, 3, c, c]];
    let values: Vec<Tensor> =
        (0..4).map(|i| random(Key::new(61).at(0, i), shapes[i as usize], 0.3)).collect();
    let [x, first, table, second] = shapes.map(|shape| graph.input("x", shape));
    let window = Window::square(3, 1, 1);
    let maps = (x.conv(first, window) * table).conv(second, window);
    // As many elements as the table has, after its last reader.
    let by_image = maps.sum_to(&[n, h, h, 1]);
    let got = run(&Program::compile(&graph, &[by_image]), &values, Isa::detect());
    let kept = run(&Program::compile(&graph, &[by_image, table]), &values, Isa::detect());
    assert_eq!(got[0], kept[0]);
}

/// Positions in pooling windows that something other than a pooling reads are numbers.
#[test]
fn positions_that_are_looked_at() {
    let x = random(Key::new(62), &[3, 6, 6, 8], 1.0);
    let graph = Graph::new();
    let pooled = graph.input("x", x.shape()).max_pool(Window::square(2, 2, 0));
    let outputs = [pooled, graph.decisions(&[pooled])[0], graph.decisions(&[pooled.relu()])[0]];
    let mut programs = vec![Program::compile(&graph, &outputs)];
    programs.extend(outputs.map(|output| Program::compile(&graph, &[output])));
    let mut want = outputs.map(|_| Tensor::zeros(Dtype::F64, &pooled.shape()));
    for i in 0..want[0].len() {
        let (image, y, x0, channel) = (i / 72, i / 24 % 3, i / 8 % 3, i % 8);
        let pixel = |at: usize| ((image * 6 + 2 * y + at / 2) * 6 + 2 * x0 + at % 2) * 8 + channel;
        let best = (1..4).fold(
            0,
            |best, at| {
                if x.get(pixel(at)) > x.get(pixel(best)) { at } else { best }
            },
        );
        let value = x.get(pixel(best));
        want[0].set(i, value);
        want[1].set(i, best as f64);
        want[2].set(i, if value > 0.0 { best as f64 + 1.0 } else { 0.0 });
    }
    let inputs = [x];
    let mut got = run(&programs[0], &inputs, Isa::detect());
    got.extend(programs[1..].iter().flat_map(|alone| run(alone, &inputs, Isa::detect())));
    for (i, got) in got.iter().enumerate() {
        assert_eq!(*got, want[i % 3], "output {}", i % 3);
    }
}
