//! In the steady state a program allocates nothing. A counting allocator checks it, which is why this test is a
//! separate binary.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Graph, Isa, Key, Program, Tensor, Var, Window, grad, hvp};

thread_local! {
    /// Allocations of this thread; the test harness has threads of its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a constant-initialised
// thread-local without a destructor, so it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A loss of five parameters from images and labels: `[5, 12, 12, 3]`, `[5]`.
type Loss = for<'g> fn(&[Var<'g>], Var<'g>, Var<'g>) -> Var<'g>;

const SHAPES: [&[usize]; 5] = [&[3, 3, 3, 8], &[8], &[3, 3, 8, 8], &[8], &[3, 3, 16, 4]];

/// Two blocks of convolution, batch norm, ReLU and pooling, and values moved about, so that every kind of
/// kernel but the matrix product runs: `[5, 3, 3, 16]`.
fn features<'g>(p: &[Var<'g>], image: Var<'g>) -> Var<'g> {
    let block = |x: Var<'g>, p: &[Var<'g>]| {
        let y = x.conv(p[0], Window::square(3, 1, 1));
        let channels = [y.shape()[3]];
        let scale = 1.0 / (5 * y.shape()[1] * y.shape()[2]) as f64;
        let centred = y - y.sum_to(&channels) * scale;
        let variance = (centred * centred).sum_to(&channels) * scale;
        let normal = centred / (variance + 1e-5).sqrt();
        (normal * p[1]).relu().max_pool(Window::square(2, 2, 0))
    };
    let x = block(block(image, &p[..2]), &p[2..4]);
    let x = x + x.avg_pool(Window::square(3, 1, 1)).transpose(&[0, 2, 1, 3]);
    let x = x.slice(&[0, 0, 0, 0], &[5, 2, 3, 8]).pad(&[0, 1, 0, 0], &[5, 3, 3, 8]);
    x + x.graph().concat(&[x, x.tanh()], 3).slice(&[0, 0, 0, 4], &[5, 3, 3, 8])
}

fn cross_entropy<'g>(logits: Var<'g>, labels: Var<'g>) -> Var<'g> {
    let second = logits.slice(&[1, 0], &[1, 4]);
    -((logits + second * 0.1).log_softmax() * labels.one_hot(4)).mean()
}

/// With a convolution over the whole map as its linear layer.
fn convolutions<'g>(p: &[Var<'g>], image: Var<'g>, labels: Var<'g>) -> Var<'g> {
    let x = features(p, image);
    let x = x.graph().concat(&[x, x.sin()], 3);
    cross_entropy(x.conv(p[4], Window::square(3, 1, 0)).reshape(&[5, 4]), labels)
}

/// With a matrix product as its linear layer.
fn products<'g>(p: &[Var<'g>], image: Var<'g>, labels: Var<'g>) -> Var<'g> {
    let x = features(p, image);
    let x = x.graph().concat(&[x, x.sin()], 3);
    cross_entropy(x.reshape(&[5, 144]).matmul(p[4].reshape(&[144, 4])), labels)
}

/// The most allocations of a run, after the first, of the loss, its gradient and a Hessian-vector product; and the
/// number of matrix products in them.
fn allocations(loss: Loss) -> (usize, usize) {
    let graph = Graph::new();
    let p: Vec<Var<'_>> = SHAPES.iter().map(|shape| graph.input("parameter", shape)).collect();
    let (image, labels) = (graph.input("image", &[5, 12, 12, 3]), graph.input("labels", &[5]));
    let u: Vec<Var<'_>> = SHAPES.iter().map(|shape| graph.input("u", shape)).collect();
    let loss = loss(&p, image, labels);
    let mut outputs = vec![loss];
    outputs.extend(grad(loss, &p));
    outputs.extend(hvp(loss, &p, &u, &p));
    let program = Program::compile(&graph, &outputs);

    let value = |i: usize, shape: &[usize]| random(Key::new(51).at(0, i as u64), shape, 0.5);
    let mut inputs: Vec<Tensor> = (0..5).map(|i| value(i, SHAPES[i])).collect();
    inputs.push(value(5, &[5, 12, 12, 3]));
    inputs.push(Tensor::from_f64(&[5], vec![0.0, 1.0, 2.0, 3.0, 0.0]));
    inputs.extend((0..5).map(|i| value(10 + i, SHAPES[i])));

    let mut most = 0;
    for dtype in [Dtype::F32, Dtype::F64] {
        for isa in [Isa::Portable, Isa::detect()] {
            let mut workspace = program.workspace_for(dtype, isa);
            let mut results: Vec<Tensor> = (0..program.n_outputs())
                .map(|i| Tensor::zeros(dtype, workspace.output_shape(i)))
                .collect();
            let mut step = || {
                inputs.iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
                program.run(&mut workspace);
                results.iter_mut().enumerate().for_each(|(i, into)| workspace.read(i, into));
                workspace.read_scalar(0)
            };
            // Anything detected on first use, such as the machine's features, is detected here.
            let first = step();
            assert!(first.is_finite() && first != 0.0, "{dtype}, {isa:?}: {first}");
            for _ in 0..5 {
                let before = ALLOCATIONS.get();
                assert_eq!(step(), first);
                most = most.max(ALLOCATIONS.get() - before);
            }
        }
    }
    (most, graph.print(&outputs).matches("= matmul").count())
}

#[test]
fn steady_runs_allocate_nothing() {
    assert_eq!(allocations(convolutions), (0, 0));
}

#[test]
fn matrix_products_allocate_nothing() {
    let (allocations, products) = allocations(products);
    assert!(products > 0 && allocations == 0, "{allocations} in {products} products");
}

/// The counter counts, or the test above would pass whatever happens.
#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    let boxed = std::hint::black_box(Box::new(1_u64));
    assert_eq!(ALLOCATIONS.get() - before, 1);
    drop(boxed);
}
