"""Any number of categories per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from ctrgate.config import settings
from ctrgate.features.columns import Key, entries, kept_places, key_type
from ctrgate.features.encodings import Encoding, Value, VocabularyEncoding
from ctrgate.features.kinds.kind import Kind, Name, OneColumn, OneTable
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn

__all__ = ["Bag"]


@settings
class Bag(OneColumn, OneTable, Kind):
    """Any number of categories per row, pooled into one vector; missing entries are left out."""

    kind: Literal["bag"] = "bag"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """A list column, or a string column with ``separator``; the feature's name by default."""
    columns: tuple[str, ...] = ()
    """Instead of ``column``: 0/1 columns, each of which is a category by its own name."""
    separator: str = ""
    """What stands between the entries of a string column; an empty string is an empty bag."""
    encoding: Encoding = VocabularyEncoding()
    """How entries become rows of the table."""
    pooling: Literal["sum", "mean"] = "mean"
    """Whether the entries' vectors are added up or averaged."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""

    def __post_init__(self) -> None:
        if self.columns and (self.column or self.separator or self.drop):
            raise ValueError("a bag is given by columns, or by one column (with separator and drop), not by both")

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """The flags, or the column of lists."""
        if self.columns:
            return tuple(RawColumn(column=column, reader=self.name, holds="flag") for column in self.columns)
        return (self.categories(self.source, is_list=True, separator=self.separator, drop=self.drop),)

    def fields(self) -> tuple[Field, ...]:
        """One bag."""
        return (Field(name=self.name, kind="bag", table=self.table, pooling=self.pooling),)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """The entries that count."""
        if self.columns:
            yield Key(column=self.name, table=self.table, values=_flagged(self.columns), type="string", is_list=True)
            return
        values, kind = entries(self.source, schema, separator=self.separator), key_type(schema[self.source])
        kept = kept_places(values, drop=self.drop, type=kind) if self.drop else None
        values = values.list.drop_nulls() if kept is None else values.list.gather(kept)
        yield Key(column=self.name, table=self.table, values=values, type=kind, is_list=True)


def _flagged(columns: Sequence[str]) -> pl.Expr:
    """The names of the columns that are not 0, as lists."""
    flags = {column: pl.col(column).cast(pl.Float64).fill_nan(None) for column in columns}
    named = [pl.when(flag != 0).then(pl.lit(column)) for column, flag in flags.items()]
    return pl.concat_list(named).list.drop_nulls()
