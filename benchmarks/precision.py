"""What bf16 costs in AUC: FinalMLP on Criteo-shaped rows in either precision, paired by seed."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scipy import stats

from benchmarks.speed.place import Place
from ctrgate.stage import run_as_process

__all__ = ["main"]

PRECISIONS = ("fp32", "bf16")


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.precision [--rows N] [--seeds N ...] [--set KEY=VALUE ...]``; prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="a tenth of them are the valid rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the run file, for all runs")
    parsed = parser.parse_args(arguments)
    pairs: list[tuple[float, ...]] = []
    sys.stdout.write(f"| seed | {' | '.join(PRECISIONS)} | difference |\n|---|---|---|---|\n")
    with TemporaryDirectory(prefix="precision-") as folder:
        run_file = Place(Path(folder)).write_run_file(num_rows=parsed.rows)
        for seed in parsed.seeds:
            pair = tuple(_auc(run_file, seed=seed, precision=name, settings=parsed.set) for name in PRECISIONS)
            sys.stdout.write(f"| {seed} | {pair[0]:.5f} | {pair[1]:.5f} | {pair[1] - pair[0]:+.5f} |\n")
            sys.stdout.flush()
            pairs.append(pair)
    differences = [bf16 - fp32 for fp32, bf16 in pairs]
    mean, half = statistics.mean(differences), _half_width(differences)
    sys.stdout.write(f"\nbf16 less fp32: {mean:+.5f} [{mean - half:+.5f}, {mean + half:+.5f}] (95 %, t, by seed)\n")
    return 0


def _auc(run_file: Path, *, seed: int, precision: str, settings: list[str]) -> float:
    """Of the valid rows after one epoch."""
    overrides = [f"name={precision}-{seed}", f"seed={seed}", f"train.precision={precision}", *settings]
    ended = run_as_process("train", run_file, overrides=overrides)
    if ended.exit_code:
        raise SystemExit(f"training in {precision} with seed {seed} ended with {ended.exit_code}")
    return float(json.loads(ended.output)["valid"]["auc"])


def _half_width(differences: Sequence[float]) -> float:
    """Of the 95 % interval of their mean."""
    if len(differences) < 2:
        return math.nan
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return float(stats.t.ppf(0.975, len(differences) - 1)) * error


if __name__ == "__main__":
    sys.exit(main())
