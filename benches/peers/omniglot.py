"""Omniglot 5-way 1-shot in PyTorch with the recipe of innerloop's presets, to time training to an accuracy.

MAML or Meta-SGD, Conv4-64, one inner step, 8 tasks per meta-iteration with 2 queries per class, Adam at 2e-3 with a
cosine schedule, Vinyals' split, training characters in four rotations; two one-thread processes with half of the tasks
each, channels-last, pooling before ReLU, batch norm with hand-written derivatives (the fastest variant that race.py
finds). Tested on 600 tasks with 15 queries per class after 3 inner steps, as `innerloop evaluate` does.

    LD_PRELOAD=libtcmalloc_minimal.so.4 python omniglot.py DATA --algorithm meta_sgd --iterations 10000

DATA is the folder that contains `omniglot/images_{background,evaluation}.zip` and `omniglot/splits/vinyals/`.
`--stop N` ends training after N iterations, which is enough to time an iteration.
"""

import argparse
import io
import json
import math
import multiprocessing
import statistics
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from torch_peer import Params, conv4, leaves, own_norm
from workloads import WORKLOADS

WAYS, TASKS, PROCESSES, SAMPLES = 5, 8, 2, 20
TRAIN_QUERY, TEST_QUERY, TEST_TASKS, TEST_STEPS = 2, 15, 600, 3
RATES = {"maml": 0.4, "meta_sgd": 0.1}


def read(folder: Path) -> dict[str, np.ndarray]:
    """Images of each split, [characters, 20, 28, 28], with white ink (255) on black."""
    characters: dict[str, list[np.ndarray]] = {}
    for part in ("background", "evaluation"):
        with zipfile.ZipFile(folder / f"images_{part}.zip") as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
                image = Image.open(io.BytesIO(archive.read(name))).convert("L").resize((28, 28), Image.LANCZOS)
                characters.setdefault("/".join(name.split("/")[1:3]), []).append(255 - np.asarray(image))
    splits = {}
    for split in ("train", "test"):
        lines = (folder / "splits" / "vinyals" / f"{split}.txt").read_text().split()
        names = sorted({line.rsplit("/", 1)[0] for line in lines})
        splits[split] = np.stack([np.stack(characters[name]) for name in names])
    return splits


