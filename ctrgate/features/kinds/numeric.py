"""One number per row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import polars as pl

from ctrgate.config import settings
from ctrgate.features.columns import Number, number
from ctrgate.features.kinds.kind import Kind, Name, OneColumn, Scaled
from ctrgate.features.layout import Field
from ctrgate.features.raw_column import RawColumn
from ctrgate.features.statistics import Transform

__all__ = ["Numeric"]


@settings
class Numeric(OneColumn, Kind):
    """One number per row; NaN is missing, an infinity is an error."""

    kind: Literal["numeric"] = "numeric"
    name: Name
    """Of the field."""
    column: str = ""
    """The raw column; the feature's name by default."""
    transform: Transform = "standard"
    """``(x - mean) / std``, ``sign(x) log(1 + |x|)``, ``(x - min) / (max - min)`` clipped to [0, 1], or ``x``."""
    fill: float | None = None
    """The raw number that stands for a missing one; by default the train mean, taken after the transform."""
    indicator: bool = False
    """Whether a second number ``NAME:missing`` says 1 where the number is missing."""
    when_scoring: float | None = None
    """A number read for every row that is scored."""

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """Its column, unless a constant stands for it."""
        if scoring and self.when_scoring is not None:
            return ()
        return (RawColumn(column=self.source, reader=self.name, holds="number", scaling=self.name),)

    def fields(self) -> tuple[Field, ...]:
        """One number, and the indicator.

        Example:
            >>> [field.name for field in Numeric(name="price", indicator=True).fields()]
            ['price', 'price:missing']
        """
        names = [self.name, self._indicator] if self.indicator else [self.name]
        return tuple(Field(name=name, kind="number") for name in names)

    def numbers(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[Number]:
        """The one number."""
        yield Number(column=self.name, values=self._number(scoring), transform=self.transform)

    def scaled(self) -> Mapping[str, Scaled]:
        """By its own settings."""
        return {self.name: self}

    def unlearnt(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[pl.Expr]:
        """The indicator."""
        if self.indicator:
            yield self._number(scoring).is_null().cast(pl.Float32).alias(self._indicator)

    @property
    def _indicator(self) -> str:
        return f"{self.name}:missing"

    def _number(self, scoring: bool) -> pl.Expr:
        return number(self.source, constant=self.when_scoring if scoring else None)
