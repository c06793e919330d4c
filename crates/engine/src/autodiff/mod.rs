//! Derivatives as graph transformations: the results are ordinary values of the same graph, so a
//! derivative of a derivative needs nothing new.

mod jvp;
#[cfg(test)]
mod tests;
mod vjp;

use crate::graph::{Node, NodeId, Var};
use crate::params::Params;

/// Gradient of the scalar `y` with respect to each of `wrt`, which may be any values of the graph. Each of them counts
/// as an independent variable, even if one is computed from another: the derivatives are partial. A value that `y` does
/// not depend on gets zeros.
///
/// The sweep visits only the nodes between `wrt` and `y`.
#[track_caller]
pub fn grad<'g>(y: Var<'g>, wrt: &[Var<'g>]) -> Vec<Var<'g>> {
    assert!(
        y.shape().is_empty(),
        "gradient of a value of shape {:?}; it must be a scalar",
        y.shape()
    );
    vjp(&[y], &[y.full_like(1.0)], wrt)
}

/// [`grad`] with respect to every parameter, under the parameters' names.
#[track_caller]
pub fn grad_params<'g>(y: Var<'g>, wrt: &Params<Var<'g>>) -> Params<Var<'g>> {
    wrt.with_values(grad(y, wrt.values()))
}

/// Reverse mode: `Σ_i (∂ys_i/∂wrt_j)ᵀ cotangents_i` for each `wrt_j`.
#[track_caller]
pub fn vjp<'g>(ys: &[Var<'g>], cotangents: &[Var<'g>], wrt: &[Var<'g>]) -> Vec<Var<'g>> {
    assert_eq!(ys.len(), cotangents.len(), "one cotangent per output");
    let Some(first) = ys.first() else {
        return wrt.iter().map(|x| x.full_like(0.0)).collect();
    };
    let graph = first.graph();
    let active = depends_on(&graph.nodes(), wrt);
    let mut is_variable = vec![false; active.len()];
    wrt.iter().for_each(|x| is_variable[x.id as usize] = true);
    let mut cotangent: Vec<Option<Var<'g>>> = vec![None; active.len()];
    let add = |slot: &mut Option<Var<'g>>, g: Var<'g>| {
        *slot = Some(match *slot {
            Some(sum) => sum + g,
            None => g,
        });
    };
    for (y, &g) in ys.iter().zip(cotangents) {
        assert_eq!(y.shape(), g.shape(), "cotangent and output differ in shape");
        add(&mut cotangent[y.id as usize], g);
    }
    let top = ys.iter().map(|y| y.id as usize).max().unwrap_or(0);
    for id in (0..=top).rev() {
        // A variable's cotangent is complete here; nothing flows past it.
        if !active[id] || is_variable[id] {
            continue;
        }
        let Some(g) = cotangent[id] else { continue };
        let y = Var { graph, id: id as NodeId };
        vjp::pull_back(y, g, |x, gx| {
            if active[x.id as usize] {
                add(&mut cotangent[x.id as usize], gx);
            }
        });
    }
    wrt.iter()
        .map(|x| cotangent.get(x.id as usize).copied().flatten().unwrap_or(x.full_like(0.0)))
        .collect()
}

/// Forward mode: `Σ_j (∂ys_i/∂wrt_j) tangents_j` for each `ys_i`.
#[track_caller]
pub fn jvp<'g>(ys: &[Var<'g>], wrt: &[Var<'g>], tangents: &[Var<'g>]) -> Vec<Var<'g>> {
    assert_eq!(wrt.len(), tangents.len(), "one tangent per input");
    let Some(first) = ys.first() else { return Vec::new() };
    let graph = first.graph();
    let active = depends_on(&graph.nodes(), wrt);
    let ids: Vec<NodeId> = ys.iter().map(|y| y.id).collect();
    let mut tangent: Vec<Option<Var<'g>>> = vec![None; active.len()];
    for (x, &t) in wrt.iter().zip(tangents) {
        assert_eq!(x.shape(), t.shape(), "tangent and input differ in shape");
        let so_far = &mut tangent[x.id as usize];
        *so_far = Some(so_far.map_or(t, |sum| sum + t));
    }
    let order = crate::graph::live(&graph.nodes(), &ids);
    for id in order {
        if active[id as usize] && tangent[id as usize].is_none() {
            let t = jvp::push_forward(Var { graph, id }, |x| tangent[x.id as usize]);
            tangent[id as usize] = t;
        }
    }
    ys.iter().map(|y| tangent[y.id as usize].unwrap_or(y.full_like(0.0))).collect()
}

/// Hessian-vector product and mixed products of the scalar `y` in one sweep, forward over reverse:
/// for each `of_j` the value `Σ_i (∂²y/∂of_j ∂wrt_i) u_i`.
///
/// With `of = wrt` this is `H u`. With `of` some other value `η`, symmetry makes it
/// `[∂(∇_wrt y)/∂η]ᵀ u`, the product that learned rates and meta-networks need.
#[track_caller]
pub fn hvp<'g>(y: Var<'g>, wrt: &[Var<'g>], u: &[Var<'g>], of: &[Var<'g>]) -> Vec<Var<'g>> {
    jvp(&grad(y, of), wrt, u)
}

/// For every node whether it is, or depends on, one of `roots`.
fn depends_on(nodes: &[Node], roots: &[Var<'_>]) -> Vec<bool> {
    let mut active = vec![false; nodes.len()];
    roots.iter().for_each(|x| active[x.id as usize] = true);
    for id in 0..nodes.len() {
        if !active[id] {
            let mut any = false;
            nodes[id].op.for_operands(|x| any |= active[x as usize]);
            active[id] = any;
        }
    }
    active
}
