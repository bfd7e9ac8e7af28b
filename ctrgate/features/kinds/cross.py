"""The combination of several categories."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import polars as pl
from pydantic import Discriminator
from pydantic import Field as Setting

from ctrgate.config import settings
from ctrgate.features.columns import Key, category, key_type
from ctrgate.features.encodings import HashEncoding, VocabularyEncoding
from ctrgate.features.kinds.kind import Kind, Name, OneTable
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn

__all__ = ["Cross"]

_MISSING = "\\N"


@settings
class Cross(OneTable, Kind):
    """The combination of several categories; a missing part is a value like any other."""

    kind: Literal["cross"] = "cross"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    columns: tuple[str, ...] = Setting(min_length=2)
    """The raw columns that are combined."""
    encoding: Annotated[VocabularyEncoding | HashEncoding, Discriminator("kind")] = VocabularyEncoding()
    """How combinations become rows of the table."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Its columns, whose values alone have no rows."""
        return tuple(RawColumn(column=column, reader=self.name, holds="category") for column in self.columns)

    def fields(self) -> tuple[Field, ...]:
        """One id."""
        return (Field(name=self.name, kind="id", table=self.table),)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """The parts with ``|`` between them; ``\\`` and ``|`` within one are escaped, and a missing one is ``\\N``."""
        parts = []
        for column in self.columns:
            part = category(column, schema).cast(pl.String)
            if key_type(schema[column]) == "string":
                part = part.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
            parts.append(part.fill_null(_MISSING))
        yield Key(column=self.name, table=self.table, values=pl.concat_str(parts, separator="|"), type="string")

    def parts(self, combination: str) -> list[str | None]:
        """What a value of its table was combined from; None for a missing part.

        Example:
            >>> Cross(name="c", columns=("a", "b")).parts("x\\\\|y|\\\\N")
            ['x|y', None]
        """
        found = re.findall(r"(?:^|\|)((?:\\.|[^\\|])*)", combination, re.DOTALL)
        return [None if part == _MISSING else re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in found]
