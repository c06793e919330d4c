"""The workloads that innerloop and its rivals are timed on, as data: shapes, weights and tasks.

Weights and tasks are random but seeded, with one generator per task, so that every process and framework can make
exactly its own share of the same numbers. All numbers are float32 values; a float64 run starts from them.
Names, shapes and orders are those of docs/verify.md.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

Arrays = dict[str, np.ndarray]
DATA = ("xs", "ys", "xq", "yq")


@dataclass(frozen=True)
class Workload:
    """One meta-iteration: the gradient averaged over `tasks`, and an Adam step of 1e-3."""

    name: str
    net: str  # "mlp" or "conv4"
    tasks: int
    steps: int
    lr: float
    shots: int  # per class; for an MLP, in total
    query: int  # per class; for an MLP, in total
    ways: int = 0
    channels: int = 1
    size: int = 28
    filters: int = 64
    sizes: tuple[int, ...] = (1, 40, 40, 1)
    algorithm: str = "maml"  # "maml", "fomaml" or "reptile"
    repetitions: int = 5

    @property
    def loss(self) -> str:
        return "mse" if self.net == "mlp" else "cross_entropy"

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        if self.net == "mlp":
            for layer, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:]), start=1):
                shapes |= {f"fc{layer}.weight": (outputs, inputs), f"fc{layer}.bias": (outputs,)}
            return shapes
        for block in range(1, 5):
            inputs = self.channels if block == 1 else self.filters
            shapes[f"conv{block}.weight"] = (self.filters, inputs, 3, 3)
            shapes |= {name: (self.filters,) for name in (f"conv{block}.bias", f"bn{block}.weight", f"bn{block}.bias")}
        features = self.filters * (self.size // 16) ** 2
        return shapes | {"head.weight": (self.ways, features), "head.bias": (self.ways,)}


def _mlp(name: str, steps: int) -> Workload:
    return Workload(name, "mlp", 25, steps, 0.01, shots=10, query=10, repetitions=400)


def _omniglot(name: str, steps: int, lr: float, ways: int = 5, tasks: int = 32) -> Workload:
    return Workload(name, "conv4", tasks, steps, lr, shots=1, query=15, ways=ways)


def _mini(name: str, steps: int = 5, shots: int = 1, tasks: int = 4, algorithm: str = "maml") -> Workload:
    return Workload(name, "conv4", tasks, steps, 0.01, shots, query=15, ways=5, channels=3, size=84, filters=32,
                    algorithm=algorithm)


WORKLOADS = {w.name: w for w in (
    _mlp("W1-1", 1), _mlp("W1-5", 5),
    _omniglot("W2-1", 1, 0.4), _omniglot("W2-5", 5, 0.1),
    _omniglot("W3", 5, 0.1, ways=20, tasks=16),
    _mini("W4-1shot"), _mini("W4-5shot", shots=5, tasks=2),
    _mini("W5-fomaml", algorithm="fomaml"), _mini("W5-reptile", algorithm="reptile"),
    *(_mini(f"W6-{steps}", steps) for steps in (1, 2, 5, 10, 20, 50)),
)}


@dataclass
class Problem:
    """A workload with its weights and, per batch, the tasks of one process."""

    workload: Workload
    params: Arrays
    batches: list[Arrays]


def make_params(workload: Workload, seed: int = 0) -> Arrays:
    rng = np.random.default_rng([seed, 1])
    params: Arrays = {}
    for name, shape in workload.shapes.items():
        if len(shape) > 1:
            # The variance of nn.Linear's default; with He's, five steps diverge on the sinusoids.
            value = rng.standard_normal(shape) / math.sqrt(3 * math.prod(shape[1:]))
        elif name.startswith("bn") and name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)  # all 1 would hide mistakes in its use
        else:
            value = 0.1 * rng.standard_normal(shape)
        params[name] = value.astype(np.float32)
    return params


def _make_task(workload: Workload, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """xs, ys, xq, yq: for mse, a sine wave; for cross-entropy, noisy copies of one pattern per class."""
    if workload.loss == "mse":
        amplitude, phase = rng.uniform(0.1, 5), rng.uniform(0, math.pi)
        for count in (workload.shots, workload.query):
            x = rng.uniform(-5, 5, (count, workload.sizes[0])).astype(np.float32)
            yield x
            yield (amplitude * np.sin(x.sum(-1, keepdims=True) - phase)).astype(np.float32)
        return
    shape = (workload.ways, workload.channels, workload.size, workload.size)
    patterns = rng.standard_normal(shape, np.float32)
    for count in (workload.shots, workload.query):
        clean = patterns.repeat(count, axis=0)
        yield clean + np.float32(0.5) * rng.standard_normal(clean.shape, np.float32)
        yield np.arange(workload.ways).repeat(count)


def make_tasks(workload: Workload, first: int, end: int, batch: int = 0, seed: int = 0) -> Arrays:
    tasks = [list(_make_task(workload, np.random.default_rng([seed, 2, batch, task]))) for task in range(first, end)]
    return {name: np.stack(arrays) for name, arrays in zip(DATA, zip(*tasks))}


def make_problem(workload: Workload, rank: int = 0, processes: int = 1, batches: int = 1) -> Problem:
    first, end = (workload.tasks * r // processes for r in (rank, rank + 1))
    return Problem(workload, make_params(workload), [make_tasks(workload, first, end, b) for b in range(batches)])


def read_case(path: Path, algorithm: str = "maml", rank: int = 0, processes: int = 1) -> Problem:
    """The problem of a case file of `innerloop verify`."""
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
        order = facts["param_order"].split(",")
        params = {name: file.get_tensor(f"param.{name}") for name in order}
        data = {name: file.get_tensor(name) for name in DATA}
    common = {"name": path.stem, "net": facts["net"], "tasks": int(facts["batch"]), "steps": int(facts["steps"]),
              "lr": float(facts["lr"]), "shots": int(facts["shots"]), "query": int(facts["query"]),
              "algorithm": algorithm}
    if facts["net"] == "mlp":
        workload = Workload(**common, sizes=tuple(json.loads(facts["sizes"])))
    else:
        workload = Workload(**common, ways=int(facts["ways"]), channels=int(facts["ch"]), size=int(facts["size"]),
                            filters=int(facts["filters"]))
    if workload.loss != facts["loss"]:
        raise SystemExit(f"{path}: {facts['net']} with {facts['loss']} does not match any workload")
    assert {n: p.shape for n, p in params.items()} == workload.shapes, f"{path}: parameters differ in shape"
    first, end = (workload.tasks * r // processes for r in (rank, rank + 1))
    return Problem(workload, params, [{name: a[first:end] for name, a in data.items()}])


def write_parts(workload: Workload, tasks: int, weights: Path, data: Path) -> list[str]:
    """Writes weights and the first `tasks` tasks; returns the make_case.py options that turn them into a case."""
    problem = make_problem(replace(workload, tasks=tasks))
    save_file(problem.params, weights)
    save_file(problem.batches[0], data)
    options = ["--net", workload.net, "--loss", workload.loss, "--steps", str(workload.steps), "--lr", str(workload.lr),
               "--tasks", str(tasks), "--shots", str(workload.shots), "--query", str(workload.query),
               "--weights", str(weights), "--data", str(data)]
    if workload.net == "mlp":
        return [*options, "--sizes", "-".join(map(str, workload.sizes))]
    return [*options, "--ways", str(workload.ways), "--channels", str(workload.channels),
            "--image-size", str(workload.size), "--filters", str(workload.filters)]
