"""Plots peak memory against inner steps from the JSON lines of `race.py --memory --out FILE`.

    python plot_memory.py memory.jsonl ../../docs/memory.svg
"""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 60, 45, 20, 190
COLOURS = ("#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#a16207", "#be123c")


def series(path: Path) -> dict[str, dict[int, float]]:
    """MiB by inner steps for each program, without what imports alone occupy."""
    lines: dict[str, dict[int, float]] = {}
    for text in path.read_text().splitlines():
        record = json.loads(text)
        if record.get("phase") == "memory":
            kib = record.get("peak_minus_import_kib", record["peak_rss_kib"])
            steps = int(record["workload"].split("-")[1])
            lines.setdefault(record["name"], {})[steps] = kib / 1024
    return lines


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    lines = series(source)
    steps = sorted({k for points in lines.values() for k in points})
    values = [v for points in lines.values() for v in points.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(k: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(k) / math.log(max(steps))

    def y(mib: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log10(mib) - low) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for power in range(low, high + 1):
        at = y(10**power)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10**power}</text>')
    for k in steps:
        out.append(f'<text x="{x(k):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{k}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">inner steps</text>'
               f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">'
               'peak memory, MiB (imports taken off)</text>')
    for colour, (name, points) in zip(COLOURS, lines.items()):
        path = "L".join(f"{x(k):.1f} {y(v):.1f}" for k, v in sorted(points.items()))
        last = points[max(points)]
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(k):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for k, v in points.items()]
        label = name.split()[0] + (", recomputing" if "--remat" in name else "")
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y(last) + 4:.1f}" fill="{colour}">{label}</text>')
    target.write_text("\n".join([*out, "</svg>\n"]))


if __name__ == "__main__":
    main()
