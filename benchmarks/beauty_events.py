"""Amazon Beauty, a line of items per user, as the table of events that ``beauty_next.yaml`` reads."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ctrgate.errors import DataError
from ctrgate.files import atomic_file, writing

__all__ = ["events", "main"]

INTO = Path("prepared/raw/beauty/events.parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.beauty_events [--sequences FILE] [--into FILE]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beauty_events", description=__doc__)
    found = Path(os.environ.get("CTRGATE_DATA") or "../shared/data") / "beauty/sequences.txt"
    parser.add_argument("--sequences", type=Path, default=found, help="a line per user: USER ITEM ITEM ...")
    parser.add_argument("--into", type=Path, default=INTO, help="the Parquet file to write")
    parsed = parser.parse_args(arguments)
    try:
        rows = events(parsed.sequences)
        with writing(parsed.into, setting="--into"), atomic_file(parsed.into) as temporary:
            rows.write_parquet(temporary)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{parsed.into}: {rows.height:,} events of {rows['user'].n_unique():,} users")
    return 0


def events(sequences: Path) -> pl.DataFrame:
    """A row for each item of a line, in the order of the file: ``user`` and ``item``.

    Raises:
        DataError: Where there is no such file, or a line holds something other than whole numbers, or no item.
    """
    try:
        lines = sequences.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{sequences} cannot be read as sequences: {error}") from error
    words = pl.DataFrame({"line": lines}, schema={"line": pl.String}).select(
        pl.col("line").str.split(" ").cast(pl.List(pl.Int64), strict=False)
    )
    wrong = words.select(
        (pl.col("line").list.eval(pl.element().is_null()).list.any()) | (pl.col("line").list.len() < 2)
    )
    if wrong.to_series().any():
        line = wrong.to_series().arg_true()[0] + 1
        raise DataError(f"{sequences} line {line}: expected USER ITEM ITEM ..., got {lines[line - 1][:80]!r}")
    return words.select(user=pl.col("line").list.first(), item=pl.col("line").list.slice(1)).explode("item")


if __name__ == "__main__":
    raise SystemExit(main())
