"""Each user's rows in the order of time: what leaving one out, a user's last row and histories go by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.rawfile import ROW
from ctrgate.features.roles import group_column, seconds
from ctrgate.features.sources import Source

__all__ = ["PLACE", "TIME", "USER", "by_row", "first_of_run", "in_order", "is_timed", "num_rows", "timed_rows"]

USER, TIME, PLACE = "time:user", "time:time", "time:place"
"""The columns of a row's user, time and place among the rows of all files."""


def is_timed(dataset: DatasetConfig) -> bool:
    """Whether a column tells the time of rows; else the order of files and of the rows in them does."""
    return bool(dataset.roles.timestamp or dataset.roles.order)


def timed_rows(dataset: DatasetConfig, schema: pl.Schema, *, start: int) -> list[pl.Expr]:
    """User, time and place of a file's rows, the time in seconds, else as ``roles.order`` has it, else 0.

    The rows of a file that lacks the column of times come after all that have one.

    Args:
        dataset: Which columns tell them; ``roles.group`` is needed.
        schema: The file's columns.
        start: How many rows the files before it have.
    """
    time, told_by = pl.lit(0, dtype=pl.Int64), dataset.roles.timestamp or dataset.roles.order
    if told_by and told_by not in schema:
        time = pl.lit(np.iinfo(np.int64).max)
    elif dataset.roles.timestamp:
        time = seconds(dataset, schema)
    elif dataset.roles.order:
        time = pl.col(dataset.roles.order).cast(pl.Int64)
    place = pl.col(ROW).cast(pl.Int64) + start
    return [group_column(dataset, schema).alias(USER), time.alias(TIME), place.alias(PLACE)]


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows by user, time and place, those without a user or a time left out."""
    return rows.drop_nulls([USER, TIME]).sort(USER, TIME, PLACE)


def first_of_run(*columns: pl.Series) -> NDArray[np.int64]:
    """For each row, the first of the rows around it that are equal in all columns; ``(N,)``."""
    size = len(columns[0])
    begins = np.zeros(size, dtype=bool)
    begins[:1] = True
    for column in columns:
        values = column.to_numpy()
        begins[1:] |= values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(begins, np.arange(size), 0))


def num_rows(sources: Sequence[Source]) -> list[int]:
    """The rows of each file."""
    counts = []
    for source in sources:
        with source.reading():
            counts.append(int(source.rows.select(pl.len()).collect(engine="streaming").item()))
    return counts


def by_row(values: NDArray[np.generic]) -> pl.Expr:
    """What an array holds for each row of a file, by the row's number."""

    def read(rows: pl.Series) -> pl.Series:
        return pl.Series(values[rows.to_numpy()])

    dtype = pl.Series(values[:0]).dtype
    return pl.col(ROW).map_batches(read, return_dtype=dtype, is_elementwise=True)
