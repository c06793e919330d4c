//! The printed form of a graph.

use innerloop_engine::{Graph, grad};

#[test]
fn graph_text() {
    let graph = Graph::new();
    let (x, w) = (graph.input("x", &[4, 3]), graph.input("w", &[2, 3]));
    let _unused = x.exp();
    let y = x.matmul_t(w).tanh();
    let loss = (y * y).mean();
    let text = graph.print(&[loss, grad(loss, &[w])[0]]);
    // The mean's factor 1/8 appears twice: in the loss, and spread over [4, 2] in its derivative.
    let want = "\
%0 [4, 3] = input#0
%1 [2, 3] = input#1
%3 [4, 2] = matmul_tb %0 %1
%4 [4, 2] = tanh %3
%5 [4, 2] = mul %4 %4
%6 [] = sum_to %5
%7 [] = const 0.125
%8 [] = mul %6 %7
%10 [4, 2] = const 0.125
%11 [4, 2] = mul %4 %10
%12 [4, 2] = add %11 %11
%13 [4, 2] = const 1
%14 [4, 2] = sub %13 %5
%15 [4, 2] = mul %12 %14
%17 [2, 3] = matmul_ta %15 %0
return %8 %17
";
    assert_eq!(text, want, "\n{text}");
}
