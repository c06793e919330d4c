"""Exact second-order MAML in PyTorch at its best on a CPU: the peer that innerloop is timed against.

One meta-iteration = adapt every task, differentiate through the adaptation, one Adam step, with the
data in memory. Prints one JSON line. glibc's malloc gives large blocks back to the system and
faults them in again, so for PyTorch's best figures preload tcmalloc:

    LD_PRELOAD=libtcmalloc_minimal.so.4 python torch_maml.py --workload omniglot --tasks 32 --processes 2
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Params = dict[str, Tensor]
Tasks = tuple[Tensor, Tensor, Tensor, Tensor]  # xs, ys, xq, yq, each with the tasks first
MetaGrad = Callable[[Params, Tasks], tuple[list[Tensor], Tensor]]


class Workload(NamedTuple):
    net: str
    loss: str
    tasks: int
    inner_lr: float


WORKLOADS = {
    "sinusoid": Workload("mlp", "mse", 25, 0.01),  # 1-40-40-1, 10 support and 10 query points
    "omniglot": Workload("conv4", "cross_entropy", 32, 0.4),  # 5-way 1-shot, 28x28, 75 queries
}


def mlp(params: Params, x: Tensor) -> Tensor:
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        x = F.linear(x, params[f"fc{layer}.weight"], params[f"fc{layer}.bias"])
        if layer < layers:
            x = F.relu(x)
    return x


def conv4(params: Params, x: Tensor, pool_first: bool = False) -> Tensor:
    for block in range(1, 5):
        x = F.conv2d(x, params[f"conv{block}.weight"], params[f"conv{block}.bias"], padding=1)
        scale, shift = params[f"bn{block}.weight"], params[f"bn{block}.bias"]
        x = F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
        # ReLU is monotone, so it commutes with max-pooling and then has a quarter of the work.
        x = F.relu(F.max_pool2d(x, 2)) if pool_first else F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), params["head.weight"], params["head.bias"])


def loop_meta_grad(net: Callable, loss: Callable, inner_lr: float, adaptation_steps: int) -> MetaGrad:
    """Task by task, each freed before the next: the fastest eager form for convolutions.

    Not vmap: with F.batch_norm its second-order gradient is wrong (PyTorch 2.15.0), and with a
    batch norm written by hand it is slower than this loop.
    """

    def meta_grad(params: Params, tasks: Tasks) -> tuple[list[Tensor], Tensor]:
        wrt = list(params.values())
        total = [torch.zeros_like(p, requires_grad=False) for p in wrt]
        total_loss = wrt[0].new_zeros(())
        for xs, ys, xq, yq in zip(*tasks):
            fast = params
            for _ in range(adaptation_steps):
                support_loss = loss(net(fast, xs), ys)
                grads = torch.autograd.grad(support_loss, list(fast.values()), create_graph=True)
                fast = {name: p - inner_lr * g for (name, p), g in zip(fast.items(), grads)}
            query_loss = loss(net(fast, xq), yq)
            torch._foreach_add_(total, torch.autograd.grad(query_loss, wrt))
            total_loss += query_loss.detach()
        count = len(tasks[0])
        torch._foreach_div_(total, count)
        return total, total_loss / count

    return meta_grad


def vmap_meta_grad(net: Callable, loss: Callable, inner_lr: float, adaptation_steps: int,
                   compiled: bool) -> MetaGrad:
    """All tasks at once: the fastest form where a task is so small that dispatch is the cost."""

    def support_loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return loss(net(params, x), y)

    def task_loss(params: Params, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        for _ in range(adaptation_steps):
            grads = torch.func.grad(support_loss)(params, xs, ys)
            params = {name: p - inner_lr * grads[name] for name, p in params.items()}
        return support_loss(params, xq, yq)

    def meta_loss(params: Params, *tasks: Tensor) -> Tensor:
        return torch.func.vmap(task_loss, in_dims=(None, 0, 0, 0, 0))(params, *tasks).mean()

    function = torch.func.grad_and_value(meta_loss)
    if compiled:
        # A compiled graph can't be differentiated twice by torch.autograd; torch.func nests inside it.
        function = torch.compile(function, fullgraph=True)

    def meta_grad(params: Params, tasks: Tasks) -> tuple[list[Tensor], Tensor]:
        grads, value = function({name: p.detach() for name, p in params.items()}, *tasks)
        return list(grads.values()), value

    return meta_grad


def build(options: argparse.Namespace, net: str, loss: str) -> MetaGrad:
    loss_function = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}[loss]
    if net == "mlp":
        return vmap_meta_grad(mlp, loss_function, options.inner_lr, options.steps, options.compile)
    conv = partial(conv4, pool_first=options.pool_first)
    return loop_meta_grad(conv, loss_function, options.inner_lr, options.steps)


def initial_params(workload: str) -> Params:
    shapes: dict[str, tuple[int, ...]] = {}
    if workload == "sinusoid":
        for layer, (inputs, outputs) in enumerate(((1, 40), (40, 40), (40, 1)), start=1):
            shapes |= {f"fc{layer}.weight": (outputs, inputs), f"fc{layer}.bias": (outputs,)}
    else:
        for block in range(1, 5):
            shapes |= {f"conv{block}.weight": (64, 1 if block == 1 else 64, 3, 3), f"conv{block}.bias": (64,)}
            shapes |= {f"bn{block}.weight": (64,), f"bn{block}.bias": (64,)}
        shapes |= {"head.weight": (5, 64), "head.bias": (5,)}
    params: Params = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            # The spread of nn.Linear's default; He's makes five steps diverge on the sinusoid.
            params[name] = torch.randn(shape) / math.sqrt(3 * math.prod(shape[1:]))
        else:
            params[name] = (torch.ones if name.startswith("bn") and "weight" in name else torch.zeros)(shape)
    return params


def make_tasks(workload: str, count: int) -> Tasks:
    if workload == "sinusoid":
        x = torch.empty(2, count, 10, 1).uniform_(-5, 5)
        amplitude = torch.empty(count, 1, 1).uniform_(0.1, 5)
        y = amplitude * torch.sin(x - torch.empty(count, 1, 1).uniform_(0, math.pi))
        return x[0], y[0], x[1], y[1]
    classes = torch.randn(count, 5, 1, 28, 28)
    y = torch.arange(5).repeat(count, 1)
    xq, yq = classes.repeat_interleave(15, dim=1), y.repeat_interleave(15, dim=1)
    return classes, y, xq + 0.5 * torch.randn_like(xq), yq


def peak_rss_mib() -> float:
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def worker(rank: int, options: argparse.Namespace, params: Params, totals: list[Tensor], barrier, rss) -> None:
    """A further process with its share of the tasks, which hands back its gradient in `totals`."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed + rank)
    # Views of the parameters that the first process updates in place.
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    meta_grad, batches = build(options, options.net, options.loss), share(options, rank)
    for iteration in range(options.warm_up + options.repetitions):
        barrier.wait()
        tasks = batches[iteration % len(batches)]
        torch._foreach_copy_(totals, scale(meta_grad(params, tasks)[0], len(tasks[0]) / options.tasks))
        barrier.wait()
    rss.value = peak_rss_mib()


