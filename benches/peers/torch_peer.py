"""PyTorch's fastest meta-learning on a CPU: a rival that innerloop is timed against.

One meta-iteration adapts every task, differentiates through the adaptation and steps Adam, with the data in memory.
glibc's malloc returns large blocks to the system and then faults them in again, so PyTorch is fastest with tcmalloc
preloaded (race.py does this):

    LD_PRELOAD=libtcmalloc_minimal.so.4 python torch_peer.py --time --workload W2-1 --processes 2
"""

import argparse
import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes besides the measured one

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import harness
from workloads import DATA, Problem, Workload

Params = dict[str, Tensor]
Net = Callable[[Params, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Task = tuple[Tensor, Tensor, Tensor, Tensor]
Solved = tuple[list[Tensor], Tensor]  # gradients and query loss of a task


def mlp(params: Params, x: Tensor) -> Tensor:
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        x = F.linear(x, params[f"fc{layer}.weight"], params[f"fc{layer}.bias"])
        if layer < layers:
            x = F.relu(x)
    return x


def column_sums(x: Tensor) -> Tensor:
    return torch.mv(x.t(), x.new_ones(1).expand(len(x)).contiguous())


class Norm(torch.autograd.Function):
    """Batch norm of [images * pixels, channels], for channels-last images.

    PyTorch composes the second derivative of its batch norm from many passes, and its sums over channels-last pixels
    are slow. Here both derivatives take a few passes, with sums as matrix-vector products.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y, mean, rstd = torch.native_batch_norm(x, scale, shift, None, None, True, 0.0, 1e-5)
        ctx.save_for_backward(x, scale, mean, rstd)
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return NormBackward.apply(g, *ctx.saved_tensors)


class NormBackward(torch.autograd.Function):
    """Gradients scale rstd P(g), sum(g n) and sum(g), with n the normalised x and P(g) = g - mean(g) - n mean(g n)."""

    @staticmethod
    def forward(ctx, g: Tensor, x: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sum_g = column_sums(g)
        sum_gn = rstd * (column_sums(g * x) - mean * sum_g)
        ctx.save_for_backward(g, x, scale, mean, rstd, sum_g, sum_gn)
        a, b = scale * rstd, -scale * rstd * rstd * sum_gn / len(x)
        return combine((a, g), (b, x), -b * mean - a * sum_g / len(x)), sum_gn, sum_g

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v: Tensor, v_scale: Tensor, v_shift: Tensor) -> tuple:
        g, x, scale, mean, rstd, sum_g, sum_gn = ctx.saved_tensors
        m, a = len(x), scale * rstd
        sum_v = column_sums(v)
        product = v * x
        sum_vn = rstd * (column_sums(product) - mean * sum_v)
        inner = column_sums(torch.mul(v, g, out=product)) - (sum_v * sum_g + sum_vn * sum_gn) / m  # v . P(g)
        # With respect to g: a P(v) + v_scale n + v_shift, with n = rstd (x - mean).
        n_by_g = v_scale - a * sum_vn / m
        by_g = combine((a, v), (n_by_g * rstd, x), v_shift - a * sum_v / m - n_by_g * rstd * mean)
        # With respect to n: h = c_v v + c_g g; to x: rstd P(h), and the part through rstd.
        c_v, c_g = -a * sum_gn / m, v_scale - a * sum_vn / m
        c_n = -rstd * (c_v * sum_vn + c_g * sum_gn) / m - scale * inner * rstd * rstd / m
        constant = -rstd * (c_v * sum_v + c_g * sum_g) / m - c_n * rstd * mean
        by_x = combine((rstd * c_v, v), (c_n * rstd, x), constant).addcmul_(g, rstd * c_g)
        return by_g, by_x, rstd * inner, None, None


def combine(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], constant: Tensor) -> Tensor:
    """Two tensors, each times a factor per channel, plus a constant per channel."""
    return torch.addcmul(constant, one[0], one[1]).addcmul_(two[0], two[1])


def own_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    n, c, h, w = x.shape
    y = Norm.apply(x.permute(0, 2, 3, 1).reshape(-1, c), scale, shift)
    return y.view(n, h, w, c).permute(0, 3, 1, 2)


def torch_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)


def conv4(params: Params, x: Tensor, pool_first: bool = False, norm: Callable[..., Tensor] = torch_norm) -> Tensor:
    for block in range(1, 5):
        x = F.conv2d(x, params[f"conv{block}.weight"], params[f"conv{block}.bias"], padding=1)
        x = norm(x, params[f"bn{block}.weight"], params[f"bn{block}.bias"])
        # ReLU is monotone, so it commutes with max-pooling; after it, it has a quarter of the work.
        x = F.relu(F.max_pool2d(x, 2)) if pool_first else F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), params["head.weight"], params["head.bias"])


def sgd(params: Params, grads: tuple[Tensor, ...], lr: float) -> Params:
    return {name: torch.sub(p, g, alpha=lr) for (name, p), g in zip(params.items(), grads)}


def leaves(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def first_order_path(net: Net, loss: Loss, workload: Workload, params: Params, task: Task) -> list[Params]:
    """The weights before each inner step and after the last, each without a graph."""
    path = [params]
    for _ in range(workload.steps):
        grads = torch.autograd.grad(loss(net(path[-1], task[0]), task[1]), list(path[-1].values()))
        with torch.no_grad():
            path.append(leaves(sgd(path[-1], grads, workload.lr)))
    return path


def at_query(net: Net, loss: Loss, fast: Params, wrt: Params, task: Task) -> Solved:
    query_loss = loss(net(fast, task[2]), task[3])
    return list(torch.autograd.grad(query_loss, list(wrt.values()))), query_loss.detach()


def maml_unrolled(net: Net, loss: Loss, workload: Workload, params: Params, task: Task) -> Solved:
    fast = params
    for _ in range(workload.steps):
        grads = torch.autograd.grad(loss(net(fast, task[0]), task[1]), list(fast.values()), create_graph=True)
        fast = sgd(fast, grads, workload.lr)
    return at_query(net, loss, fast, params, task)


def maml_remat(net: Net, loss: Loss, workload: Workload, params: Params, task: Task) -> Solved:
    """Walks back over the stored weights, rebuilding each inner gradient's graph: only one is alive at a time."""
    *path, fast = first_order_path(net, loss, workload, params, task)
    adjoint, query_loss = at_query(net, loss, fast, fast, task)
    for weights in reversed(path):
        wrt = list(weights.values())
        grads = torch.autograd.grad(loss(net(weights, task[0]), task[1]), wrt, create_graph=True)
        hvp = torch.autograd.grad(grads, wrt, adjoint)
        torch._foreach_sub_(adjoint, hvp, alpha=workload.lr)
    return adjoint, query_loss


def fomaml(net: Net, loss: Loss, workload: Workload, params: Params, task: Task) -> Solved:
    fast = first_order_path(net, loss, workload, params, task)[-1]
    return at_query(net, loss, fast, fast, task)


def reptile(net: Net, loss: Loss, workload: Workload, params: Params, task: Task) -> Solved:
    fast = first_order_path(net, loss, workload, params, task)[-1]
    with torch.no_grad():
        return [p - f for p, f in zip(params.values(), fast.values())], params["head.bias"].new_zeros(())


def loop_meta_grad(solve: Callable[[Params, Task], Solved]) -> Callable[[Params, Task, list[Tensor]], Tensor]:
    """Task by task, freeing each before the next: the fastest eager form for convolutions.

    Not vmap: with F.batch_norm its second-order gradient is wrong (PyTorch 2.15.0), and with a hand-written batch norm
    it is slower than this loop.
    """

    def meta_grad(params: Params, tasks: Task, totals: list[Tensor]) -> Tensor:
        torch._foreach_zero_(totals)
        total_loss = torch.zeros(())
        for task in zip(*tasks):
            grads, query_loss = solve(params, task)
            torch._foreach_add_(totals, grads)
            total_loss += query_loss
        return total_loss

    return meta_grad


def vmap_meta_grad(net: Net, loss: Loss, workload: Workload,
                   compiled: bool) -> Callable[[Params, Task, list[Tensor]], Tensor]:
    """All tasks at once: the fastest form for tasks so small that dispatch dominates."""

    def support_loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return loss(net(params, x), y)

    def task_loss(params: Params, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        for _ in range(workload.steps):
            grads = torch.func.grad(support_loss)(params, xs, ys)
            params = {name: p - workload.lr * grads[name] for name, p in params.items()}
        return support_loss(params, xq, yq)

    def meta_loss(params: Params, *tasks: Tensor) -> Tensor:
        return torch.func.vmap(task_loss, in_dims=(None, 0, 0, 0, 0))(params, *tasks).sum()

    function = torch.func.grad_and_value(meta_loss)
    if compiled:
        # A compiled graph can't be differentiated twice by torch.autograd; torch.func nests inside it.
        function = torch.compile(function, fullgraph=True)

    def meta_grad(params: Params, tasks: Task, totals: list[Tensor]) -> Tensor:
        grads, value = function(params, *tasks)
        torch._foreach_copy_(totals, list(grads.values()))
        return value

    return meta_grad


class TorchPeer:
    iterations_per_step = 1

    def __init__(self, options: argparse.Namespace, problem: Problem, team: harness.Team):
        torch.set_num_threads(options.threads)
        self.workload, self.team = problem.workload, team
        loss = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}[self.workload.loss]
        net = mlp if self.workload.net == "mlp" else partial(
            conv4, pool_first=options.pool_first, norm=own_norm if options.own_norm else torch_norm)
        self.channels_last = options.channels_last
        self.params_vector = torch.from_numpy(team.params)
        params, self.totals = self.views(self.params_vector), list(self.views(torch.from_numpy(team.grads[team.rank])).values())
        if team.rank == 0:
            for name, value in problem.params.items():
                params[name].copy_(torch.from_numpy(value))
        self.optimizer = torch.optim.Adam([self.params_vector], lr=1e-3, fused=True)
        self.batches = [self.to_tensors(batch, torch.from_numpy(team.params).dtype) for batch in problem.batches]
        problem.batches.clear()
        if options.vmap or options.compile:
            if self.workload.net != "mlp" or self.workload.algorithm != "maml":
                raise SystemExit("--vmap is for MAML of an MLP: with F.batch_norm it is wrong")
            self.params = {name: p.detach() for name, p in params.items()}
            self.meta_grad = vmap_meta_grad(net, loss, self.workload, options.compile)
        else:
            algorithms = {"maml": maml_remat if options.remat else maml_unrolled, "fomaml": fomaml, "reptile": reptile}
            self.params = leaves(params)
            self.meta_grad = loop_meta_grad(partial(algorithms[self.workload.algorithm], net, loss, self.workload))
        self.query_loss = 0.0

    def views(self, vector: Tensor) -> Params:
        """Views of the parameters in a vector; channels-last keeps a filter's channels together."""
        result, at = {}, 0
        for name, shape in self.workload.shapes.items():
            size = int(np.prod(shape))
            part, at = vector[at : at + size], at + size
            if self.channels_last and len(shape) == 4:
                o, i, h, w = shape
                result[name] = part.view(o, h, w, i).permute(0, 3, 1, 2)
            else:
                result[name] = part.view(shape)
        return result

    def to_tensors(self, batch: dict[str, np.ndarray], dtype: torch.dtype) -> Task:
        tensors = []
        for name in DATA:
            a = torch.from_numpy(batch[name])
            a = a.to(dtype) if a.is_floating_point() else a
            # The layout refers to the four axes of a task's images, not to the batch of tasks.
            tensors.append(a.movedim(2, -1).contiguous().movedim(-1, 2) if self.channels_last and a.ndim == 5 else a)
        return tuple(tensors)

    def gradient(self, batch: int) -> None:
        value = self.meta_grad(self.params, self.batches[batch % len(self.batches)], self.totals)
        torch._foreach_div_(self.totals, self.workload.tasks)
        self.query_loss = value.detach() / self.workload.tasks

    def gradients_in_order(self) -> None:
        """Puts filters back into the order of the file format."""
        for name, total in zip(self.workload.shapes, self.totals):
            if total.ndim == 4 and self.channels_last:
                total.permute(0, 2, 3, 1).view(-1).copy_(total.contiguous().view(-1))

    def update(self) -> None:
        grads = torch.from_numpy(self.team.grads)
        self.params_vector.grad = grads[0] if len(grads) == 1 else grads.sum(0)
        self.optimizer.step()

    def step(self, batch: int) -> None:
        self.gradient(batch)
        self.update()


def add_options(cli: argparse.ArgumentParser) -> None:
    cli.add_argument("--vmap", action="store_true", help="all tasks at once (MLP)")
    cli.add_argument("--compile", action="store_true", help="the same with torch.compile (MLP)")
    cli.add_argument("--channels-last", action="store_true", help="image layout (Conv4)")
    cli.add_argument("--pool-first", action="store_true", help="pool before ReLU (Conv4)")
    cli.add_argument("--own-norm", action="store_true", help="batch norm with hand-written derivatives (channels-last)")
    cli.add_argument("--remat", action="store_true", help="recompute each inner gradient to save memory")


if __name__ == "__main__":
    options = harness.parse(__doc__, add_options)
    harness.run(options, f"torch {torch.__version__}", TorchPeer)
