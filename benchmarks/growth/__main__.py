"""``python -m benchmarks.growth``: what a row costs as rows, fields and histories grow; tables and a figure."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.growth.points import BY_FIELDS, BY_LENGTH
from benchmarks.speed.place import Place
from benchmarks.speed.process import command
from benchmarks.speed.turns import Measured, take_turns
from ctrgate.data import criteo_shaped
from ctrgate.data.criteo_shaped import CriteoShapedConfig

__all__ = ["Curve", "draw", "main", "table"]

COLORS = ("#2563c9", "#c2571a", "#3f8f5f")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one thing costs at growing sizes.

    Args:
        grows: What grows.
        of: What is measured.
        points: By size.
    """

    grows: str
    of: str
    points: Mapping[int, Measured]

    def cost(self, size: int) -> float:
        """Microseconds of processor for a row, or for an event where histories grow: the median over turns."""
        point = self.points[size]
        units = point.rows * (size if self.grows == "length" else 1)
        return 1e6 * statistics.median(point.cpu_seconds) / units

    def to_first(self, size: int) -> float:
        """That cost by the smallest size's."""
        return self.cost(size) / self.cost(min(self.points))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a Markdown table for each of what grows, and draw the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--of", nargs="+", choices=list(TITLES), default=list(TITLES), help="what grows")
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--score-up-to", type=int, default=1_000_000, help="more rows are prepared, but not scored")
    parser.add_argument("--fields", nargs="+", type=int, default=[10, 25, 50, 100, 200])
    parser.add_argument("--lengths", nargs="+", type=int, default=[50, 100, 200, 500, 1000])
    parser.add_argument("--turns", type=int, default=5, help="steps of each point that are counted; rows have one")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--figure", type=Path, help="where the ratios are drawn (SVG)")
    parsed = parser.parse_args(arguments)
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory(prefix="ctrgate-growth-") as temporary:
        for grows in parsed.of:
            sizes = {"rows": parsed.rows, "fields": parsed.fields, "length": parsed.lengths}[grows]
            for of, commands in _commands(grows, sorted(sizes), Path(temporary), threads=parsed.threads).items():
                if of == "score":
                    commands = {size: each for size, each in commands.items() if int(size) <= parsed.score_up_to}
                sys.stderr.write(f"measuring {of} as {grows} grow\n")
                turns = 1 if grows == "rows" else parsed.turns
                found = take_turns(commands, threads=parsed.threads, turns=turns, warm_up=grows != "rows")
                curves.append(Curve(grows=grows, of=of, points={int(size): side for size, side in found.items()}))
            sys.stdout.write(table([curve for curve in curves if curve.grows == grows]) + "\n\n")
            sys.stdout.flush()
    if parsed.figure:
        draw(curves).savefig(parsed.figure, metadata={"Date": None, "Creator": None})
    return 0


TITLES = {"rows": "rows", "fields": "fields", "length": "events of a history"}


def table(curves: Sequence[Curve]) -> str:
    """A line for each size; for each curve what a row (or an event) costs, that to the first, and peak memory.

    A curve may lack sizes that the first one has.
    """
    grows = curves[0].grows
    unit = "an event" if grows == "length" else "a row"
    head = [TITLES[grows]]
    for curve in curves:
        head += [f"{curve.of}: µs of {unit}", "to the first", "peak MB"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for size in curves[0].points:
        cells = [f"{size:,}"]
        for curve in curves:
            if size not in curve.points:
                cells += ["not tried", "", ""]
                continue
            cells += [f"{curve.cost(size):,.1f}", f"{curve.to_first(size):.2f}", f"{curve.points[size].peak_mb:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(curves: Sequence[Curve]) -> Figure:
    """A panel for each of what grows, the cost to the first over the size, both by powers."""
    panels = list(dict.fromkeys(curve.grows for curve in curves))
    figure = Figure(figsize=(3.4 * len(panels), 3.2), layout="constrained")
    for grows, panel in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for curve, color in zip((curve for curve in curves if curve.grows == grows), COLORS, strict=False):
            sizes = sorted(curve.points)
            ratios = [curve.to_first(size) for size in sizes]
            panel.plot(sizes, ratios, "o-", color=color, label=curve.of, markersize=4)
        panel.set(xscale="log", yscale="log", xlabel=TITLES[grows])
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, 0.5), max(high, 4.0))
        ticks = sorted({size for curve in curves if curve.grows == grows for size in curve.points})
        panel.set_xticks(ticks, [f"{size:,}" for size in ticks])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        panel.minorticks_off()
        panel.legend(frameon=False)
        panel.grid(linewidth=0.5, alpha=0.4)
        panel.spines[["top", "right"]].set_visible(False)
        if grows == panels[0]:
            panel.set_ylabel("cost of a row, or an event, to the first")
    return figure


def _commands(grows: str, sizes: Sequence[int], folder: Path, *, threads: int) -> dict[str, dict[str, Sequence[str]]]:
    """By what is measured and by size the command of a process."""
    if grows == "rows":
        _make_rows(folder, sizes, threads=threads)
        return {
            stage: {str(size): command(stage, "ctrgate", folder / str(size)) for size in sizes}
            for stage in ("prepare", "score")
        }
    names = BY_FIELDS if grows == "fields" else BY_LENGTH
    step = (sys.executable, "-m", "benchmarks.growth.points")
    return {name: {str(size): (*step, name, str(size)) for size in sizes} for name in names}


def _make_rows(folder: Path, sizes: Sequence[int], *, threads: int) -> None:
    """Raw rows once, of which each size's folder links as many files as it takes; a model learns from the fewest."""
    criteo_shaped.write(CriteoShapedConfig(num_rows=sizes[-1], rows_per_file=sizes[0]), folder / "raw")
    files = sorted((folder / "raw").glob("*.parquet"))
    for size in sizes:
        place = Place(folder / str(size))
        place.raw.mkdir(parents=True)
        for file in files[: -(-size // sizes[0])]:
            (place.raw / file.name).symlink_to(file)
        place.raw_to_score.symlink_to(place.raw)
        if size != sizes[0]:
            (place.folder / "artifact").symlink_to(folder / str(sizes[0]) / "artifact")
    make = (sys.executable, "-m", "benchmarks.speed.place", str(folder / str(sizes[0])), str(sizes[0]))
    subprocess.run(make, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


if __name__ == "__main__":
    raise SystemExit(main())
