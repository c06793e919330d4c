"""Races innerloop against PyTorch and JAX: whole processes in turn, A B A B ..., in one run.

For each workload the rivals' variants are screened with a few repetitions, the fastest is checked in
float64 (its meta-gradient, innerloop's and that of docs/verify/make_case.py must agree), and then it and innerloop
alternate. A ratio is the rival's median divided by innerloop's in the same round: above 1, innerloop is faster.

    python race.py --innerloop ../../target/release/innerloop --out race.jsonl
    python race.py --screen W2-1 W4-1shot           # only the rivals
    python race.py --memory                         # peak memory against inner steps
"""

import argparse
import ctypes.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from workloads import WORKLOADS, Workload, write_parts

HERE = Path(__file__).resolve().parent
MAKE_CASE = HERE.parent.parent / "docs" / "verify" / "make_case.py"
TOLERANCE = 1e-11  # of float64 gradients, as in docs/verify.md
TIMEOUT = 1200
QUIET = 0.15  # cores; a screening with more foreign load than this is repeated
LONG = 20  # inner steps from which JAX scans them: unrolled, they take minutes to compile

Result = dict[str, object]


class Variant(NamedTuple):
    script: str
    arguments: str
    tcmalloc: bool = True

    def __str__(self) -> str:
        return f"{self.script.removesuffix('_peer.py')} {self.arguments}" + ("" if self.tcmalloc else " (glibc malloc)")


MLP = [
    Variant("torch_peer.py", "--compile"),
    Variant("torch_peer.py", "--compile --processes 2"),
    Variant("jax_peer.py", "--vmap --fuse 50", tcmalloc=False),
    Variant("jax_peer.py", "--vmap --fuse 50"),
    Variant("jax_peer.py", "--fuse 50"),
]
CONV4 = [
    Variant("torch_peer.py", "--processes 2"),
    Variant("torch_peer.py", "--processes 2 --channels-last --pool-first"),
    Variant("torch_peer.py", "--processes 2 --channels-last --pool-first --own-norm"),
    Variant("torch_peer.py", "--threads 2 --channels-last --pool-first --own-norm"),
    Variant("jax_peer.py", "--processes 2 --pool-first"),
    Variant("jax_peer.py", "--processes 2 --pool-first", tcmalloc=False),
    Variant("jax_peer.py", "--processes 2"),
    Variant("jax_peer.py", "--threads 2 --pool-first"),
]
MEMORY = [
    Variant("torch_peer.py", "--threads 2 --channels-last --pool-first --own-norm"),
    Variant("torch_peer.py", "--threads 2 --channels-last --pool-first --own-norm --remat"),
    Variant("jax_peer.py", "--threads 2 --pool-first --inner scan"),
    Variant("jax_peer.py", "--threads 2 --pool-first --inner scan --remat"),
]


def variants(workload: Workload) -> list[Variant]:
    if workload.net == "mlp":
        return MLP
    if workload.steps < LONG:
        return CONV4
    return [v._replace(arguments=v.arguments + " --inner scan") if v.script == "jax_peer.py" else v for v in CONV4]


def environment(tcmalloc: bool) -> dict[str, str]:
    library = ctypes.util.find_library("tcmalloc_minimal")
    if tcmalloc and not library:
        print("no tcmalloc found: PyTorch is slower without it", file=sys.stderr)
    return os.environ | ({"LD_PRELOAD": library} if tcmalloc and library else {})


def call(command: list[str], env: dict[str, str] | None = None) -> str:
    """Standard output; a failure raises CalledProcessError or TimeoutExpired."""
    return subprocess.run(command, env=env, cwd=HERE, timeout=TIMEOUT, check=True, stdout=subprocess.PIPE, text=True).stdout


def busy_seconds() -> float:
    """Core-seconds that the machine has been busy, including steal, minus those of our finished children."""
    fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime


def timed_json(command: list[str], env: dict[str, str] | None = None) -> Result:
    """The JSON line of a process, and how many cores other programs used meanwhile (`foreign`): noise."""
    start, busy = time.perf_counter(), busy_seconds()
    result = json.loads(call(command, env).splitlines()[-1])
    return result | {"foreign": round((busy_seconds() - busy) / (time.perf_counter() - start), 2)}


def rival_command(variant: Variant, *arguments: str) -> list[str]:
    return [sys.executable, variant.script, *variant.arguments.split(), *arguments]


