//! What a plan promises about its memory and work, for a network of the size that is trained.

use innerloop_engine::{Dtype, Graph, Program, Var, Window, grad};

const FILTERS: usize = 32;
const WAYS: usize = 5;
/// Height and width of the maps that enter each block.
const EXTENTS: [usize; 4] = [84, 42, 21, 10];

/// Loss and gradient of four blocks of convolution, batch norm, pooling and ReLU, a linear layer and cross-entropy, on
/// the given number of images.
fn query(images: usize) -> Program {
    let graph = Graph::new();
    let x = graph.input("x", &[images, 84, 84, 3]);
    let labels = graph.input("labels", &[images, WAYS]);
    let mut parameters = Vec::new();
    let mut declare = |shape: &[usize]| {
        parameters.push(graph.input("parameter", shape));
        parameters[parameters.len() - 1]
    };
    let mut y = x;
    for _ in EXTENTS {
        let weights = declare(&[3, 3, y.shape()[3], FILTERS]);
        let (gamma, beta) = (declare(&[FILTERS]), declare(&[FILTERS]));
        y = y.conv(weights, Window::square(3, 1, 1));
        let count = y.shape()[..3].iter().product::<usize>() as f64;
        let variance = y.deviation_to(&[FILTERS]) * (1.0 / count);
        let scale = (variance + 1e-5).sqrt().recip() * gamma;
        let normal: Var<'_> = (y - y.mean_to(&[FILTERS])) * scale + beta;
        y = normal.max_pool(Window::square(2, 2, 0)).relu();
    }
    let flat = 5 * 5 * FILTERS;
    let (head, bias) = (declare(&[WAYS, flat]), declare(&[WAYS]));
    let logits = y.reshape(&[images, flat]).matmul_t(head) + bias;
    let loss = -(logits.log_softmax() * labels).sum() * (1.0 / images as f64);
    let mut outputs = vec![loss];
    outputs.extend(grad(loss, &parameters));
    Program::compile(&graph, &outputs)
}

/// Elements of the map that a block's convolution makes of an image, and of the pooled map.
fn maps(block: usize) -> [u64; 2] {
    [EXTENTS[block], EXTENTS[block] / 2].map(|extent| (extent * extent * FILTERS) as u64)
}

/// Multiply-adds of the convolution in a block, for one image.
fn products(block: usize) -> u64 {
    let channels = if block == 0 { 3 } else { FILTERS };
    maps(block)[0] * (9 * channels) as u64
}

/// The first layer's maps, of 84×84×32 elements per image, are recomputed wherever they are needed.
#[test]
fn maps_of_the_first_layer_are_never_stored() {
    let mut stored = 84 * 84 * 3;
    for block in 0..4 {
        let [whole, half] = maps(block);
        let convolved = if block == 0 { 0 } else { whole };
        // Four positions in pooling windows take the place of one number.
        stored += convolved + half + half / 4;
    }
    let [arena, larger] = [25, 75].map(|images| query(images).cost().arena_elements);
    // One per cent for gaps that packed kernels fill with 25 images but not with 75.
    let most = 50 * (stored + stored / 100);
    assert!(larger - arena <= most, "{} an image, not {stored}", (larger - arena) / 50);
    // What does not grow: parameters, and the memory of one chunk.
    let fixed = arena - 25 * ((larger - arena) / 50);
    assert!(fixed < 1 << 20, "{fixed}");
    assert!(larger < 75 * maps(0)[0], "{larger}");
}

#[test]
fn costs_are_those_of_the_network() {
    for images in [25, 75] {
        let program = query(images as usize);
        let cost = program.cost();
        assert_eq!(cost.steps, program.n_steps() as u64);
        let bytes = program.workspace(Dtype::F32).bytes() as u64;
        assert!((4 * cost.arena_elements..5 * cost.arena_elements).contains(&bytes), "{bytes}");
        // Every product once forwards and once for each operand, except for the images, which have no gradient; and the
        // first convolution once more: positions of maxima do not wait for statistics.
        let once = (0..4).map(products).sum::<u64>() + (5 * 5 * FILTERS * WAYS) as u64;
        assert_eq!(cost.product_flops, 2 * images * 3 * once);
        let first = images * maps(0)[0];
        assert!(cost.moved_elements > cost.arena_elements && cost.moved_elements < 6 * first);
        assert!((8 * first..25 * first).contains(&cost.elementwise_ops), "{cost:?}");
    }
}
