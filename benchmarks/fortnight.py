"""A generated fortnight of clicks for the daily pipeline: drift, new items, a broken day, a silent one, a late file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ctrgate.files import atomic_file

__all__ = ["BROKEN", "EMPTY", "FIRST", "LATE", "NOISY", "NUM_DAYS", "day_of", "main", "write_day", "write_late"]

FIRST, NUM_DAYS = date(2025, 3, 1), 16
BROKEN, EMPTY, NOISY, LATE = 8, 10, 12, 6
"""Days, counted from 1: prices are infinite and devices strange; nothing is clicked; most labels are drawn at random,
so that what learns from them is worse; half of the rows come days later."""
_USERS, _ITEMS, _NEW_ITEMS, _DIM = 120, 60, 3, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.fortnight [--into FOLDER] [--rows ROWS_PER_DAY]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fortnight", description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("data/fortnight"))
    parser.add_argument("--rows", type=int, default=4000)
    parsed = parser.parse_args(arguments)
    for number in range(1, NUM_DAYS + 1):
        write_day(parsed.into, number, num_rows=parsed.rows)
    write_late(parsed.into, num_rows=parsed.rows)
    sys.stdout.write(f"{parsed.into}: {NUM_DAYS} days of {parsed.rows:,} rows\n")
    return 0


def day_of(number: int) -> date:
    """The date of a day, counted from 1."""
    return FIRST + timedelta(days=number - 1)


def write_day(folder: Path, number: int, *, num_rows: int) -> Path:
    """Write a day's file; of ``LATE`` only the first half of its rows."""
    rows = _rows(number, num_rows=num_rows)
    return _write(folder, number, "part-0", rows[: num_rows // 2] if number == LATE else rows)


def write_late(folder: Path, *, num_rows: int) -> Path:
    """Write the other half."""
    return _write(folder, LATE, "part-1", _rows(LATE, num_rows=num_rows)[num_rows // 2 :])


def _write(folder: Path, number: int, name: str, rows: pl.DataFrame) -> Path:
    path = folder / day_of(number).isoformat() / f"{name}.parquet"
    with atomic_file(path) as temporary:
        rows.write_parquet(temporary)
    return path


def _rows(number: int, *, num_rows: int) -> pl.DataFrame:
    """A day's rows: tastes and items match in factors that turn slowly, and new items are shown more than old ones."""
    taste = np.random.default_rng(1).normal(size=(_USERS, _DIM))
    kind = np.random.default_rng(2).normal(size=(_ITEMS + NUM_DAYS * _NEW_ITEMS, _DIM))
    angle = 0.04 * number
    turned = kind.copy()
    turned[:, 0] = np.cos(angle) * kind[:, 0] - np.sin(angle) * kind[:, 1]
    turned[:, 1] = np.sin(angle) * kind[:, 0] + np.cos(angle) * kind[:, 1]
    random = np.random.default_rng([3, number])
    user = random.integers(0, _USERS, num_rows)
    item = random.integers(0, _ITEMS + number * _NEW_ITEMS, num_rows)
    device = random.choice(["phone", "desktop", "tv"], p=[0.6, 0.3, 0.1], size=num_rows)
    price = random.lognormal(1.5, 0.8, num_rows)
    logit = -1.2 + 0.8 * (taste[user] * turned[item]).sum(axis=1) + 0.4 * (device == "phone") - 0.3 * np.log(price)
    click = random.random(num_rows) < 1 / (1 + np.exp(-logit))
    if number == NOISY:
        click = np.where(random.random(num_rows) < 0.9, random.random(num_rows) < click.mean(), click)
    if number == EMPTY:
        click = np.zeros(num_rows, dtype=bool)
    if number == BROKEN:
        price, device = np.full(num_rows, np.inf), np.full(num_rows, "?")
    seconds = np.sort(random.integers(0, 86_400, num_rows))
    start = int((day_of(number) - date(1970, 1, 1)).total_seconds())
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "device": device,
            "price": price,
            "time": start + seconds,
            "click": click.astype(int),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
