"""Raw columns as the expressions that features read: categories (keys), numbers, weights and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from ctrgate.features.column_types import held_type, is_text
from ctrgate.features.encodings import Boundaries, FloorLogSquared
from ctrgate.features.kinds import (
    Bag,
    Bucketized,
    Categorical,
    CategoricalMember,
    Cross,
    Feature,
    Missing,
    Numeric,
    SequenceFeature,
    Transform,
    Vector,
    WeightedBag,
)

__all__ = ["Key", "KeyType", "Number", "category", "entries", "key_type", "keys", "numbers", "vectors", "weights"]

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
    fill: float | None
    is_list: bool = False


def keys(
    feature: Feature,
    schema: pl.Schema,
    *,
    boundaries: Mapping[str, Sequence[float]],
    scoring: bool = False,
) -> Iterator[Key]:
    """The category columns of a feature.

    Args:
        feature: Any feature; numbers and vectors give none.
        schema: The raw columns and their types, already checked.
        boundaries: By name of feature, those that quantiles were fitted to.
        scoring: Whether constants stand for what is not known when scoring.
    """
    name = feature.name
    if isinstance(feature, Categorical):
        yield _category_key(feature, schema, scoring=scoring)
    elif isinstance(feature, Bucketized):
        number = _number(feature, scoring=scoring)
        fitted = feature.buckets.values if isinstance(feature.buckets, Boundaries) else boundaries.get(name, ())
        values = _floor_log_squared(number) if isinstance(feature.buckets, FloorLogSquared) else _bucket(number, fitted)
        yield Key(column=name, table=name, values=values, type="int", missing=feature.missing)
    elif isinstance(feature, Cross):
        yield Key(column=name, table=feature.table, values=_cross(feature, schema), type="string")
    elif isinstance(feature, Bag | WeightedBag):
        values, kind = _bag(feature, schema)
        yield Key(column=name, table=feature.table, values=values, type=kind, is_list=True)
    elif isinstance(feature, SequenceFeature):
        yield from _member_keys(feature, schema)


def numbers(feature: Feature, schema: pl.Schema, *, scoring: bool = False) -> Iterator[Number]:
    """The number columns of a feature."""
    if isinstance(feature, Numeric):
        values = _number(feature, scoring=scoring)
        yield Number(column=feature.name, values=values, transform=feature.transform, fill=feature.fill)
    elif isinstance(feature, SequenceFeature):
        lists = _aligned(feature, schema)
        for member in feature.members:
            if not isinstance(member, CategoricalMember):
                values = lists[member.name].cast(pl.List(pl.Float64)).list.eval(pl.element().fill_nan(None))
                yield Number(
                    column=feature.encoded_column(member),
                    values=values,
                    transform=member.transform,
                    fill=member.fill,
                    is_list=True,
                )


def vectors(feature: Vector) -> pl.Expr:
    """A vector as a fixed-size list of float32, zero where it is missing."""
    values = pl.col(feature.source).cast(pl.List(pl.Float32))
    zeros = pl.lit([0.0] * feature.width, dtype=pl.List(pl.Float32))
    present = values.fill_null(zeros).list.eval(pl.element().fill_nan(None).fill_null(0.0))
    return present.list.to_array(feature.width)


def weights(feature: WeightedBag, schema: pl.Schema) -> pl.Expr:
    """The weights of the entries that a weighted bag keeps: lists of float32."""
    column = feature.source
    given = pl.col(feature.weights).cast(pl.List(pl.Float32)).fill_null(pl.lit([], dtype=pl.List(pl.Float32)))
    kept = given.list.gather(_places(entries(column, schema), drop=feature.drop, type=key_type(schema[column])))
    return kept.list.eval(pl.element().fill_nan(None).fill_null(0.0))


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


def _category_key(feature: Categorical, schema: pl.Schema, *, scoring: bool) -> Key:
    """One value per row, or what stands for it when scoring."""
    constant, missing = feature.when_scoring if scoring else None, feature.missing
    kind: KeyType
    if scoring and feature.unknown_when_scoring:
        values, kind, missing = pl.lit(None, dtype=pl.String), "", "unknown"
    elif constant is not None:
        values, kind = pl.lit(constant), "string" if isinstance(constant, str) else "int"
    else:
        values, kind = category(feature.source, schema), key_type(schema[feature.source])
    return Key(column=feature.name, table=feature.table, values=values, type=kind, missing=missing)


def _member_keys(feature: SequenceFeature, schema: pl.Schema) -> Iterator[Key]:
    lists = _aligned(feature, schema)
    for member in feature.members:
        if isinstance(member, CategoricalMember):
            yield Key(
                column=feature.encoded_column(member),
                table=feature.member_table(member),
                values=lists[member.name],
                type=key_type(schema[feature.list_column(member)]),
                is_list=True,
                missing=member.missing,
            )


def category(column: str, schema: pl.Schema) -> pl.Expr:
    """A column's values as integers or strings; other numbers as they are."""
    kind = schema[column]
    if kind in (pl.Categorical, pl.Enum, pl.Null):
        return pl.col(column).cast(pl.String)
    return pl.col(column).cast(pl.Int8) if kind == pl.Boolean else pl.col(column)


