"""Races innerloop against PyTorch and JAX on 2D navigation: whole processes alternate, A B C A B C ...

    python rl_race.py --innerloop ../../target/release/innerloop --rounds 3
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = {"plain": ("nav2d-plain", 20), "trpo": ("nav2d-maml", 40)}


def innerloop(program: str, outer: str, repetitions: int) -> dict[str, object]:
    preset, tasks = WORK[outer]
    with tempfile.TemporaryDirectory() as folder:
        sets = [f"outer.meta_batch_size={tasks}", f"outer.iterations={repetitions + 2}", "evaluation.tasks=2"]
        options = [option for key in sets for option in ("--set", key)]
        subprocess.run([program, "train", preset, "--out", f"{folder}/run", *options], check=True, capture_output=True)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").open()]
    ends = [line["seconds"] for line in lines]
    seconds = [b - a for a, b in zip(ends[1:], ends[2:])]
    return {"median_s": statistics.median(seconds), "min_s": min(seconds)}


def rival(script: str, outer: str, repetitions: int) -> dict[str, object]:
    command = [sys.executable, HERE / script, "--outer", outer, "--tasks", str(WORK[outer][1])]
    done = subprocess.run([*command, "--repetitions", str(repetitions)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--innerloop", default=str(HERE.parent.parent / "target" / "release" / "innerloop"))
    parser.add_argument("--outer", choices=WORK, nargs="+", default=list(WORK))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    for outer in arguments.outer:
        repetitions = arguments.repetitions if outer == "plain" else max(arguments.repetitions // 5, 2)
        ratios: dict[str, list[float]] = {"torch": [], "jax": []}
        for _ in range(arguments.rounds):
            ours = innerloop(arguments.innerloop, outer, repetitions)
            times = {name: rival(f"rl_{name}.py", outer, repetitions) for name in ratios}
            for name, found in times.items():
                ratios[name].append(found["median_s"] / ours["median_s"])
            shown = {"innerloop": ours, **times}
            print(outer, {name: f"{t['median_s']:.3f} s, least {t['min_s']:.3f}" for name, t in shown.items()}, flush=True)
        print(outer, {name: f"x{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for name, r in ratios.items()})


if __name__ == "__main__":
    main()
