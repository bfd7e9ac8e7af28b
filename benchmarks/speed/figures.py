"""Turns as medians, spreads and ratios: the table, what is kept, and what has been lost since."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.sides import PLAIN
from benchmarks.speed.turns import Measured

__all__ = ["figures", "losses", "place_of_figures", "surroundings", "table"]

Figures = Mapping[str, Mapping[str, Any]]
"""By side: rows a second, their spread, rows a second of processor time, peak memory, ratios."""
ALLOWED_LOSS = 0.2
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def figures(sides: Mapping[str, Measured], *, reference: str = PLAIN) -> dict[str, dict[str, Any]]:
    """What a stage's sides did, and how they compare.

    Ratios are medians over turns, each of a side's turn to the other side's turn of the same round, in rows per second
    of processor time: what other processes take of a busy machine is in neither. ``to_plain`` (or
    to another side) and ``of_limit`` (of the same precision) are there where the stage has such a side.
    """
    result = {}
    for name, side in sides.items():
        speeds = sorted(side.rows / seconds for seconds in side.seconds)
        figure: dict[str, Any] = {
            "rows_per_second": statistics.median(speeds),
            "spread": [speeds[0], speeds[-1]],
            "rows_per_cpu_second": statistics.median(side.rows / seconds for seconds in side.cpu_seconds),
            "peak_mb": side.peak_mb,
        }
        if reference in sides and name != reference:
            figure[f"to_{reference}"] = _ratio(side, sides[reference], clock=False)
            figure[f"to_{reference}_by_the_clock"] = _ratio(side, sides[reference], clock=True)
        bound = sides.get(f"limit {name.split()[-1]}")
        if bound is not None and bound is not side:
            figure["of_limit"] = _ratio(side, bound, clock=False)
        result[name] = figure
    return result


def _ratio(side: Measured, other: Measured, *, clock: bool) -> float:
    ours, theirs = (each.seconds if clock else each.cpu_seconds for each in (side, other))
    return statistics.median(
        (side.rows / mine) / (other.rows / yours) for mine, yours in zip(ours, theirs, strict=True)
    )


def table(stages: Mapping[str, Figures], *, reference: str = PLAIN) -> str:
    """One line for each side, with its ratio to the reference's."""
    head = (
        "stage",
        "side",
        "rows/s",
        "least to most",
        "rows/s of processor",
        "peak MB",
        f"to {reference}",
        "of the limit",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for stage, sides in stages.items():
        for name, side in sides.items():
            low, high = side["spread"]
            cells = (
                *(stage, name, f"{side['rows_per_second']:,.0f}", f"{low:,.0f} to {high:,.0f}"),
                *(f"{side['rows_per_cpu_second']:,.0f}", f"{side['peak_mb']:,.0f}"),
                *(f"{side[f'to_{reference}']:.1f}" if f"to_{reference}" in side else "",),
                *(f"{side['of_limit']:.0%}" if "of_limit" in side else "",),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def losses(found: Mapping[str, Figures], kept: Mapping[str, Figures]) -> Sequence[str]:
    """A line for each ratio that is more than a fifth below what was kept; the limit's own ratio says nothing of us."""
    lines = []
    for stage, sides in found.items():
        for name, side in sides.items():
            for ratio in ("to_plain", "of_limit"):
                before = kept.get(stage, {}).get(name, {}).get(ratio)
                if before is None or ratio not in side or name.startswith("limit"):
                    continue
                if side[ratio] < (1 - ALLOWED_LOSS) * before:
                    lines.append(f"{stage}, {name}: {ratio} is {side[ratio]:.2f}, it was {before:.2f}")
    return lines


def place_of_figures(threads: int) -> Path:
    """Where figures of machines like this one are kept: by what of their CPU's flags matters, and threads."""
    has = _flags()
    name = "-".join([platform.machine(), *(flag for flag in _FLAGS if flag in has)])
    return Path(__file__).parents[1] / "figures" / f"{name}-{threads}.json"


def surroundings(*, rows: int, threads: int, turns: int) -> dict[str, Any]:
    """What figures depend on besides the code."""
    import torch

    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in _flags()],
        "torch": torch.__version__,
        "rows": rows,
        "threads": threads,
        "turns": turns,
        "load": os.getloadavg()[1],
    }


def _flags() -> set[str]:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())
