"""Train FinalMLP on one GPU, beside what reading delivers and what the card needs at least; print a Markdown table."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.limit import limit
from benchmarks.speed.ours import batches, fit_of, read_side, steps
from benchmarks.speed.place import Place
from benchmarks.speed.size import BATCH, TURN_ROWS
from benchmarks.speed.turns import Turn
from ctrgate.data.prefetch import prefetch
from ctrgate.data.transfer import Transfer
from ctrgate.heap import keep_heap

__all__ = ["main", "table"]

SIDES: Mapping[str, Mapping[str, Any]] = {
    "fused bf16, compiled": {"rule": "fused", "precision": "bf16", "compiled": True},
    "fused bf16": {"rule": "fused", "precision": "bf16"},
    "fused fp32, compiled": {"rule": "fused", "precision": "fp32", "compiled": True},
    "fused fp32": {"rule": "fused", "precision": "fp32"},
    "dense bf16, compiled": {"rule": "dense", "precision": "bf16", "compiled": True},
    "dense bf16": {"rule": "dense", "precision": "bf16"},
}
READ, MOVED, LIMIT = "reading alone", "packed and copied alone", "limit bf16"


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.gpu [--rows 300000] [--turns 7] [--folder DIR]``; all sides in one process, in turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="raw rows that are prepared")
    parser.add_argument("--turns", type=int, default=7, help="turns of each side that are counted")
    parser.add_argument("--folder", type=Path, help="where rows are made, and kept for the next time")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu shows that the script works")
    parsed = parser.parse_args(arguments)
    keep_heap()
    with tempfile.TemporaryDirectory(prefix="ctrgate-gpu-") as temporary:
        place = Place(parsed.folder or Path(temporary))
        place.make_rows(num_rows=parsed.rows)
        name = torch.cuda.get_device_name() if parsed.device == "cuda" else "no GPU"
        print(f"{name}, torch {torch.__version__}, batches of {BATCH:,} rows, turns of {TURN_ROWS:,}")
        print(table(_in_turn(_sides(place, parsed.device), turns=parsed.turns)))
    return 0


def table(seconds: Mapping[str, Sequence[float]]) -> str:
    """Rows a second and milliseconds a batch, medians; the least and the most; ratio of medians to the limit."""
    lines = ["| side | rows/s, median | least to most | ms a batch | of the limit |", "|---|---|---|---|---|"]
    for name, of in seconds.items():
        median = statistics.median(of)
        rates = [TURN_ROWS / each for each in of]
        share = statistics.median(seconds[LIMIT]) / median
        span = f"{min(rates):,.0f} to {max(rates):,.0f}"
        cells = name, f"{TURN_ROWS / median:,.0f}", span, f"{1e3 * median * BATCH / TURN_ROWS:.2f}", f"{share:.0%}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _sides(place: Place, device: Any) -> dict[str, Callable[[], Turn]]:
    """Each side, not begun yet: from Parquet as ``train`` does it, and on batches that are ready."""
    source = batches(place)
    ready = [next(source) for _ in range(TURN_ROWS // BATCH)]
    sides: dict[str, Callable[[], Turn]] = {}
    for name, settings in SIDES.items():

        def train(settings: Mapping[str, Any] = settings) -> Turn:
            return steps(fit_of(place, device=device, **settings), prefetch(batches(place)))

        def step(settings: Mapping[str, Any] = settings) -> Turn:
            return steps(fit_of(place, device=device, **settings), itertools.cycle(ready))

        sides[name] = train
        sides[f"{name}, batches ready"] = step

    def moved() -> Turn:
        transfer = Transfer(torch.device(device))

        def turn() -> int:
            for batch in ready:
                transfer(batch)
            if device == "cuda":
                torch.cuda.synchronize()
            return TURN_ROWS

        return turn

    def least() -> Turn:
        return limit(place, precision="bf16", device=device)

    return sides | {READ: lambda: read_side(place), MOVED: moved, LIMIT: least}


def _in_turn(sides: Mapping[str, Callable[[], Turn]], *, turns: int) -> dict[str, list[float]]:
    """Seconds of each turn of each side; the first two warm up, one of them compiles."""
    begun = {}
    for name, begin in sides.items():
        sys.stderr.write(f"{name}\n")
        begun[name] = begin()
        for _ in range(2):
            begun[name]()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, turn in begun.items():
            started = time.perf_counter()
            turn()
            seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
