"""Shared by the PyTorch and the JAX rival: options, the second process, timing, memory.

With `--processes 2` a second process takes half of the tasks; each process is pinned to its own core. Weights and
gradients are in one file-backed shared memory; the first process adds the gradients and steps Adam.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.numpy import save_file

from workloads import WORKLOADS, Problem, make_problem, read_case

COUNTERS = 64  # bytes per process for its arrival counter: a cache line
REPORT = 24
FUSED_BATCHES = 50


class Peer(Protocol):
    """A rival in one process. `batch` counts up; batches of data are used in turn."""

    iterations_per_step: int
    query_loss: float

    def gradient(self, batch: int) -> None:
        """Writes this process's part of the meta-gradient into its row of the team."""

    def gradients_in_order(self) -> None:
        """Reorders that row to match the file format."""

    def update(self) -> None:
        """Adds the rows and steps Adam (first process only)."""

    def step(self, batch: int) -> None:
        """Whole meta-iterations, if there is only one process."""


class Team:
    """The processes of a run: shared weights, a row of gradients per process, and a barrier."""

    def __init__(self, rank: int, processes: int, size: int, dtype: type, path: str | None):
        self.rank, self.processes = rank, processes
        bytes_each = size * np.dtype(dtype).itemsize
        total = self.file_size(processes, size, dtype)
        if path:
            memory = np.memmap(path, np.uint8, "r+", shape=(total,))
        else:
            memory = np.zeros(total, np.uint8)
        at = processes * COUNTERS
        self.counters = memory[:at].view(np.int64).reshape(processes, -1)[:, 0]
        # Per process: KiB after the imports, peak KiB, its part of the query loss.
        self.reports = memory[at : at + processes * REPORT].view(np.float64).reshape(processes, -1)
        at += processes * REPORT
        self.params = memory[at : at + bytes_each].view(dtype)
        self.grads = memory[at + bytes_each :].view(dtype).reshape(processes, size)
        self.workers: list[subprocess.Popen] = []
        self.parent = os.getppid()

    @staticmethod
    def file_size(processes: int, size: int, dtype: type) -> int:
        return processes * (COUNTERS + REPORT) + (processes + 1) * size * np.dtype(dtype).itemsize

    def arrive(self) -> None:
        """A barrier. Spins, as a wake-up would cost more than a meta-iteration of W1; relies on x86 memory order."""
        if self.processes == 1:
            return
        self.counters[self.rank] += 1
        mine, spins = self.counters[self.rank], 0
        while self.counters.min() < mine:
            os.sched_yield()
            spins += 1
            if spins % 10000 == 0:
                if any(w.poll() is not None for w in self.workers):
                    raise SystemExit("a worker process ended")
                if self.rank and os.getppid() != self.parent:
                    raise SystemExit("the first process ended")


def memory_kib(field: str) -> int:
    # Not getrusage, whose maximum is inherited from the parent process.
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0])


