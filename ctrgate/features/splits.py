"""Which split a row falls in: by given files, time, user, ratio, order or leave-one-out; which negatives are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import numpy as np
import polars as pl

from ctrgate.features.dataset import ByLeaveOneOut, ByOrder, ByRatio, ByTime, ByUser, DatasetConfig
from ctrgate.features.hashing import hash_column, hash_text
from ctrgate.features.leave_one_out import leave_one_out
from ctrgate.features.rawfile import ROW
from ctrgate.features.roles import SPLIT, group_column, label_column, seconds
from ctrgate.features.sources import Source
from ctrgate.features.timeline import num_rows

__all__ = ["assign", "uniform"]

_NEVER = 2**63 - 1


def assign(dataset: DatasetConfig, sources: Sequence[Source]) -> list[pl.LazyFrame]:
    """The raw rows of each file with their row number (``ROW``) and their split (``SPLIT``), sampled-out rows gone.

    Nothing here depends on how files are read or by how many processes; a row's split depends on its place, its
    user or its time, and the time and order rules read one column of all files first (8 bytes per row).
    """
    splits = _splits(dataset, sources)
    frames = [source.rows.with_columns(split.alias(SPLIT)) for source, split in zip(sources, splits, strict=True)]
    if dataset.negative_sampling_rate == 1.0:
        return frames
    return [_sampled(dataset, source, frame) for source, frame in zip(sources, frames, strict=True)]


def uniform(number: pl.Expr, *, seed: str) -> pl.Expr:
    """A number in [0, 1) that depends on an integer and a seed alone."""
    hashing = partial(hash_column, seed=hash_text(seed))
    hashed = number.cast(pl.Int64).map_batches(hashing, return_dtype=pl.UInt64, is_elementwise=True)
    return (hashed // 2**11).cast(pl.Float64) / 2**53


def _splits(dataset: DatasetConfig, sources: Sequence[Source]) -> list[pl.Expr]:
    """For each file, the expression that names a row's split."""
    rule = dataset.split
    if isinstance(rule, ByTime):
        valid_from, test_from = _moments(rule, dataset=dataset, sources=sources)
        return [_by_rank(seconds(dataset, source.schema), valid_from, test_from) for source in sources]
    if isinstance(rule, ByOrder):
        starts = np.cumsum([0, *num_rows(sources)])
        valid_from, test_from = _cuts(int(starts[-1]), valid=rule.valid, test=rule.test)
        return [_by_rank(pl.col(ROW).cast(pl.Int64) + int(start), valid_from, test_from) for start in starts[:-1]]
    if isinstance(rule, ByLeaveOneOut):
        return leave_one_out(rule, dataset=dataset, sources=sources)
    if isinstance(rule, ByUser):
        return [_by_draw(uniform(group_column(dataset, s.schema), seed=f"user {rule.seed}"), rule) for s in sources]
    if isinstance(rule, ByRatio):
        return [_by_draw(uniform(pl.col(ROW), seed=f"ratio {rule.seed} {s.number}"), rule) for s in sources]
    return [pl.lit(source.split) for source in sources]


def _by_rank(rank: pl.Expr, valid_from: int, test_from: int) -> pl.Expr:
    later = pl.when(rank >= test_from).then(pl.lit("test")).when(rank >= valid_from).then(pl.lit("valid"))
    return later.when(rank.is_not_null()).then(pl.lit("train"))


def _by_draw(draw: pl.Expr, rule: ByUser | ByRatio) -> pl.Expr:
    test, valid = rule.test, rule.test + rule.valid
    return pl.when(draw < test).then(pl.lit("test")).when(draw < valid).then(pl.lit("valid")).otherwise(pl.lit("train"))


def _cuts(count: int, *, valid: float, test: float) -> tuple[int, int]:
    """The first row of valid and of test among rows in order."""
    return count - round(count * (valid + test)), count - round(count * test)


def _moments(rule: ByTime, *, dataset: DatasetConfig, sources: Sequence[Source]) -> tuple[int, int]:
    """The first second of valid and of test."""
    if not (rule.valid or rule.test):
        test_from = _NEVER if rule.test_from is None else _second(rule.test_from)
        return (test_from if rule.valid_from is None else _second(rule.valid_from)), test_from
    columns = []
    for source in sources:
        with source.reading():
            times = source.rows.select(seconds(dataset, source.schema)).drop_nulls().collect(engine="streaming")
        columns.append(times.to_series().to_numpy())
    ordered = np.sort(np.concatenate(columns))
    cuts = _cuts(len(ordered), valid=rule.valid, test=rule.test)
    valid_from, test_from = (int(ordered[cut]) if cut < len(ordered) else _NEVER for cut in cuts)
    return valid_from, test_from


def _second(moment: int | datetime) -> int:
    if isinstance(moment, int):
        return moment
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _sampled(dataset: DatasetConfig, source: Source, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Keep each negative of train with the sampling rate, by a stable hash of its place."""
    negative = label_column(dataset.labels[0], source.schema) == 0
    draw = uniform(pl.col(ROW), seed=f"negatives {source.number}")
    return rows.filter((pl.col(SPLIT) != "train") | ~negative | (draw < dataset.negative_sampling_rate))