def share(options: argparse.Namespace, rank: int) -> list[Tasks]:
    """One process's tasks of a few meta-batches, all in memory, to be used in turn."""
    first, end = (options.tasks * r // options.processes for r in (rank, rank + 1))
    batches = [make_tasks(options.workload, end - first) for _ in range(4)]
    return [channels_last_tasks(b) for b in batches] if options.channels_last else batches


def scale(grads: list[Tensor], factor: float) -> list[Tensor]:
    if factor != 1:
        torch._foreach_mul_(grads, factor)
    return grads


def channels_last_tasks(tasks: Tasks) -> Tasks:
    """The network sees one task's images at a time: four axes, channels innermost."""
    return tuple(a.movedim(2, -1).contiguous().movedim(-1, 2) if a.ndim == 5 else a for a in tasks)


def channels_last_params(params: Params) -> Params:
    return {name: p.contiguous(memory_format=torch.channels_last) if p.ndim == 4 else p
            for name, p in params.items()}


def benchmark(options: argparse.Namespace) -> dict[str, object]:
    params = initial_params(options.workload)
    if options.channels_last:
        params = channels_last_params(params)
    totals: list[list[Tensor]] = []
    workers, rss = [], []
    if options.processes > 1:
        context = mp.get_context("spawn")
        barrier = context.Barrier(options.processes, timeout=600)  # not for ever if a worker dies
        for p in params.values():
            p.share_memory_()
        for rank in range(1, options.processes):
            totals.append([torch.zeros_like(p).share_memory_() for p in params.values()])
            rss.append(context.Value("d", 0.0))
            arguments = (rank, options, params, totals[-1], barrier, rss[-1])
            workers.append(context.Process(target=worker, args=arguments, daemon=True))
            workers[-1].start()
    params = {name: p.requires_grad_() for name, p in params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=1e-3, fused=True)
    meta_grad, batches = build(options, options.net, options.loss), share(options, 0)
    milliseconds: list[float] = []
    for iteration in range(options.warm_up + options.repetitions):
        start = time.perf_counter()
        if workers:
            barrier.wait()
        tasks = batches[iteration % len(batches)]
        grads, query_loss = meta_grad(params, tasks)
        scale(grads, len(tasks[0]) / options.tasks)
        if workers:
            barrier.wait()
            for total in totals:
                torch._foreach_add_(grads, total)
        for p, grad in zip(params.values(), grads):
            p.grad = grad
        optimizer.step()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    for process in workers:
        process.join()
    timed = milliseconds[options.warm_up:]
    return {
        "library": f"torch {torch.__version__}", "workload": options.workload, "steps": options.steps,
        "tasks": options.tasks, "threads": options.threads, "processes": options.processes,
        "compile": options.compile, "channels_last": options.channels_last,
        "pool_first": options.pool_first, "preload": Path(os.environ.get("LD_PRELOAD", "")).name,
        "repetitions": options.repetitions, "median_ms": round(statistics.median(timed), 4),
        "min_ms": round(min(timed), 4), "first_ms": round(milliseconds[0], 1),
        "peak_rss_mib": round(peak_rss_mib() + sum(value.value for value in rss), 1),
        "query_loss": query_loss.item(),
    }


def check(options: argparse.Namespace) -> dict[str, object]:
    """The meta-gradient of a case file of `innerloop verify`, by the code that is timed."""
    with safe_open(options.check, "pt") as file:
        facts = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    order = facts["param_order"].split(",")
    options.inner_lr, options.steps = float(facts["lr"]), int(facts["steps"])
    params = {name: arrays[f"param.{name}"] for name in order}
    tasks = tuple(arrays[name] for name in ("xs", "ys", "xq", "yq"))
    if options.float64:
        params = {name: p.double() for name, p in params.items()}
        tasks = tuple(a.double() if a.is_floating_point() else a for a in tasks)
    if options.channels_last:
        params, tasks = channels_last_params(params), channels_last_tasks(tasks)
    params = {name: p.requires_grad_() for name, p in params.items()}
    grads, query_loss = build(options, facts["net"], facts["loss"])(params, tasks)
    exact = torch.cat([arrays[f"f64.meta_grad.{name}"].flatten() for name in order])
    ours = torch.cat([grad.flatten() for grad in grads]).double()
    if options.out:
        save_file({f"meta_grad.{n}": g.contiguous() for n, g in zip(order, grads)}, options.out)
    return {"case": options.check.name, "query_loss": query_loss.item(),
            "relative_error": ((ours - exact).norm() / exact.norm()).item()}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--workload", choices=WORKLOADS, default="sinusoid")
    cli.add_argument("--steps", type=int, default=1, help="inner SGD steps")
    cli.add_argument("--tasks", type=int, help="meta-batch size, all processes together")
    cli.add_argument("--threads", type=int, default=1, help="intra-operator threads of each process")
    cli.add_argument("--processes", type=int, default=1, help="processes that split the tasks")
    cli.add_argument("--repetitions", type=int, default=20)
    cli.add_argument("--warm-up", type=int, default=3)
    cli.add_argument("--compile", action="store_true", help="torch.compile (mlp)")
    cli.add_argument("--channels-last", action="store_true", help="image layout (conv4)")
    cli.add_argument("--pool-first", action="store_true", help="pool before ReLU (conv4)")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--check", type=Path, metavar="FILE", help="don't time: solve this case file")
    cli.add_argument("--float64", action="store_true", help="with --check: in double precision")
    cli.add_argument("--out", type=Path, help="with --check: write the meta-gradient here")
    options = cli.parse_args()
    defaults = WORKLOADS[options.workload]
    options.net, options.loss, options.inner_lr = defaults.net, defaults.loss, defaults.inner_lr
    options.tasks = options.tasks or defaults.tasks
    if not 1 <= options.processes <= options.tasks:
        cli.error("--processes must be between 1 and --tasks")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    print(json.dumps(check(options) if options.check else benchmark(options)))


if __name__ == "__main__":
    main()
