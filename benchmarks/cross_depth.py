"""Train GCN and CN-V2, the gated and the plain cross net, with 1 to 8 layers on Frappe_x1; print and draw test AUC."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.experiment import Stopped, run_verb

__all__ = ["draw", "main", "table"]

EXPERIMENTS = Path(__file__).parents[1] / "configs" / "experiments"
TITLES = {"frappe_gcn": "GCN (gated)", "frappe_cn_v2": "CN-V2 (plain)"}
Areas = Mapping[str, Mapping[int, Sequence[float]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.cross_depth [--seeds 2021] [--figure FILE.svg]``; run again, it goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_depth", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2021])
    parser.add_argument("--depths", nargs="+", type=int, default=list(range(1, 9)))
    parser.add_argument("--runs", default="runs/cross_depth", help="where run folders lie")
    parser.add_argument("--figure", default="docs/figures/cross_depth.svg")
    parsed = parser.parse_args(arguments)
    areas: dict[str, dict[int, list[float]]] = {name: {depth: [] for depth in parsed.depths} for name in TITLES}
    try:
        for depth in parsed.depths:
            for name in TITLES:
                areas[name][depth] = [_area(name, depth=depth, seed=seed, runs=parsed.runs) for seed in parsed.seeds]
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    print(table(areas))
    Path(parsed.figure).parent.mkdir(parents=True, exist_ok=True)
    draw(areas).savefig(parsed.figure, metadata={"Date": None, "Creator": None})
    return 0


def table(areas: Areas) -> str:
    """Test AUC by depth as Markdown: the mean over seeds, and its standard deviation where there are several.

    Args:
        areas: By run file and depth, for each seed.
    """
    lines = ["| cross layers | " + " | ".join(TITLES[name] for name in areas) + " |", "|---" * (1 + len(areas)) + "|"]
    for depth in next(iter(areas.values())):
        cells = []
        for by_depth in areas.values():
            of = by_depth[depth]
            cells.append(f"{statistics.mean(of):.5f}" + (f" ± {statistics.stdev(of):.5f}" if len(of) > 1 else ""))
        lines.append(f"| {depth} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(areas: Areas) -> Figure:
    """The same as lines over depth; a dot for each seed."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    panel = figure.subplots()
    for (name, by_depth), color in zip(areas.items(), ("#2563c9", "#c2571a"), strict=True):
        depths = list(by_depth)
        panel.plot(depths, [statistics.mean(by_depth[depth]) for depth in depths], color=color, label=TITLES[name])
        for depth in depths:
            panel.plot([depth] * len(by_depth[depth]), by_depth[depth], "o", color=color, markersize=4)
    panel.set(xlabel="cross layers", ylabel="test AUC")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(frameon=False)
    panel.grid(linewidth=0.5, alpha=0.4)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def _area(name: str, *, depth: int, seed: int, runs: str) -> float:
    run_file = EXPERIMENTS / f"{name}.yaml"
    overrides = [f"name={name}_{depth}_{seed}", f"seed={seed}", f"runs={runs}", f"model.num_cross_layers={depth}"]
    overrides.append("tracking.enabled=false")
    run_verb("prepare", run_file=run_file)
    run_verb("train", run_file=run_file, overrides=overrides)
    area: float = run_verb("evaluate", run_file=run_file, overrides=overrides).result["test"]["auc"]["value"]
    return area


if __name__ == "__main__":
    raise SystemExit(main())
