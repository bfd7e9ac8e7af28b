"""A user's last rows: left out to test and to validate, or the only ones of train that are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.features.dataset import ByLeaveOneOut, DatasetConfig
from ctrgate.features.roles import SPLIT
from ctrgate.features.sources import Source
from ctrgate.features.timeline import PLACE, USER, by_row, in_order, num_rows, timed_rows

__all__ = ["last_train_rows", "leave_one_out"]

_TRAIN, _VALID, _TEST = range(3)


def leave_one_out(rule: ByLeaveOneOut, *, dataset: DatasetConfig, sources: Sequence[Source]) -> list[pl.Expr]:
    """For each file, the expression that names a row's split; user and time of all rows are held (24 bytes per row)."""
    counts = num_rows(sources)
    rows = in_order(_read(dataset, sources, [source.rows for source in sources], counts=counts))
    after, size = _ranks(rows[USER])
    splits = np.full(rows.height, _TRAIN, dtype=np.uint8)
    is_whole = size >= 1 + rule.valid + rule.test
    if rule.valid:
        splits[is_whole & (after == int(rule.test))] = _VALID
    if rule.test:
        splits[is_whole & (after == 0)] = _TEST
    codes = np.full(sum(counts), _TRAIN, dtype=np.uint8)
    codes[rows[PLACE].to_numpy()] = splits
    return [_named(by_row(part)) for part in _per_file(codes, counts)]


def last_train_rows(
    dataset: DatasetConfig, sources: Sequence[Source], frames: Sequence[pl.LazyFrame]
) -> list[pl.LazyFrame]:
    """The rows of each file without those of train that are not their user's last there.

    Args:
        dataset: The dataset.
        sources: Its files.
        frames: Their rows with the split of each, as ``assign`` gives them.
    """
    counts = num_rows(sources)
    train = [frame.filter(pl.col(SPLIT) == "train") for frame in frames]
    rows = in_order(_read(dataset, sources, train, counts=counts))
    after, _ = _ranks(rows[USER])
    is_last = np.zeros(sum(counts), dtype=bool)
    is_last[rows[PLACE].to_numpy()[after == 0]] = True
    kept = [by_row(part) for part in _per_file(is_last, counts)]
    return [frame.filter((pl.col(SPLIT) != "train") | keep) for frame, keep in zip(frames, kept, strict=True)]


def _read(
    dataset: DatasetConfig, sources: Sequence[Source], frames: Sequence[pl.LazyFrame], *, counts: Sequence[int]
) -> pl.DataFrame:
    starts = np.cumsum([0, *counts])
    parts = []
    for source, frame, start in zip(sources, frames, starts[:-1], strict=True):
        with source.reading():
            columns = timed_rows(dataset, source.schema, start=int(start))
            parts.append(frame.select(columns).collect(engine="streaming"))
    return pl.concat(parts)


def _ranks(users: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For rows in order: how many of the user's come after, and how many the user has."""
    values = users.to_numpy()
    bounds = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    sizes = np.diff(bounds)
    return np.repeat(bounds[1:], sizes) - 1 - np.arange(len(values)), np.repeat(sizes, sizes)


def _per_file(values: NDArray[np.generic], counts: Sequence[int]) -> list[NDArray[np.generic]]:
    return np.split(values, np.cumsum(counts)[:-1])


def _named(codes: pl.Expr) -> pl.Expr:
    return (
        pl.when(codes == _TEST)
        .then(pl.lit("test"))
        .when(codes == _VALID)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train"))
    )
