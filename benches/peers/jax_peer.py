"""JAX's fastest meta-learning on a CPU: a rival that innerloop is timed against.

One jitted function per meta-iteration: tasks by lax.scan (or vmap), convolutions as matrix products of
concatenated slices, Adam from optax. lax.conv is not used: on a CPU it is many times slower inside scan or vmap.

    python jax_peer.py --time --workload W2-1 --processes 2
    python jax_peer.py --time --workload W1-1 --vmap --fuse 50
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import harness
from workloads import DATA, Problem, Workload

Array = jax.Array
Params = dict[str, Array]
Task = tuple[Array, Array, Array, Array]
Net = Callable[[Params, Array], Array]


def mlp(params: Params, x: Array) -> Array:
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        x = x @ params[f"fc{layer}.weight"].T + params[f"fc{layer}.bias"]
        if layer < layers:
            x = jax.nn.relu(x)
    return x


def conv3x3(x: Array, weight: Array) -> Array:
    """im2col on NHWC images: the 3x3 neighbourhood of each pixel as a row, times the filters as a matrix."""
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)
    return patches @ weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def batch_norm(x: Array, scale: Array, shift: Array) -> Array:
    centred = x - x.mean((0, 1, 2))
    variance = jnp.square(centred).mean((0, 1, 2))
    return centred * (lax.rsqrt(variance + 1e-5) * scale) + shift


def max_pool(x: Array) -> Array:
    # Not reshape(...).max((2, 4)): under jit its second-order gradient is wrong (jaxlib 0.12.0.1), even NaN.
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    upper, lower = (jnp.maximum(x[:, :, row, :, 0], x[:, :, row, :, 1]) for row in (0, 1))
    return jnp.maximum(upper, lower)


def conv4(params: Params, x: Array, pool_first: bool = False) -> Array:
    for block in range(1, 5):
        x = conv3x3(x, params[f"conv{block}.weight"]) + params[f"conv{block}.bias"]
        x = batch_norm(x, params[f"bn{block}.weight"], params[f"bn{block}.bias"])
        # ReLU is monotone, so it commutes with max-pooling; after it, it has a quarter of the work.
        x = jax.nn.relu(max_pool(x)) if pool_first else max_pool(jax.nn.relu(x))
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return x @ params["head.weight"].T + params["head.bias"]


def mse(output: Array, y: Array) -> Array:
    return jnp.square(output - y).mean()


def cross_entropy(logits: Array, y: Array) -> Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


def task_gradient(net: Net, workload: Workload, inner: str, remat: bool) -> Callable[[Params, Task], tuple[Array, Params]]:
    loss_function = mse if workload.loss == "mse" else cross_entropy
    exact = workload.algorithm == "maml"

    def loss(params: Params, x: Array, y: Array) -> Array:
        return loss_function(net(params, x), y)

    def step(params: Params, xs: Array, ys: Array) -> Params:
        grads = jax.grad(loss)(params, xs, ys)
        return jax.tree.map(lambda p, g: p - workload.lr * g, params, grads)

    if remat:
        step = jax.checkpoint(step)

    def adapt(params: Params, xs: Array, ys: Array) -> Params:
        if inner == "scan":
            return lax.scan(lambda p, _: (step(p, xs, ys), None), params, length=workload.steps)[0]
        for _ in range(workload.steps):
            params = step(params, xs, ys)
        return params

    def solve(params: Params, task: Task) -> tuple[Array, Params]:
        xs, ys, xq, yq = task
        if exact:
            return jax.value_and_grad(lambda p: loss(adapt(p, xs, ys), xq, yq))(params)
        fast = adapt(params, xs, ys)
        if workload.algorithm == "fomaml":
            return jax.value_and_grad(loss)(fast, xq, yq)
        return jnp.zeros(()), jax.tree.map(jnp.subtract, params, fast)

    return solve


def meta_gradient(solve: Callable, vmapped: bool, all_tasks: int) -> Callable[[Params, Task], tuple[Array, Params]]:
    """Loss and gradient of these tasks' share of the mean over `all_tasks`."""

    def add(total, task_and_params):
        return jax.tree.map(jnp.add, total, task_and_params)

    def meta_grad(params: Params, tasks: Task) -> tuple[Array, Params]:
        if vmapped:
            result = jax.tree.map(lambda a: a.sum(0), jax.vmap(solve, (None, 0))(params, tasks))
        else:
            zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
            result = lax.scan(lambda total, task: (add(total, solve(params, task)), None), zero, tasks)[0]
        return jax.tree.map(lambda a: a / all_tasks, result)

    return meta_grad