def sample(images: np.ndarray, query: int, rotate: bool, rng: np.random.Generator) -> list[Tensor]:
    classes = rng.choice(len(images) * (4 if rotate else 1), WAYS, replace=False)
    support, queries = [], []
    for c in classes:
        drawn = images[c % len(images)][rng.choice(SAMPLES, 1 + query, replace=False)]
        drawn = np.rot90(drawn, c // len(images), axes=(1, 2)).astype(np.float32) / 255
        support.append(drawn[:1])
        queries.append(drawn[1:])

    def tensor(parts: list[np.ndarray]) -> Tensor:
        x = torch.from_numpy(np.concatenate(parts)[:, None])
        return x.contiguous(memory_format=torch.channels_last)

    labels = torch.arange(WAYS)
    return [tensor(support), labels, tensor(queries), labels.repeat_interleave(query)]


def net(params: Params, x: Tensor) -> Tensor:
    return conv4(params, x, pool_first=True, norm=own_norm)


def adapt(params: Params, rates: Params | float, x: Tensor, y: Tensor, steps: int, second_order: bool) -> Params:
    fast = params
    for _ in range(steps):
        loss = F.cross_entropy(net(fast, x), y)
        grads = torch.autograd.grad(loss, list(fast.values()), create_graph=second_order)
        rate = rates if isinstance(rates, dict) else dict.fromkeys(fast, rates)
        fast = {name: p - rate[name] * g for (name, p), g in zip(fast.items(), grads)}
    return fast


def initial(algorithm: str, seed: int) -> tuple[Params, Params | float]:
    torch.manual_seed(seed)
    workload = replace(WORKLOADS["W2-1"], ways=WAYS)
    params = {}
    for name, shape in workload.shapes.items():
        if len(shape) > 1:
            params[name] = torch.nn.init.xavier_uniform_(torch.empty(shape))
            if len(shape) == 4:
                params[name] = params[name].contiguous(memory_format=torch.channels_last)
        else:
            params[name] = torch.full(shape, float(name.startswith("bn") and name.endswith("weight")))
    rate = RATES[algorithm]
    if algorithm == "maml":
        return params, rate
    return params, {name: torch.full_like(p, rate) for name, p in params.items()}


def evaluate(params: Params, rates: Params | float, images: np.ndarray) -> tuple[float, float]:
    rng, scores = np.random.default_rng([1, 3]), []
    params = leaves(params)
    for _ in range(TEST_TASKS):
        xs, ys, xq, yq = sample(images, TEST_QUERY, False, rng)
        fast = adapt(params, rates, xs, ys, TEST_STEPS, False)
        with torch.no_grad():
            scores.append((net(fast, xq).argmax(1) == yq).float().mean().item())
    return 100 * statistics.mean(scores), 100 * 1.96 * statistics.stdev(scores) / math.sqrt(TEST_TASKS)


def work(rank: int, options: argparse.Namespace, params: Params, rates: Params | float, rows: list[list[Tensor]],
         barrier, images: np.ndarray) -> float:
    """This process's part of training; the first one steps Adam. Returns the seconds it took."""
    torch.set_num_threads(1)
    wrt = [*params.values(), *(rates.values() if isinstance(rates, dict) else ())]
    for tensor in wrt:
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(wrt, lr=2e-3)
    barrier.wait()
    start = time.perf_counter()
    for iteration in range(min(options.stop or options.iterations, options.iterations)):
        torch._foreach_zero_(rows[rank])
        for task in range(rank, TASKS, PROCESSES):
            rng = np.random.default_rng([options.seed, iteration, task])
            xs, ys, xq, yq = sample(images, TRAIN_QUERY, True, rng)
            fast = adapt(params, rates, xs, ys, 1, True)
            grads = torch.autograd.grad(F.cross_entropy(net(fast, xq), yq), wrt)
            torch._foreach_add_(rows[rank], grads, alpha=1 / TASKS)
        barrier.wait()
        if rank == 0:
            for tensor, *parts in zip(wrt, *rows):
                tensor.grad = sum(parts)
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * iteration / options.iterations))
            optimizer.step()
        barrier.wait()
    return time.perf_counter() - start


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data", type=Path)
    cli.add_argument("--algorithm", choices=RATES, default="maml")
    cli.add_argument("--iterations", type=int, default=10_000)
    cli.add_argument("--stop", type=int, help="train no longer than this")
    cli.add_argument("--seed", type=int, default=1)
    options = cli.parse_args()
    torch.set_num_threads(1)
    splits = read(options.data / "omniglot")
    params, rates = initial(options.algorithm, options.seed)
    shared = [*params.values(), *(rates.values() if isinstance(rates, dict) else ())]
    rows = [[torch.zeros_like(t).share_memory_() for t in shared] for _ in range(PROCESSES)]
    for tensor in shared:
        tensor.share_memory_()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES)
    arguments = (options, params, rates, rows, barrier, splits["train"])
    helper = context.Process(target=work, args=(1, *arguments), daemon=True)
    helper.start()
    seconds = work(0, *arguments)
    helper.join()
    rates = {n: r.detach() for n, r in rates.items()} if isinstance(rates, dict) else rates
    accuracy, interval = evaluate(params, rates, splits["test"])
    done = min(options.stop or options.iterations, options.iterations)
    print(json.dumps({
        "torch": torch.__version__, "algorithm": options.algorithm, "iterations": done, "of": options.iterations,
        "seconds": round(seconds, 1), "ms_per_iteration": round(1e3 * seconds / done, 2),
        "accuracy": round(accuracy, 2), "ci95": round(interval, 2),
    }))


if __name__ == "__main__":
    main()
