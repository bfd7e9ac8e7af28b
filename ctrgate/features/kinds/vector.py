"""A pretrained vector per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import Field as Setting

from ctrgate.config import settings
from ctrgate.features.kinds.kind import Kind, Name, OneColumn
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn

__all__ = ["Vector"]


@settings
class Vector(OneColumn, Kind):
    """A pretrained vector per row, a list of ``width`` floats; a missing one, or a missing entry, is zero."""

    kind: Literal["vector"] = "vector"
    name: Name
    """Of the field."""
    column: str = ""
    """The raw column; the feature's name by default."""
    width: int = Setting(ge=1)
    """Numbers in each vector."""

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Its column."""
        return (RawColumn(column=self.source, reader=self.name, holds="number", is_list=True, width=self.width),)

    def fields(self) -> tuple[Field, ...]:
        """One vector."""
        return (Field(name=self.name, kind="vector", width=self.width),)

    def unlearnt(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[pl.Expr]:
        """The vector as a fixed-size list of float32."""
        values = pl.col(self.source).cast(pl.List(pl.Float32))
        zeros = pl.lit([0.0] * self.width, dtype=pl.List(pl.Float32))
        present = values.fill_null(zeros).list.eval(pl.element().fill_nan(None).fill_null(0.0))
        yield present.list.to_array(self.width).alias(self.name)

    def example(self, at: float, *, boundaries: Sequence[float]) -> float:
        """An entry."""
        return 4 * at - 2