def parse(description: str, add_options: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    cli = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    problem = cli.add_mutually_exclusive_group(required=True)
    problem.add_argument("--workload", choices=WORKLOADS)
    problem.add_argument("--case", type=Path, help="a case file of `innerloop verify`")
    task = cli.add_mutually_exclusive_group(required=True)
    task.add_argument("--grads", type=Path, metavar="FILE", help="write the meta-gradient as safetensors")
    task.add_argument("--time", action="store_true", help="print a JSON line of timings")
    cli.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    cli.add_argument("--algorithm", choices=["maml", "fomaml", "reptile"], help="replaces the workload's")
    cli.add_argument("--tasks", type=int, help="replaces the workload's")
    cli.add_argument("--processes", type=int, default=1, help="processes that split the tasks")
    cli.add_argument("--threads", type=int, default=1, help="threads of each process")
    cli.add_argument("--repetitions", type=int, help="timed meta-iterations (default: the workload's)")
    cli.add_argument("--warm-up", type=int, default=2, help="meta-iterations before the timed ones")
    cli.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    cli.add_argument("--shared", help=argparse.SUPPRESS)
    add_options(cli)
    options = cli.parse_args()
    options.label = " ".join(label(options, cli))
    return options


def label(options: argparse.Namespace, cli: argparse.ArgumentParser) -> list[str]:
    """The options that define a variant: those that differ from the default."""
    common = {"workload", "case", "grads", "time", "dtype", "algorithm", "tasks", "repetitions", "warm_up", "rank", "shared"}
    values = {k: v for k, v in vars(options).items() if k not in common and v != cli.get_default(k)}
    return [k.replace("_", "-") if v is True else f"{k}={v}" for k, v in values.items()]


def load(options: argparse.Namespace) -> Problem:
    if options.case:
        return read_case(options.case, options.algorithm or "maml", options.rank, options.processes)
    workload = WORKLOADS[options.workload]
    workload = replace(workload, tasks=options.tasks or workload.tasks, algorithm=options.algorithm or workload.algorithm)
    # Small data sets change from one iteration to the next; with images this would only take memory.
    batches = FUSED_BATCHES if workload.net == "mlp" and options.time else 1
    return make_problem(workload, options.rank, options.processes, batches)


def pin(rank: int, threads: int) -> None:
    """Must run before a framework creates its thread pool, which JAX sizes by the affinity."""
    cores = sorted(os.sched_getaffinity(0))
    mine = cores[rank * threads : (rank + 1) * threads]
    if len(mine) < threads:
        raise SystemExit(f"{threads} threads for process {rank} need more than {len(cores)} cores")
    os.sched_setaffinity(0, mine)


def start_workers(options: argparse.Namespace, size: int, dtype: type) -> list[subprocess.Popen]:
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.truncate(Team.file_size(options.processes, size, dtype))
    options.shared = file.name
    return [subprocess.Popen([sys.executable, *sys.argv, "--rank", str(rank), "--shared", file.name])
            for rank in range(1, options.processes)]


def run(options: argparse.Namespace, library: str, make_peer: Callable[[argparse.Namespace, Problem, Team], Peer]) -> None:
    import_kib = memory_kib("VmRSS")
    problem = load(options)
    workload = problem.workload
    if not 1 <= options.processes <= workload.tasks:
        raise SystemExit("--processes must be between 1 and the number of tasks")
    dtype = np.float32 if options.dtype == "f32" else np.float64
    size = sum(p.size for p in problem.params.values())
    workers = start_workers(options, size, dtype) if options.processes > 1 and options.rank == 0 else []
    try:
        pin(options.rank, options.threads)
        team = Team(options.rank, options.processes, size, dtype, options.shared)
        team.workers = workers
        team.reports[options.rank, 0] = import_kib
        peer = make_peer(options, problem, team)
        team.arrive()
        if options.grads:
            solve(options, problem, team, peer)
        else:
            report = measure(options, problem, team, peer)
            if options.rank == 0:
                print(json.dumps({"library": library, "variant": options.label, **report}), flush=True)
    finally:
        for worker in workers:
            if sys.exc_info()[0]:
                worker.terminate()
            worker.wait()
        if workers:
            os.unlink(options.shared)


def solve(options: argparse.Namespace, problem: Problem, team: Team, peer: Peer) -> None:
    peer.gradient(0)
    peer.gradients_in_order()
    team.arrive()
    if options.rank:
        return
    total, at, arrays = team.grads.sum(0), 0, {}
    for name, param in problem.params.items():
        arrays[f"{options.dtype}.meta_grad.{name}"] = total[at : at + param.size].reshape(param.shape)
        at += param.size
    save_file(arrays, options.grads)


def measure(options: argparse.Namespace, problem: Problem, team: Team, peer: Peer) -> dict[str, object]:
    per_step = peer.iterations_per_step
    warm_up, timed = (math.ceil(n / per_step) for n in
                      (options.warm_up, options.repetitions or problem.workload.repetitions))
    milliseconds: list[float] = []
    for iteration in range(warm_up + timed):
        start = time.perf_counter()
        if options.processes == 1:
            peer.step(iteration)
        else:
            team.arrive()
            peer.gradient(iteration)
            team.arrive()
            if options.rank == 0:
                peer.update()
        milliseconds.append((time.perf_counter() - start) * 1e3 / per_step)
    team.reports[options.rank, 1:] = memory_kib("VmHWM"), float(peer.query_loss)
    team.arrive()
    imports, peak, query_loss = (float(n) for n in team.reports.sum(0))
    ms = milliseconds[warm_up:]
    return {
        "workload": problem.workload.name, "tasks": problem.workload.tasks,
        "preload": Path(os.environ.get("LD_PRELOAD", "")).name,
        "ms": [round(m, 4) for m in ms], "median_ms": round(statistics.median(ms), 4), "min_ms": round(min(ms), 4),
        "first_ms": round(milliseconds[0] * per_step, 1), "peak_rss_kib": int(peak),
        "peak_minus_import_kib": int(peak - imports), "query_loss": query_loss,
    }
