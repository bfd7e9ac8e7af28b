"""Which raw columns of a dataset are watched, and what each is read as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ctrgate.features.column_types import is_list, is_text
from ctrgate.features.columns import category, entries
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.raw_column import RawColumn

__all__ = ["Content", "Watched", "type_name", "watched_columns"]

Content = Literal["number", "category", "numbers", "categories", "other"]
"""What a row holds: one number, one category, a list of either, or something of which only presence is watched."""
_RANKED: tuple[Content, ...] = ("number", "numbers", "category", "categories", "other")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A raw column.

    Args:
        column: Its name.
        content: What it is read as; a column that one feature reads as a number and another as a category is a number.
        features: Those that read it; empty for roles that are no feature.
        separator: Parts text into entries.
        drifts: Whether its distribution is compared.
    """

    column: str
    content: Content
    features: tuple[str, ...] = ()
    separator: str = ""
    drifts: bool = True

    def fits(self, kind: pl.DataType) -> bool:
        """Whether a column of that type can be read so."""
        if kind == pl.Null or self.content == "other":
            return True
        if self.content in ("numbers", "categories"):
            return is_list(kind) or (kind == pl.String and bool(self.separator))
        if isinstance(kind, pl.List | pl.Array | pl.Struct):
            return False
        return self.content == "category" or kind.is_numeric() or kind == pl.Boolean

    def values(self, schema: pl.Schema) -> pl.Expr:
        """Float64 or text, or lists of them, null where missing; for ``other`` whether there is a value."""
        if self.content == "number":
            return pl.col(self.column).cast(pl.Float64).fill_nan(None)
        if self.content == "category":
            return category(self.column, schema).cast(pl.String)
        if self.content == "other":
            return pl.col(self.column).is_not_null()
        listed = pl.col(self.column).cast(pl.List(pl.String))
        if schema[self.column] != pl.Null:
            listed = entries(self.column, schema, separator=self.separator)
        return listed.cast(pl.List(pl.Float64 if self.content == "numbers" else pl.String))


def watched_columns(dataset: DatasetConfig) -> tuple[Watched, ...]:
    """The columns that features, labels and roles read, in the dataset's order; each once."""
    found: dict[str, Watched] = {}
    for one in (*_of_features(dataset), *_of_roles(dataset)):
        known = found.get(one.column)
        found[one.column] = one if known is None else _both(known, one)
    return tuple(found.values())


def type_name(kind: pl.DataType) -> str:
    """``int``, ``float``, ``string``, ``bool``, ``datetime`` or ``list of`` one; empty where all is null."""
    if isinstance(kind, pl.List | pl.Array):
        return f"list of {type_name(kind.inner) or 'null'}"  # type: ignore[arg-type]  # an instance in a schema
    if kind == pl.Null:
        return ""
    if kind.is_integer():
        return "int"
    if kind.is_float() or kind.is_decimal():
        return "float"
    if is_text(kind):
        return "string"
    if isinstance(kind, pl.Datetime | pl.Date):
        return "datetime"
    return "bool" if kind == pl.Boolean else str(kind).lower()


def _both(known: Watched, other: Watched) -> Watched:
    content = min(known.content, other.content, key=_RANKED.index)
    features = tuple(dict.fromkeys([*known.features, *other.features]))
    separator = known.separator or other.separator
    drifts = known.drifts or other.drifts
    return Watched(column=known.column, content=content, features=features, separator=separator, drifts=drifts)


def _of_features(dataset: DatasetConfig) -> Iterator[Watched]:
    for feature in dataset.features:
        for raw in feature.raw_columns(log=True):
            if not raw.is_rule:  # which may be the label
                content, name = _content(raw), (feature.name,)
                yield Watched(column=raw.column, content=content, features=name, separator=raw.separator)


def _content(raw: RawColumn) -> Content:
    if raw.width:
        return "other"
    if raw.holds == "number":
        return "numbers" if raw.is_list else "number"
    return "categories" if raw.is_list else "category"


def _of_roles(dataset: DatasetConfig) -> Iterator[Watched]:
    roles = dataset.roles
    yield from (Watched(column=name, content="category") for name in roles.segments)
    if roles.weight:
        yield Watched(column=roles.weight, content="number", drifts=False)
    plain = (*(label.source for label in dataset.labels), roles.group, roles.timestamp, roles.order, *roles.keys)
    yield from (Watched(column=name, content="other", drifts=False) for name in plain if name)
