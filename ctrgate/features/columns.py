"""Raw columns as the expressions that features read: categories (keys) and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ctrgate.features.column_types import held_type, is_text
from ctrgate.features.encodings import Missing
from ctrgate.features.statistics import Transform

__all__ = ["Key", "KeyType", "Number", "category", "entries", "kept_places", "key_type", "number"]

KeyType = Literal["int", "string", ""]
"""What a category is; empty for a column without any value, which fits both."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A column of categories on its way to ids.

    Args:
        column: The encoded column: the feature, or ``GROUP/MEMBER`` in a sequence.
        table: The table whose rows it reads.
        values: Integers or strings, or lists of them.
        type: Which of the two.
        is_list: Whether they are lists.
        missing: What null reads.
    """

    column: str
    table: str
    values: pl.Expr
    type: KeyType
    is_list: bool = False
    missing: Missing = "value"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers on its way to model inputs: float64 with null for missing, or lists of that."""

    column: str
    values: pl.Expr
    transform: Transform
    is_list: bool = False


def entries(column: str, schema: pl.Schema, *, separator: str = "") -> pl.Expr:
    """A list column, or text split at ``separator``, as lists of integers or strings.

    A missing list is an empty one, and so is empty text; an empty piece of text is a missing entry.
    """
    kind = schema[column]
    if kind == pl.String:
        split = pl.when(pl.col(column) != "").then(pl.col(column).str.split(separator))
        present = pl.when(pl.element() != "").then(pl.element())
        return split.fill_null(pl.lit([], dtype=pl.List(pl.String))).list.eval(present)
    inner = held_type(kind)
    inner = pl.String if is_text(inner) or inner == pl.Null else pl.Int8 if inner == pl.Boolean else inner
    return pl.col(column).cast(pl.List(inner)).fill_null(pl.lit([], dtype=pl.List(inner)))


def category(column: str, schema: pl.Schema) -> pl.Expr:
    """A column's values as integers or strings; other numbers as they are."""
    kind = schema[column]
    if kind in (pl.Categorical, pl.Enum, pl.Null):
        return pl.col(column).cast(pl.String)
    return pl.col(column).cast(pl.Int8) if kind == pl.Boolean else pl.col(column)


def number(column: str, *, constant: float | None = None) -> pl.Expr:
    """A column's numbers as float64, null where missing; or a constant that stands for them."""
    if constant is not None:
        return pl.lit(constant, dtype=pl.Float64)
    return pl.col(column).cast(pl.Float64).fill_nan(None)


def key_type(kind: pl.DataType) -> KeyType:
    """What the categories of a column, or of its lists, are."""
    inner = held_type(kind)
    return "" if inner == pl.Null else "string" if is_text(inner) else "int"


def kept_places(values: pl.Expr, *, drop: Sequence[int | str], type: KeyType, nulls: bool = False) -> pl.Expr:
    """Lists of the places whose entry is not dropped; null entries count only with ``nulls``."""
    kept = pl.element().is_not_null() | nulls
    for value in drop:
        kept = kept & pl.element().ne_missing(str(value) if type == "string" else value)
    return values.list.eval(kept.arg_true())