class JaxPeer:
    def __init__(self, options: argparse.Namespace, problem: Problem, team: harness.Team):
        if options.dtype == "f64":
            jax.config.update("jax_enable_x64", True)
        self.workload, self.team = problem.workload, team
        self.iterations_per_step = options.fuse if options.time else 1
        net = mlp if self.workload.net == "mlp" else lambda p, x: conv4(p, x, options.pool_first)
        meta_grad = meta_gradient(task_gradient(net, self.workload, options.inner, options.remat), options.vmap,
                                  self.workload.tasks)
        adam = optax.adam(1e-3)
        self.batches = [self.to_arrays(batch) for batch in problem.batches]
        problem.batches.clear()
        start = np.concatenate([p.ravel() for p in problem.params.values()])
        if team.rank == 0:
            team.params[:] = start
        self.query_loss = 0.0
        if options.processes > 1 or options.grads:
            self.gradient_function = jax.jit(lambda vector, tasks: self.flat(*meta_grad(self.split(vector), tasks)))

            def update(vector, state, grads):
                changes, state = adam.update(grads.sum(0), state)
                return optax.apply_updates(vector, changes), state

            self.update_function = jax.jit(update, donate_argnums=1)
            self.state = adam.init(jnp.asarray(start, team.params.dtype))
            return

        def iteration(carry, tasks):
            params, state = carry
            query_loss, grads = meta_grad(params, tasks)
            changes, state = adam.update(grads, state)
            return (optax.apply_updates(params, changes), state), query_loss

        def fused(carry, batches):
            carry, losses = lax.scan(iteration, carry, batches)
            return carry, losses[-1]

        self.step_function = jax.jit(iteration if options.fuse == 1 else fused, donate_argnums=0)
        if options.fuse > 1:
            turn = [self.batches[i % len(self.batches)] for i in range(options.fuse)]
            self.batches = [tuple(jnp.stack(arrays) for arrays in zip(*turn))]
        params = jax.tree.map(jnp.array, problem.params)
        self.carry = (params, adam.init(params))

    def to_arrays(self, batch: dict[str, np.ndarray]) -> Task:
        arrays = []
        for name in DATA:
            a = batch[name]
            if a.ndim == 5:
                a = np.moveaxis(a, 2, -1)
            arrays.append(jnp.array(a, self.team.params.dtype if a.dtype.kind == "f" else jnp.int32))
        return tuple(arrays)

    def split(self, vector: Array) -> Params:
        params, at = {}, 0
        for name, shape in self.workload.shapes.items():
            size = int(np.prod(shape))
            params[name], at = vector[at : at + size].reshape(shape), at + size
        return params

    def flat(self, query_loss: Array, grads: Params) -> tuple[Array, Array]:
        return query_loss, jnp.concatenate([grads[name].ravel() for name in self.workload.shapes])

    def gradient(self, batch: int) -> None:
        query_loss, grads = self.gradient_function(self.team.params, self.batches[batch % len(self.batches)])
        self.team.grads[self.team.rank] = grads
        self.query_loss = query_loss

    def gradients_in_order(self) -> None:
        pass

    def update(self) -> None:
        # The shared memory may be read in place, so the result must be complete before that memory is written.
        params, self.state = self.update_function(self.team.params, self.state, self.team.grads)
        self.team.params[:] = params

    def step(self, batch: int) -> None:
        self.carry, self.query_loss = self.step_function(self.carry, self.batches[batch % len(self.batches)])
        jax.block_until_ready(self.carry)


def add_options(cli: argparse.ArgumentParser) -> None:
    cli.add_argument("--vmap", action="store_true", help="all tasks at once instead of one after another")
    cli.add_argument("--fuse", type=int, default=1, metavar="N", help="meta-iterations per call (one process only)")
    cli.add_argument("--inner", choices=["unrolled", "scan"], default="unrolled", help="the loop over inner steps")
    cli.add_argument("--pool-first", action="store_true", help="pool before ReLU (Conv4)")
    cli.add_argument("--remat", action="store_true", help="recompute each inner step to save memory")


if __name__ == "__main__":
    options = harness.parse(__doc__, add_options)
    if options.fuse > 1 and options.processes > 1:
        raise SystemExit("--fuse is for one process")
    harness.run(options, f"jax {jax.__version__}", JaxPeer)
