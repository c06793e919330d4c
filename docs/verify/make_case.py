"""Write a case file for `innerloop verify`: weights, tasks and their exact MAML meta-gradient.

PyTorch differentiates through the inner loop in float64 and again in float32, both starting from
the same float32 weights and data. The file format is described in docs/verify.md.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

Tensors = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}
BN_EPS = 1e-5


class Conv4(nn.Module):
    """Four blocks of conv 3x3, batch norm, ReLU and 2x2 max-pool, then a linear head."""

    def __init__(self, channels: int, image_size: int, filters: int, ways: int):
        super().__init__()
        for block in range(1, 5):
            inputs = channels if block == 1 else filters
            self.add_module(f"conv{block}", nn.Conv2d(inputs, filters, 3, padding=1))
            # No running statistics: always normalise with the statistics of the current batch.
            bn = nn.BatchNorm2d(filters, eps=BN_EPS, track_running_stats=False)
            # Scales of 1 and shifts of 0 would hide mistakes in how they are used.
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.normal_(bn.bias, std=0.1)
            self.add_module(f"bn{block}", bn)
        self.head = nn.Linear(filters * (image_size // 16) ** 2, ways)

    def forward(self, x: Tensor) -> Tensor:
        for block in range(1, 5):
            x = self.get_submodule(f"conv{block}")(x)
            x = F.max_pool2d(F.relu(self.get_submodule(f"bn{block}")(x)), 2)
        return self.head(x.flatten(1))


class Mlp(nn.Module):
    def __init__(self, sizes: list[int]):
        super().__init__()
        for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), start=1):
            self.add_module(f"fc{layer}", nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.children()
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)


def make_data(net: str, loss: str, sizes: list[int], shape: tuple[int, ...], ways: int, shots: int,
              query: int, tasks: int) -> Tensors:
    """Random tasks: for mse, one sine wave each; for cross-entropy, noisy copies of `ways` patterns."""
    if loss == "mse":
        xs = torch.empty(tasks, shots, *shape).uniform_(-5, 5)
        xq = torch.empty(tasks, query, *shape).uniform_(-5, 5)
        amplitude = torch.empty(tasks, 1, sizes[-1]).uniform_(0.1, 5)
        phase = torch.empty(tasks, 1, sizes[-1]).uniform_(0, math.pi)
        ys, yq = (amplitude * torch.sin(x.sum(-1, keepdim=True) - phase) for x in (xs, xq))
        return {"xs": xs, "ys": ys, "xq": xq, "yq": yq}
    patterns = torch.randn(tasks, ways, *shape)
    data: Tensors = {}
    for part, count in (("s", shots), ("q", query)):
        clean = patterns.repeat_interleave(count, dim=1)
        data["x" + part] = clean + 0.5 * torch.randn_like(clean)
        data["y" + part] = torch.arange(ways).repeat_interleave(count).repeat(tasks, 1)
    return data


def adapt(model: nn.Module, loss: Loss, params: Tensors, x: Tensor, y: Tensor,
          rates: Tensor) -> tuple[Tensors, list[Tensor]]:
    """Differentiable SGD; `rates[step, tensor]`. Returns the adapted weights and steps + 1 losses."""
    fast, losses = params, []
    for step_rates in rates:
        losses.append(loss(functional_call(model, fast, (x,)), y))
        grads = torch.autograd.grad(losses[-1], list(fast.values()), create_graph=True)
        fast = {name: fast[name] - rate * grad for name, rate, grad in zip(fast, step_rates, grads)}
    losses.append(loss(functional_call(model, fast, (x,)), y))
    return fast, losses


def solve(model: nn.Module, loss: Loss, params: Tensors, data: Tensors, inner_lr: float,
          adaptation_steps: int, dtype: torch.dtype) -> tuple[Tensors, Tensors]:
    """The results of a case in one precision, and the extra ones that help to locate a fault."""
    params = {name: p.detach().to(dtype).requires_grad_() for name, p in params.items()}
    data = {name: a.to(dtype) if a.is_floating_point() else a for name, a in data.items()}
    tasks = len(data["xs"])
    per_task: dict[str, list[Tensor]] = {k: [] for k in ("inner_loss", "query_loss", "query_logits", "lr_grad")}
    grads = {name: torch.zeros_like(p) for name, p in params.items()}
    first_order = {name: torch.zeros_like(p) for name, p in params.items()}
    extra: Tensors = {}
    for task, (xs, ys, xq, yq) in enumerate(zip(*(data[k] for k in ("xs", "ys", "xq", "yq")))):
        # One rate per step and tensor, all equal, so that each has a derivative of its own.
        rates = torch.full((adaptation_steps, len(params)), inner_lr, dtype=dtype, requires_grad=True)
        fast, inner_losses = adapt(model, loss, params, xs, ys, rates)
        logits = functional_call(model, fast, (xq,))
        query_loss = loss(logits, yq)
        at_fast = torch.autograd.grad(query_loss, list(fast.values()), retain_graph=True)
        *at_start, lr_grad = torch.autograd.grad(query_loss, [*params.values(), rates])
        for name, exact, fomaml in zip(params, at_start, at_fast):
            grads[name] += exact / tasks
            first_order[name] += fomaml / tasks
        for key, value in zip(per_task, (torch.stack(inner_losses), query_loss, logits, lr_grad)):
            per_task[key].append(value.detach())
        if task == 0:
            support_loss = loss(functional_call(model, params, (xs,)), ys)
            g = torch.autograd.grad(support_loss, list(params.values()), create_graph=True)
            hvp = torch.autograd.grad(g, list(params.values()), [v.detach() for v in g])
            for kind, values in (("support_grad", g), ("hvp_g", hvp), ("fast", fast.values())):
                extra |= {f"task0.{kind}.{name}": v.detach() for name, v in zip(params, values)}
    extra |= {f"fomaml_grad.{name}": g for name, g in first_order.items()}
    results = {key: torch.stack(values) for key, values in per_task.items()}
    return results | {f"meta_grad.{name}": g for name, g in grads.items()}, extra


def load_arrays(path: Path) -> Tensors:
    """A safetensors file or a saved state dict; a case file's `param.` prefix is dropped."""
    arrays = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {name.removeprefix("param."): a for name, a in arrays.items()}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    cli.add_argument("out", type=Path, help="file to write, NAME.safetensors")
    cli.add_argument("--net", choices=["conv4", "mlp"], default="conv4")
    cli.add_argument("--loss", choices=LOSSES, help="default: cross_entropy for conv4, mse for mlp")
    cli.add_argument("--ways", type=int, default=5, help="classes; for an mlp, the last size")
    cli.add_argument("--shots", type=int, default=1, help="support examples per class; for mse, in total")
    cli.add_argument("--query", type=int, default=2, help="query examples per class; for mse, in total")
    cli.add_argument("--tasks", type=int, default=2)
    cli.add_argument("--steps", type=int, default=1, help="inner SGD steps, at least 1")
    cli.add_argument("--lr", type=float, default=0.1, help="inner learning rate")
    cli.add_argument("--channels", type=int, default=1)
    cli.add_argument("--image-size", type=int, default=28, help="at least 16")
    cli.add_argument("--filters", type=int, default=32)
    cli.add_argument("--sizes", default="1-40-40-1", help="an mlp's layer sizes, input first")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--weights", type=Path, help="take the initial weights from this file")
    cli.add_argument("--data", type=Path, help="take xs, ys, xq, yq from this file")
    cli.add_argument("--extra", action="store_true", help="also write NAME_extra.safetensors")
    args = cli.parse_args()

    torch.manual_seed(args.seed)
    sizes = [int(size) for size in args.sizes.split("-")]
    loss = args.loss or ("mse" if args.net == "mlp" else "cross_entropy")
    if args.net == "conv4" and (loss == "mse" or args.image_size < 16):
        cli.error("conv4 takes cross_entropy and images of 16x16 or more")
    if args.steps < 1:
        cli.error("--steps must be at least 1")
    ways = sizes[-1] if args.net == "mlp" else args.ways
    shape = (sizes[0],) if args.net == "mlp" else (args.channels, args.image_size, args.image_size)
    model = Mlp(sizes) if args.net == "mlp" else Conv4(args.channels, args.image_size, args.filters, ways)
    if args.weights:
        weights = load_arrays(args.weights)
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
    params = {name: p.detach() for name, p in model.named_parameters()}
    data = make_data(args.net, loss, sizes, shape, ways, args.shots, args.query, args.tasks)
    if args.data:
        given = load_arrays(args.data)
        data = {name: given[name] for name in data}

    f64, extra = solve(model, LOSSES[loss], params, data, args.lr, args.steps, torch.float64)
    f32, _ = solve(model, LOSSES[loss], params, data, args.lr, args.steps, torch.float32)
    exact, rounded = (torch.cat([r[f"meta_grad.{n}"].flatten().double() for n in params]) for r in (f64, f32))
    per_class = 1 if loss == "mse" else ways
    classes = {} if loss == "mse" else {"ways": ways}
    net = {"sizes": json.dumps(sizes)} if args.net == "mlp" else {
        "ch": args.channels, "size": args.image_size, "filters": args.filters}
    facts = {"net": args.net, **net, **classes, "shots": data["xs"].shape[1] // per_class,
             "query": data["xq"].shape[1] // per_class, "batch": len(data["xs"]), "steps": args.steps,
             "lr": args.lr, "param_order": ",".join(params), "bn_eps": BN_EPS, "loss": loss,
             "f32_rel_err": f"{(rounded - exact).norm() / exact.norm():.2e}"}
    metadata = {key: str(value) for key, value in facts.items()}

    def write(path: Path, arrays: Tensors) -> None:
        save_file({name: a.contiguous() for name, a in arrays.items()}, path, metadata)

    write(args.out, {f"param.{n}": p for n, p in params.items()} | data
          | {f"f64.{n}": a for n, a in f64.items()} | {f"f32.{n}": a for n, a in f32.items()})
    if args.extra:
        write(args.out.with_stem(args.out.stem + "_extra"), {f"f64.{n}": a for n, a in extra.items()})
    print(f"{args.out}: float32 differs by {metadata['f32_rel_err']}")


if __name__ == "__main__":
    main()
