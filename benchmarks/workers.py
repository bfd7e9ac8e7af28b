"""Rows that training takes in a second in one process, and in one or two workers of Ray, on the same cores."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.speed.place import Place
from ctrgate.stage import run_as_process

__all__ = ["main"]

WORKERS = (0, 1, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.workers [--rows N] [--turns N] [--cores N]``; prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--turns", type=int, default=3, help="of each, one after the other")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="shared by the processes")
    parsed = parser.parse_args(arguments)
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with TemporaryDirectory(prefix="workers-") as folder:
        run_file = Place(Path(folder)).write_run_file(num_rows=parsed.rows)
        for turn in range(parsed.turns):
            for workers in WORKERS:
                rates[workers].append(_rate(run_file, workers=workers, cores=parsed.cores, turn=turn))
    head = "train.workers", "threads of each", "rows/s, median", "least and most", "to none"
    sys.stdout.write(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n")
    alone = statistics.median(rates[0])
    for workers, found in rates.items():
        median = statistics.median(found)
        cells = (
            str(workers),
            str(parsed.cores // max(1, workers)),
            f"{median:,.0f}",
            f"{min(found):,.0f} to {max(found):,.0f}",
            f"{median / alone:.2f}",
        )
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    return 0


def _rate(run_file: Path, *, workers: int, cores: int, turn: int) -> float:
    """Rows a second of an epoch's training, starting and evaluation left out."""
    threads = cores // max(1, workers)
    settings = {"workers": workers, "threads": threads, "precision": "fp32"}
    overrides = [f"name=of-{workers}-{turn}", *(f"train.{name}={value}" for name, value in settings.items())]
    ended = run_as_process("train", run_file, overrides=[*overrides, f"cluster.cpus_per_worker={threads}"])
    if ended.exit_code:
        raise SystemExit(f"training with train.workers={workers} ended with {ended.exit_code}")
    return float(json.loads(ended.output)["rows_per_second"])


if __name__ == "__main__":
    sys.exit(main())