def time_rival(variant: Variant, workload: Workload, repetitions: int) -> Result:
    warm_up = max(1, repetitions // 4)
    command = rival_command(variant, "--time", "--workload", workload.name, "--repetitions", str(repetitions),
                            "--warm-up", str(warm_up))
    result = timed_json(command, environment(variant.tcmalloc))
    if not math.isfinite(result["query_loss"]):
        print(f"{workload.name}: {variant} diverged", file=sys.stderr)
    return result | {"side": "rival", "name": str(variant)}


def time_innerloop(binary: Path, workload: Workload, repetitions: int) -> Result:
    command = [str(binary), "bench", "--workload", workload.name, "--repetitions", str(repetitions), "--json"]
    result = timed_json(command)
    return {"min_ms": min(result["ms"])} | result | {"side": "innerloop", "name": "innerloop"}


def mib(result: Result) -> str:
    return f"{result['peak_rss_kib'] / 1024:.0f} MiB"


def screen(workload: Workload, repetitions: int, record: Callable[[Result], None]) -> Variant:
    """The variant with the smallest minimum, the only informative statistic of so few repetitions on a busy machine."""
    fastest: dict[Variant, float] = {}

    def measure(variant: Variant) -> float:
        """Returns the foreign load."""
        try:
            result = time_rival(variant, workload, repetitions)
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            print(f"  {variant}: failed ({error})", flush=True)
            return 0.0
        record(result | {"phase": "screen"})
        print(f"  {result['median_ms']:10.3f} ms, min {result['min_ms']:10.3f}, {mib(result):>8}, "
              f"foreign {result['foreign']:.2f}: {variant}", flush=True)
        fastest[variant] = min(result["min_ms"], fastest.get(variant, math.inf))
        return result["foreign"]

    disturbed = [variant for variant in variants(workload) if measure(variant) > QUIET]
    for variant in disturbed:
        measure(variant)  # once more, however noisy
    if not fastest:
        raise SystemExit(f"{workload.name}: no rival works")
    return min(fastest, key=lambda v: fastest[v])


def difference(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    names = [name for name in expected if name.startswith("f64.meta_grad.")]
    a, b = (np.concatenate([arrays[name].ravel() for name in names]) for arrays in (got, expected))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def innerloop_name(name: str) -> str:
    """innerloop's name of a Conv4 parameter, such as `features.0.norm.weight` for `bn1.weight`."""
    layer, part = name.split(".")
    if layer == "head":
        return name
    return f"features.{int(layer[-1]) - 1}.{'conv' if layer.startswith('conv') else 'norm'}.{part}"


def metagrad(binary: Path, workload: Workload, case: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """innerloop's mean gradient over a case's tasks, for the algorithms that `innerloop verify` does not cover."""
    config, weights, episode, out = (folder / name for name in ("config.toml", "theirs", "episode", "ours"))
    config.write_text(f'''
        [tasks]
        ways = {workload.ways}
        shots = {workload.shots}
        query = {workload.query}
        [model]
        kind = "conv4"
        filters = {workload.filters}
        [algorithm]
        name = "{workload.algorithm}"
        inner_lr = {workload.lr}
        adaptation_steps = {workload.steps}
    ''')
    ours = {name: innerloop_name(name) for name in workload.shapes}
    save_file({ours[name]: case[f"param.{name}"] for name in workload.shapes}, weights)
    total: dict[str, np.ndarray] = {}
    for task in range(len(case["xs"])):
        arrays = {"support_x": "xs", "support_y": "ys", "query_x": "xq", "query_y": "yq"}
        save_file({name: case[array][task] for name, array in arrays.items()}, episode)
        call([str(binary), "metagrad", "--config", str(config), "--weights", str(weights), "--episode", str(episode),
              "--dtype", "f64", "--out", str(out)])
        gradient = load_file(out)
        for name in workload.shapes:
            total[name] = total.get(name, 0.0) + gradient[ours[name]] / len(case["xs"])
    return {f"f64.meta_grad.{name}": value for name, value in total.items()}


def check(workload: Workload, variant: Variant, binary: Path | None) -> Result:
    """Float64 differences of both sides from a third program, on two tasks."""
    with tempfile.TemporaryDirectory() as folder:
        case, answer = Path(folder) / "case.safetensors", Path(folder) / "answer.safetensors"
        parts = write_parts(workload, 2, Path(folder) / "weights.safetensors", Path(folder) / "data.safetensors")
        call([sys.executable, str(MAKE_CASE), str(case), *parts])
        arguments = ("--case", str(case), "--algorithm", workload.algorithm, "--dtype", "f64", "--grads", str(answer))
        expected = load_file(case)
        exact = workload.algorithm == "maml"
        if not exact:  # a case file holds only the exact gradient
            call(rival_command(Variant("torch_peer.py", ""), *arguments))
            expected = load_file(answer)
        call(rival_command(variant, *arguments))
        result: Result = {"workload": workload.name, "phase": "check", "rival": difference(load_file(answer), expected)}
        if binary and exact:
            call([str(binary), "verify", str(case), "--dtype", "f64", "--out", str(answer)])
            result["innerloop"] = difference(load_file(answer), expected)
        elif binary:
            result["innerloop"] = difference(metagrad(binary, workload, load_file(case), Path(folder)), expected)
    wrong = {side: d for side, d in result.items() if isinstance(d, float) and not d < TOLERANCE}
    if wrong:
        raise SystemExit(f"{workload.name}: meta-gradients differ, not racing: {wrong}")
    return result


def race(workload: Workload, variant: Variant, options: argparse.Namespace, record: Callable[[Result], None]) -> Result:
    repetitions = options.repetitions or workload.repetitions
    rival, ours = [], []
    for number in range(options.rounds):
        rival.append(time_rival(variant, workload, repetitions))
        ours.append(time_innerloop(options.innerloop, workload, repetitions))
        for result in (rival[-1], ours[-1]):
            record(result | {"phase": "race", "round": number})
    ratios = [a["median_ms"] / b["median_ms"] for a, b in zip(rival, ours)]
    summary: Result = {"workload": workload.name, "phase": "summary", "rival": str(variant)}
    for side, results in (("rival", rival), ("innerloop", ours)):
        summary[f"{side}_median_ms"] = statistics.median(r["median_ms"] for r in results)
        summary[f"{side}_min_ms"] = min(r["min_ms"] for r in results)
        summary[f"{side}_peak_rss_kib"] = max(r["peak_rss_kib"] for r in results)
        summary[f"{side}_foreign"] = max(r["foreign"] for r in results)
    return summary | {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def report(summaries: list[Result]) -> None:
    print("\n| workload | best rival | rival ms | innerloop ms | ratio (min-max) | rival MiB | innerloop MiB | foreign |")
    print("|---|---|---|---|---|---|---|---|")
    for s in summaries:
        print(f"| {s['workload']} | {s['rival']} | {s['rival_median_ms']:.4g} | {s['innerloop_median_ms']:.4g} | "
              f"{s['ratio']:.2f} ({s['ratio_min']:.2f}-{s['ratio_max']:.2f}) | "
              f"{s['rival_peak_rss_kib'] / 1024:.0f} | {s['innerloop_peak_rss_kib'] / 1024:.0f} | "
              f"{max(s['rival_foreign'], s['innerloop_foreign']):.2f} |", flush=True)


def memory(options: argparse.Namespace, record: Callable[[Result], None]) -> None:
    """Peak MiB (in brackets without the imports) and ms by inner steps: one process with two threads."""
    workloads = [w for name, w in WORKLOADS.items() if name in options.workloads]
    print("| | " + " | ".join(f"{w.steps} steps" for w in workloads) + " |\n|---" + "|---" * len(workloads) + "|")
    for variant in [*MEMORY, *([] if options.screen else [None])]:
        cells = []
        for workload in workloads:
            repetitions = options.repetitions or 1
            if variant:
                result = time_rival(variant, workload, repetitions)
                without = f" ({result['peak_minus_import_kib'] / 1024:.0f})"
            else:
                result, without = time_innerloop(options.innerloop, workload, repetitions), ""
            record(result | {"phase": "memory"})
            cells.append(f"{result['peak_rss_kib'] / 1024:.0f}{without}, {result['median_ms']:.0f} ms")
        print(f"| {variant or 'innerloop'} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: W1 to W5; with --memory W6")
    cli.add_argument("--innerloop", type=Path, default=HERE.parent.parent / "target" / "release" / "innerloop")
    cli.add_argument("--rounds", type=int, default=3, help="pairs of processes")
    cli.add_argument("--repetitions", type=int, help="meta-iterations per process (default: the workload's)")
    cli.add_argument("--screen", action="store_true", help="only time the rivals' variants")
    cli.add_argument("--screen-repetitions", type=int, default=2, help="per variant; a hundred times as many for an MLP")
    cli.add_argument("--variant", help="race this one instead of screening, e.g. 'torch --processes 2'")
    cli.add_argument("--no-check", action="store_true", help="do not compare meta-gradients first")
    cli.add_argument("--memory", action="store_true", help="peak memory against inner steps")
    cli.add_argument("--out", type=Path, help="append JSON lines to this file")
    options = cli.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        cli.error(f"no such workload: {', '.join(unknown)}")
    options.workloads = options.workloads or [n for n in WORKLOADS if n.startswith("W6") == options.memory]
    options.innerloop = options.innerloop.resolve()
    if not options.screen and not options.innerloop.exists():
        cli.error(f"{options.innerloop} does not exist: build it, give --innerloop, or use --screen")

    def record(result: Result) -> None:
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(result) + "\n")

    if options.memory:
        memory(options, record)
        return
    summaries = []
    for workload in (WORKLOADS[name] for name in options.workloads):
        print(workload.name, flush=True)
        if options.variant:
            library, *arguments = options.variant.split()
            best = Variant(f"{library}_peer.py", " ".join(arguments))
        else:
            best = screen(workload, options.screen_repetitions * (100 if workload.net == "mlp" else 1), record)
        if not options.no_check:
            checked = check(workload, best, None if options.screen else options.innerloop)
            record(checked)
            print("  float64 difference:", {k: f"{d:.1e}" for k, d in checked.items() if isinstance(d, float)})
        if options.screen:
            print(f"  best: {best}", flush=True)
            continue
        summaries.append(race(workload, best, options, record))
        record(summaries[-1])
        report(summaries[-1:])
    if summaries:
        report(summaries)


if __name__ == "__main__":
    main()
