"""MovieLens-100K as a file of ratings per month, for the daily pipeline with months for its period."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ctrgate.files import atomic_file

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.months [--into FOLDER]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.months", description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("data/movielens_100k_months"))
    parsed = parser.parse_args(arguments)
    given = Path(os.environ.get("CTRGATE_DATA") or "../shared/data") / "ml_100k" / "u.data"
    names = ["user", "item", "rating", "timestamp"]
    rows = pl.read_csv(given, separator="\t", has_header=False, new_columns=names).sort("timestamp", "user", "item")
    months = rows.with_columns(month=pl.from_epoch("timestamp").dt.strftime("%Y-%m"))
    for (month,), part in months.group_by("month", maintain_order=True):
        with atomic_file(parsed.into / str(month) / "ratings.parquet") as temporary:
            part.drop("month").write_parquet(temporary)
        sys.stdout.write(f"{parsed.into / str(month)}: {part.height:,} ratings\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
