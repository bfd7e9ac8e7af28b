"""What narrower fields cost: train a run file, choose its fields' widths, train with those; over seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.experiment import Stopped, run_verb

__all__ = ["Narrowed", "main", "table"]

RUN_FILE = Path(__file__).parents[1] / "configs" / "experiments" / "frappe_gdcn_p.yaml"


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """A run and what became of it.

    Args:
        parameters: Of the tables, before and after.
        full: AUC by split, all fields of one width.
        narrow: AUC by split, each field of its own width.
    """

    seed: int
    parameters: tuple[int, int]
    full: Mapping[str, float]
    narrow: Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.field_widths [RUN.yaml] [--explained E] [--seeds ...]``; run again, it goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field_widths", description=__doc__)
    parser.add_argument("run_file", nargs="?", default=str(RUN_FILE), metavar="RUN.yaml")
    parser.add_argument("--explained", type=float, default=0.95, help="widths.explained")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2021, 2022, 2023])
    parser.add_argument("--runs", default="runs/field_widths", help="where run folders lie")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="other settings, for all runs")
    parsed = parser.parse_args(arguments)
    try:
        found = [
            _run(Path(parsed.run_file), seed=seed, explained=parsed.explained, runs=parsed.runs, overrides=parsed.set)
            for seed in parsed.seeds
        ]
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    print(table(found))
    return 0


def table(found: Sequence[Narrowed]) -> str:
    """One line per seed, as Markdown."""
    splits = "valid", "test"
    head = ["seed", "table parameters", *(f"{split} AUC, full | narrow | difference" for split in splits)]
    lines = [f"| {' | '.join(head)} |", "|---" * 8 + "|"]
    for each in found:
        before, after = each.parameters
        cells = [str(each.seed), f"{before:,} to {after:,} ({after / before:.1%})"]
        for split in splits:
            full, narrow = each.full[split], each.narrow[split]
            cells += [f"{full:.5f}", f"{narrow:.5f}", f"{narrow - full:+.5f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _run(run_file: Path, *, seed: int, explained: float, runs: str, overrides: Sequence[str]) -> Narrowed:
    name = f"{run_file.stem}_{seed}"
    settings = [f"name={name}", f"seed={seed}", f"runs={runs}", "tracking.enabled=false", *overrides]
    narrow_file = Path(runs) / f"{name}_{explained}.yaml"
    run_verb("prepare", run_file=run_file, overrides=overrides)
    full = _trained(run_file, overrides=settings)
    of_widths = [f"explained={explained}", f"into={narrow_file}", f"name={name}_{explained}"]
    widths = run_verb("widths", run_file=run_file, overrides=[*settings, *(f"widths.{each}" for each in of_widths)])
    return Narrowed(
        seed=seed,
        parameters=(widths.result["parameters_before"], widths.result["parameters_after"]),
        full=full,
        narrow=_trained(narrow_file, overrides=[]),
    )


def _trained(run_file: Path, *, overrides: Sequence[str]) -> dict[str, float]:
    """AUC by split."""
    run_verb("train", run_file=run_file, overrides=overrides)
    evaluated: Mapping[str, Any] = run_verb("evaluate", run_file=run_file, overrides=overrides).result
    return {split: evaluated[split]["auc"]["value"] for split in ("valid", "test")}


if __name__ == "__main__":
    raise SystemExit(main())
