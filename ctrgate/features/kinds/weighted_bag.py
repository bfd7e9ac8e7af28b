"""Any number of categories per row, each with a weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from ctrgate.config import settings
from ctrgate.features.columns import Key, entries, kept_places, key_type
from ctrgate.features.encodings import Encoding, Value, VocabularyEncoding
from ctrgate.features.kinds.kind import Kind, Name, OneColumn, OneTable
from ctrgate.features.layout import Field, weights_column
from ctrgate.features.raw_column import RawColumn

__all__ = ["WeightedBag"]


@settings
class WeightedBag(OneColumn, OneTable, Kind):
    """A bag whose entries have weights; a weight that is missing counts as 0."""

    kind: Literal["weighted_bag"] = "weighted_bag"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """A list column; the feature's name by default."""
    weights: str
    """The list column of weights, of the same length in every row."""
    encoding: Encoding = VocabularyEncoding()
    """How entries become rows of the table."""
    pooling: Literal["sum", "mean"] = "sum"
    """The weighted sum of the entries' vectors, or that divided by the sum of the weights."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Entries and weights, lists of one length."""
        lists = self.categories(self.source, is_list=True, drop=self.drop)
        return (lists, RawColumn(column=self.weights, reader=self.name, holds="number", is_list=True))

    def fields(self) -> tuple[Field, ...]:
        """One bag with weights."""
        return (Field(name=self.name, kind="weighted_bag", table=self.table, pooling=self.pooling),)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """The entries that count."""
        values, kind = entries(self.source, schema), key_type(schema[self.source])
        kept = values.list.gather(kept_places(values, drop=self.drop, type=kind))
        yield Key(column=self.name, table=self.table, values=kept, type=kind, is_list=True)

    def unlearnt(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[pl.Expr]:
        """The weights of the entries that count."""
        values, kind = entries(self.source, schema), key_type(schema[self.source])
        given = pl.col(self.weights).cast(pl.List(pl.Float32)).fill_null(pl.lit([], dtype=pl.List(pl.Float32)))
        kept = given.list.gather(kept_places(values, drop=self.drop, type=kind))
        yield kept.list.eval(pl.element().fill_nan(None).fill_null(0.0)).alias(weights_column(self.name))

    def example(self, at: float, *, boundaries: Sequence[float]) -> float:
        """A weight."""
        return 0.5 + 1.5 * at
