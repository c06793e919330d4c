//! Running again gives the same bits, whatever the memory held before.

use innerloop_engine::{Dtype, Graph, Isa, Program, Tensor, Var, Workspace, grad, hvp};

use crate::nets::{Net, conv_net, mlp};

/// Loss, gradient and Hessian-vector product.
fn program(net: &Net) -> Program {
    let graph = Graph::new();
    let (parameters, loss) = net.build(&graph);
    let u: Vec<Var<'_>> = parameters.iter().map(|p| graph.input("u", &p.shape())).collect();
    let mut outputs = vec![loss];
    outputs.extend(grad(loss, &parameters));
    outputs.extend(hvp(loss, &parameters, &u, &parameters));
    Program::compile(&graph, &outputs)
}

fn run(program: &Program, workspace: &mut Workspace, inputs: &[Tensor]) -> Vec<u64> {
    inputs.iter().enumerate().for_each(|(i, x)| workspace.set(i, x));
    program.run(workspace);
    let outputs = (0..program.n_outputs()).map(|i| workspace.output(i));
    outputs.flat_map(|x| x.iter().map(f64::to_bits).collect::<Vec<_>>()).collect()
}

#[test]
fn a_run_leaves_nothing_behind() {
    for net in [mlp(), conv_net()] {
        // Compiling is as repeatable as running.
        let (program, again) = (program(&net), program(&net));
        let mut a = net.inputs();
        a.extend(net.direction(1));
        let b: Vec<Tensor> = a
            .iter()
            .map(|x| Tensor::from_f64(x.shape(), x.iter().map(|x| 1.0 - x).collect()))
            .collect();
        let nan: Vec<Tensor> =
            a.iter().map(|x| Tensor::full(Dtype::F64, x.shape(), f64::NAN)).collect();
        for dtype in [Dtype::F32, Dtype::F64] {
            for isa in [Isa::Portable, Isa::detect()] {
                let mut workspace = program.workspace_for(dtype, isa);
                let first = run(&program, &mut workspace, &a);
                assert!(first.iter().all(|bits| f64::from_bits(*bits).is_finite()), "{}", net.name);
                let between = run(&program, &mut workspace, &b);
                assert_ne!(first, between, "{}: other inputs, other outputs", net.name);
                assert_eq!(
                    run(&program, &mut workspace, &a),
                    first,
                    "{}, {dtype}, {isa:?}",
                    net.name
                );
                let lost = run(&program, &mut workspace, &nan);
                assert!(f64::from_bits(lost[0]).is_nan(), "{}: NaN shows in the loss", net.name);
                assert_eq!(run(&program, &mut workspace, &a), first, "{}, after NaN", net.name);
                let mut fresh = again.workspace_for(dtype, isa);
                assert_eq!(run(&again, &mut fresh, &a), first, "{}, compiled again", net.name);
            }
        }
    }
}

/// One program serves many threads, each with its own workspace.
#[test]
fn threads_share_a_program() {
    let net = conv_net();
    let program = program(&net);
    let mut inputs = net.inputs();
    inputs.extend(net.direction(1));
    let once = || run(&program, &mut program.workspace(Dtype::F32), &inputs);
    let alone = once();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(once)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("a thread does not panic"), alone);
        }
    });
}
