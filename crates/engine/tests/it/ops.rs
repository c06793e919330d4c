//! Every operation: derivatives to order 3 against finite differences.

use innerloop_engine::check::{check_derivatives, random};
use innerloop_engine::{Key, Tensor, Var, Window};

fn point(shapes: &[&[usize]]) -> Vec<Tensor> {
    shapes.iter().enumerate().map(|(i, s)| random(Key::new(5).at(0, i as u64), s, 0.7)).collect()
}

/// Derivatives to order 3 at a random point of the given shapes.
#[track_caller]
fn check(shapes: &[&[usize]], f: impl for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>) {
    check_derivatives(f, &point(shapes), 3, 1e-6).unwrap();
}

#[test]
fn elementwise() {
    check(&[&[7]], |v| vec![-v[0]]);
    check(&[&[7]], |v| vec![v[0].exp()]);
    check(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).log()]);
    check(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).sqrt()]);
    check(&[&[7]], |v| vec![(v[0] * v[0] + 1.0).recip()]);
    check(&[&[7]], |v| vec![v[0].tanh()]);
    check(&[&[7]], |v| vec![v[0].sin()]);
    check(&[&[7]], |v| vec![v[0].cos()]);
    check(&[&[7]], |v| vec![v[0].sigmoid()]);
    check(&[&[7]], |v| vec![v[0].relu() * v[0]]);
    check(&[&[7]], |v| vec![v[0].step() * v[0], v[0].sign() * v[0]]);
    check(&[&[7], &[7]], |v| vec![v[0] + v[1], v[0] - v[1], v[0] * v[1]]);
    check(&[&[7], &[7]], |v| vec![v[0] / (v[1] * v[1] + 1.0)]);
}

#[test]
fn broadcasting() {
    check(&[&[2, 3, 4], &[4]], |v| vec![v[0] * v[1] * v[0]]);
    check(&[&[2, 3, 4], &[3, 1]], |v| vec![v[0] * v[1] * v[0]]);
    check(&[&[2, 3, 4], &[2, 1, 4]], |v| vec![v[0] * v[1] * v[0]]);
    check(&[&[2, 3, 4], &[]], |v| vec![v[0] * v[1] * v[1]]);
    check(&[&[2, 3, 4, 2], &[3, 1, 2]], |v| vec![v[0] * v[1] * v[1]]);
    check(&[&[2, 3, 2, 3, 2], &[2, 1, 2, 1, 2]], |v| vec![(v[0] * v[1]).tanh()]);
    check(&[&[2, 3, 4], &[1, 3, 1], &[2, 1, 4]], |v| vec![v[0] * v[1] * v[2]]);
}

#[test]
fn sums() {
    for to in [&[][..], &[4], &[3, 1], &[2, 1, 4], &[2, 1, 1], &[1, 3, 1]] {
        check(&[&[2, 3, 4]], |v| vec![(v[0] * v[0] * v[0]).sum_to(to)]);
    }
    check(&[&[2, 3, 2, 3, 2]], |v| vec![(v[0] * v[0] * v[0]).sum_to(&[2, 1, 2, 1, 2])]);
    check(&[&[2, 3]], |v| vec![v[0].tanh().mean() * v[0].sum(), v[0].dot(v[0].exp())]);
}

#[test]
fn shapes() {
    check(&[&[2, 3, 4]], |v| vec![v[0].reshape(&[6, 4]).tanh()]);
    check(&[&[2, 3, 4]], |v| vec![v[0].transpose(&[2, 0, 1]).tanh()]);
    check(&[&[4, 5]], |v| vec![v[0].slice(&[1, 2], &[2, 3]).tanh()]);
    check(&[&[2, 3]], |v| vec![(v[0].pad(&[1, 2], &[4, 6]) + 0.3).tanh()]);
    check(&[&[2, 3], &[2, 1], &[2, 2]], |v| {
        vec![v[0].graph().concat(&[v[0], v[1], v[2], v[0]], 1).tanh()]
    });
    check(&[&[2, 3], &[1, 3]], |v| vec![v[0].graph().concat(v, 0).tanh()]);
}

