"""What the types of raw columns mean to features: what a list holds, and what is text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

__all__ = ["held_type", "is_list", "is_text"]


def is_list(kind: PolarsDataType) -> bool:
    """Whether rows hold any number of entries, or a fixed one."""
    return isinstance(kind, pl.List | pl.Array)


def held_type(kind: PolarsDataType) -> PolarsDataType:
    """The type of a list's entries, or of the values themselves.

    Example:
        >>> held_type(pl.List(pl.Int64())), held_type(pl.String())
        (Int64, String)
    """
    return kind.inner if isinstance(kind, pl.List | pl.Array) else kind


def is_text(kind: PolarsDataType) -> bool:
    """Whether values are text, be it coded."""
    return kind in (pl.String, pl.Categorical, pl.Enum)
