"""A number read as the category of its bucket."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import polars as pl

from ctrgate.config import settings
from ctrgate.features.columns import Key, number
from ctrgate.features.encodings import (
    Boundaries,
    Buckets,
    Encoding,
    FloorLogSquared,
    IdentityEncoding,
    Missing,
    Quantiles,
    VocabularyEncoding,
)
from ctrgate.features.kinds.kind import Kind, Name, OneColumn
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn

__all__ = ["Bucketized"]


@settings
class Bucketized(OneColumn, Kind):
    """A number read as the category of its bucket."""

    kind: Literal["bucketized"] = "bucketized"
    name: Name
    """Of the field and of its table."""
    column: str = ""
    """The raw column; the feature's name by default."""
    buckets: Buckets
    """Where they begin and end."""
    missing: Missing = "value"
    """What a missing number reads: a row of its own, the unknown row, or zeros."""
    when_scoring: float | None = None
    """A number read for every row that is scored."""

    @property
    def quantiles(self) -> int:
        """Buckets of which the boundaries are learnt; 0 where they are given."""
        return self.buckets.count if isinstance(self.buckets, Quantiles) else 0

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Its column, unless a constant stands for it."""
        if scoring and self.when_scoring is not None:
            return ()
        return (RawColumn(column=self.source, reader=self.name, holds="number"),)

    def fields(self) -> tuple[Field, ...]:
        """One id."""
        return (Field(name=self.name, kind="id", table=self.name),)

    def tables(self) -> tuple[tuple[str, Encoding], ...]:
        """One of its own: buckets are rows already where their number is known."""
        if isinstance(self.buckets, FloorLogSquared):
            return ((self.name, VocabularyEncoding(min_count=self.buckets.min_count)),)
        size = len(self.buckets.values) + 1 if isinstance(self.buckets, Boundaries) else self.quantiles
        return ((self.name, IdentityEncoding(num_values=size)),)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """The bucket's number."""
        raw = number(self.source, constant=self.when_scoring if scoring else None)
        if isinstance(self.buckets, FloorLogSquared):
            bucket = _floor_log_squared(raw)
        else:
            bucket = _count_below(raw, self._cuts(boundaries))
        yield Key(column=self.name, table=self.name, values=bucket, type="int", missing=self.missing)

    def example(self, at: float, *, boundaries: Sequence[float]) -> float:
        """From half the boundaries' spread below the first to as much above the last."""
        if isinstance(self.buckets, FloorLogSquared):
            return round(math.exp(8 * at)) - 2.0
        cuts = self._cuts(boundaries) or (0.0,)
        spread = cuts[-1] - cuts[0] or 1.0
        low, high = cuts[0] - spread / 2, cuts[-1] + spread / 2
        return low + at * (high - low)

    def _cuts(self, fitted: Sequence[float]) -> Sequence[float]:
        return self.buckets.values if isinstance(self.buckets, Boundaries) else fitted


def _floor_log_squared(raw: pl.Expr) -> pl.Expr:
    squared = pl.when(raw > 2).then(raw).log().pow(2).floor()
    return pl.when(raw > 2).then(squared).otherwise(raw).cast(pl.Int64)


def _count_below(raw: pl.Expr, boundaries: Sequence[float]) -> pl.Expr:
    """The number of boundaries below each number; null stays null."""
    rising = np.asarray(boundaries, dtype=np.float64)

    def count(values: pl.Series) -> pl.Series:
        below = np.searchsorted(rising, values.to_numpy(), side="left")
        return pl.Series(values.name, below, dtype=pl.Int64)

    buckets = raw.map_batches(count, return_dtype=pl.Int64, is_elementwise=True)
    return pl.when(raw.is_not_null()).then(buckets)