#[test]
fn matrix_products() {
    check(&[&[3, 4], &[4, 2]], |v| vec![v[0].matmul(v[1]).tanh()]);
    check(&[&[3, 4], &[2, 4]], |v| vec![v[0].matmul_t(v[1]).tanh()]);
    check(&[&[2, 3, 4], &[2, 4, 2]], |v| vec![v[0].matmul(v[1]).tanh()]);
    // Derivatives of derivatives visit every combination of transpositions.
    check(&[&[3, 3]], |v| vec![v[0].matmul(v[0]).matmul_t(v[0])]);
}

#[test]
fn convolutions() {
    let windows = [
        Window::square(3, 1, 1),
        Window::square(1, 1, 0),
        Window::square(2, 2, 0),
        Window { size: [3, 2], stride: [2, 3], pad: [[1, 0], [0, 2]] },
    ];
    for window in windows {
        let [kh, kw] = window.size;
        check(&[&[2, 5, 6, 2], &[kh, kw, 2, 3]], |v| vec![v[0].conv(v[1], window).tanh()]);
    }
    // A stride longer than the kernel leaves pixels that nothing reads.
    let sparse = Window::square(1, 3, 0);
    check(&[&[1, 5, 5, 9], &[1, 1, 9, 2]], |v| vec![v[0].conv(v[1], sparse).tanh()]);
    let same = Window::same(3, 2, [7, 6]);
    check(&[&[1, 7, 6, 9], &[3, 3, 9, 1]], |v| vec![v[0].conv(v[1], same).tanh()]);
}

#[test]
fn pooling() {
    for window in [Window::square(2, 2, 0), Window::square(3, 2, 1), Window::square(2, 1, 0)] {
        // Maxima must be far enough apart for a difference, so the point is not squeezed first.
        check(&[&[1, 5, 4, 1]], |v| vec![v[0].max_pool(window).tanh() * v[0].avg_pool(window)]);
        check(&[&[2, 5, 4, 3]], |v| vec![v[0].tanh().avg_pool(window) * 2.0]);
    }
}

#[test]
fn indices() {
    check(&[&[3, 4]], |v| vec![v[0].log_softmax()]);
    check(&[&[3, 4]], |v| vec![v[0].max_last() * v[0]]);
    check(&[&[3, 4]], |v| vec![v[0].argmax().one_hot(4) * v[0]]);
    // Indices that come from a value: 2, 0, 2, 1.
    check(&[&[3, 2]], |v| {
        let g = v[0].graph();
        let at = g.concat(&[g.full(&[1], 2.0), g.full(&[1], 0.0), g.full(&[1], 2.0), g.full(&[1], 1.0)], 0);
        vec![v[0].tanh().gather(at), (v[0] * v[0]).gather(at).scatter(at, 3)]
    });
}

#[test]
fn stopped_gradients() {
    let point = point(&[&[4]]);
    let stopped = check_derivatives(|v| vec![v[0] * v[0].stop_gradient()], &point, 1, 1e-6);
    assert!(stopped.is_err(), "a stopped gradient is not the whole derivative");
}

#[test]
fn the_checker_rejects_a_wrong_rule() {
    // tanh with the derivative of sin: forward and reverse agree, the difference does not.
    let point = point(&[&[4]]);
    let result = check_derivatives(
        |v| {
            let x = v[0];
            let hidden = x.stop_gradient();
            vec![hidden.tanh() + x.sin() - hidden.sin()]
        },
        &point,
        1,
        1e-6,
    );
    assert!(result.unwrap_err().contains("difference"));
    let kink = check_derivatives(|v| vec![v[0].relu()], &[Tensor::from_f64(&[1], vec![0.0])], 1, 1e-6);
    assert!(kink.is_err(), "a kink has no derivative");
    let nan = check_derivatives(|v| vec![(v[0] - 9.0).log()], &point, 1, 1e-6);
    assert!(nan.is_err(), "NaN never passes");
}
