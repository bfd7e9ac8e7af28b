"""What a training step of FinalMLP costs as its tables grow, under both rules; ratios within one run."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.steps import click_fields, training_step
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig

__all__ = ["main", "step_seconds"]

FIELDS, BATCH = 39, 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.vocabulary [--rows 100000 1000000 10000000] [--steps N]``; prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vocabulary", description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--dense-up-to", type=int, default=1_000_000, help="the dense rule is not tried beyond")
    parsed = parser.parse_args(arguments)
    head = "rows of all tables", "fused: ms a step", "to the first", "dense: ms a step", "to the first"
    sys.stdout.write(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n")
    first: dict[str, float] = {}
    for rows in parsed.rows:
        cells = [f"{rows:,}"]
        for rule in ("fused", "dense"):
            if rule == "dense" and rows > parsed.dense_up_to:
                cells += ["not tried", ""]
                continue
            seconds = step_seconds(rows, rule=rule, steps=parsed.steps)
            first.setdefault(rule, seconds)
            cells += [f"{1000 * seconds:.0f}", f"{seconds / first[rule]:.2f}"]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()
    return 0


def step_seconds(rows: int, *, rule: str, steps: int) -> float:
    """The median time of a step, forward, backward and update.

    Args:
        rows: Of the tables of 39 fields together, evenly.
        rule: ``fused`` or ``dense``.
        steps: That are timed, after three that are not.
    """
    tables = TablesConfig(dim=16, rule=FusedRule() if rule == "fused" else DenseRule())
    mlp = MlpConfig(hidden=(400, 400, 400))
    config = FinalMLPConfig(mlp1=mlp, mlp2=mlp, gate1_context=("f0",), gate2_context=("f1",), num_heads=10)
    layout = click_fields(FIELDS, table_rows=rows // FIELDS)
    step = training_step(config, layout, tables=tables, num_rows=BATCH)
    times = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


if __name__ == "__main__":
    sys.exit(main())
