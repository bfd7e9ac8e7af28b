"""One category per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from ctrgate.config import settings
from ctrgate.features.columns import Key, KeyType, category, key_type
from ctrgate.features.encodings import Encoding, Missing, Value, VocabularyEncoding
from ctrgate.features.kinds.kind import Kind, Name, OneColumn, OneTable
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn

__all__ = ["Categorical"]


@settings
class Categorical(OneColumn, OneTable, Kind):
    """One category per row, an integer or a string."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """The raw column; the feature's name by default."""
    encoding: Encoding = VocabularyEncoding()
    """How values become rows of the table."""
    missing: Missing = "value"
    """What a missing value reads: a row of its own, the unknown row, or zeros."""
    share: str = ""
    """Name of the table it reads, for features that share one; the feature's own name by default."""
    when_scoring: Value | None = None
    """A value read for every row that is scored, for what is not known then (the position of an advertisement)."""
    unknown_when_scoring: bool = False
    """Whether every row that is scored reads the unknown row, as for the next item, which is to be predicted."""

    def __post_init__(self) -> None:
        if self.unknown_when_scoring and self.when_scoring is not None:
            raise ValueError("when_scoring and unknown_when_scoring are two rules for rows that are scored; give one")

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Its column, unless a constant stands for it."""
        if scoring and (self.unknown_when_scoring or self.when_scoring is not None):
            return ()
        return (self.categories(self.source),)

    def fields(self) -> tuple[Field, ...]:
        """One id."""
        return (Field(name=self.name, kind="id", table=self.table),)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """One value per row, or what stands for it when scoring."""
        constant, missing = self.when_scoring if scoring else None, self.missing
        kind: KeyType
        if scoring and self.unknown_when_scoring:
            values, kind, missing = pl.lit(None, dtype=pl.String), "", "unknown"
        elif constant is not None:
            values, kind = pl.lit(constant), "string" if isinstance(constant, str) else "int"
        else:
            values, kind = category(self.source, schema), key_type(schema[self.source])
        yield Key(column=self.name, table=self.table, values=values, type=kind, missing=missing)