def key_type(kind: pl.DataType) -> KeyType:
    """What the categories of a column, or of its lists, are."""
    inner = held_type(kind)
    return "" if inner == pl.Null else "string" if is_text(inner) else "int"


def _number(feature: Numeric | Bucketized, *, scoring: bool) -> pl.Expr:
    if scoring and feature.when_scoring is not None:
        return pl.lit(feature.when_scoring, dtype=pl.Float64)
    return pl.col(feature.source).cast(pl.Float64).fill_nan(None)


def _floor_log_squared(number: pl.Expr) -> pl.Expr:
    squared = pl.when(number > 2).then(number).log().pow(2).floor()
    return pl.when(number > 2).then(squared).otherwise(number).cast(pl.Int64)


def _bucket(number: pl.Expr, boundaries: Sequence[float]) -> pl.Expr:
    """The number of boundaries below each number; null stays null."""
    rising = np.asarray(boundaries, dtype=np.float64)

    def count_below(values: pl.Series) -> pl.Series:
        below = np.searchsorted(rising, values.to_numpy(), side="left")
        return pl.Series(values.name, below, dtype=pl.Int64)

    buckets = number.map_batches(count_below, return_dtype=pl.Int64, is_elementwise=True)
    return pl.when(number.is_not_null()).then(buckets)


def _cross(feature: Cross, schema: pl.Schema) -> pl.Expr:
    """The parts with ``|`` between them; ``\\`` and ``|`` within one are escaped, and a missing one is ``\\N``."""
    parts = []
    for column in feature.columns:
        part = category(column, schema).cast(pl.String)
        if key_type(schema[column]) == "string":
            part = part.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
        parts.append(part.fill_null("\\N"))
    return pl.concat_str(parts, separator="|")


def _bag(feature: Bag | WeightedBag, schema: pl.Schema) -> tuple[pl.Expr, KeyType]:
    """The entries of a bag that count, and their type."""
    if isinstance(feature, Bag) and feature.columns:
        flags = {column: pl.col(column).cast(pl.Float64).fill_nan(None) for column in feature.columns}
        named = [pl.when(flag != 0).then(pl.lit(column)) for column, flag in flags.items()]
        return pl.concat_list(named).list.drop_nulls(), "string"
    column = feature.source
    values = entries(column, schema, separator=feature.separator if isinstance(feature, Bag) else "")
    kind = key_type(schema[column])
    if isinstance(feature, Bag) and not feature.drop:
        return values.list.drop_nulls(), kind
    return values.list.gather(_places(values, drop=feature.drop, type=kind)), kind


def _places(values: pl.Expr, *, drop: Sequence[int | str], type: KeyType, nulls: bool = False) -> pl.Expr:
    """Lists of the places whose entry is not dropped; null entries count only with ``nulls``."""
    kept = pl.element().is_not_null() | nulls
    for value in drop:
        kept = kept & pl.element().ne_missing(str(value) if type == "string" else value)
    return values.list.eval(kept.arg_true())


def _aligned(feature: SequenceFeature, schema: pl.Schema) -> dict[str, pl.Expr]:
    """Each member's lists, without the positions that any member drops, cut to the last ``max_length``."""
    lists = {
        member.name: entries(feature.list_column(member), schema, separator=feature.separator)
        for member in feature.members
    }
    kept: pl.Expr | None = None
    for member in feature.members:
        if isinstance(member, CategoricalMember) and member.drop:
            kind = key_type(schema[feature.list_column(member)])
            places = _places(lists[member.name], drop=member.drop, type=kind, nulls=True)
            kept = places if kept is None else kept.list.set_intersection(places).list.sort()
    if kept is not None:
        lists = {name: values.list.gather(kept) for name, values in lists.items()}
    return {name: values.list.tail(feature.max_length) for name, values in lists.items()}
