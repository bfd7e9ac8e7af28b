"""Whether a table can be read as the features declare it: its columns, their types, their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.column_types import held_type, is_list, is_text
from ctrgate.features.columns import entries
from ctrgate.features.kinds import (
    Bag,
    Categorical,
    CategoricalMember,
    Cross,
    Feature,
    SequenceFeature,
    Vector,
    WeightedBag,
    columns_read,
    is_logged,
)

__all__ = ["check_columns", "check_values"]


def check_columns(
    features: Iterable[Feature], schema: pl.Schema, *, source: str, scoring: bool = False, log: bool = False
) -> None:
    """Make sure that a table has every column that the features read, in a type that they can read.

    Args:
        features: The features.
        schema: The table's columns.
        source: Its name, for messages.
        scoring: Whether its rows are scored.
        log: Whether it is a log that histories are built from: what they list is then one value per row.

    Raises:
        SchemaError: Naming all columns that are missing, or all features whose column has another type.
    """
    features = tuple(features)
    read = dict.fromkeys(column for feature in features for column in columns_read(feature, scoring=scoring, log=log))
    if absent := [column for column in read if column not in schema]:
        raise SchemaError(f"{source} lacks columns {absent} that dataset.features declares; it has {schema.names()}.")
    needs = [need for feature in features for need in _needs(feature, scoring=scoring, log=log)]
    faults = [fault for feature in features for fault in _wrong_drops(feature, schema, source=source, log=log)]
    faults += [
        f"{source} has the column {column!r} already, which {feature.name} is to build from the log; "
        "rename it, or declare the feature without log to read it"
        for feature in features
        if log and is_logged(feature)
        for column in columns_read(feature)
        if column in schema
    ]
    faults += [
        f"{source}: {need.feature} needs {need.words}, but the column {need.column!r} holds {schema[need.column]}; "
        "convert the column or declare another kind of feature"
        for need in needs
        if not need.met_by(schema[need.column])
    ]
    if faults:
        raise SchemaError("\n".join(faults))


def check_values(
    features: Iterable[Feature],
    lazy: pl.LazyFrame,
    *,
    source: str,
    first: int = 0,
    scoring: bool = False,
    log: bool = False,
) -> None:
    """Make sure that no number is infinite, and that lists which belong together are equally long.

    Only the columns in which that can go wrong are read. The columns and types must have been checked.

    Args:
        features: The features.
        lazy: The rows.
        source: Their file, for messages.
        first: The number of the first of them.
        scoring: As in ``check_columns``.
        log: As in ``check_columns``.

    Raises:
        DataError: Naming the first such row, counted from 0, and the features.
    """
    schema = lazy.collect_schema()
    tests = [test for feature in features for test in _tests(feature, schema, scoring=scoring, log=log)]
    if not tests:
        return
    flags = [test.fill_null(False).alias(str(place)) for place, (_, test) in enumerate(tests)]
    marked = lazy.select(flags).with_row_index("row", offset=first).filter(pl.any_horizontal(pl.exclude("row"))).head(1)
    found = marked.collect(engine="streaming")
    if found.height:
        faults = [message for place, (message, _) in enumerate(tests) if found[str(place)].item()]
        raise DataError(f"{source}, row {found['row'].item()} (counted from 0): {'; '.join(faults)}")


@dataclass(frozen=True)
class _Need:
    """What a feature needs of a column: categories or numbers, alone, in lists, or as text to be split."""

    feature: str
    column: str
    numbers: bool
    lists: bool = False
    text: bool = False

    @property
    def words(self) -> str:
        one = "number" if self.numbers else "integer or string"
        if not self.lists:
            return f"a{'n' if one[0] == 'i' else ''} {one} in each row"
        return f"a list in each row, of {one.replace(' or ', 's or ')}s" + (" (or text to split)" if self.text else "")

    def met_by(self, kind: pl.DataType) -> bool:
        if kind == pl.Null or (self.text and kind == pl.String):
            return True
        if self.lists != is_list(kind):
            return False
        inner = held_type(kind)
        if inner in (pl.Null, pl.Boolean) or inner.is_integer():
            return True
        return inner.is_numeric() if self.numbers else is_text(inner)


def _needs(feature: Feature, *, scoring: bool, log: bool) -> Iterator[_Need]:
    read = columns_read(feature, scoring=scoring, log=log)
    name = feature.name
    if isinstance(feature, Categorical | Cross):
        yield from (_Need(name, column, numbers=False) for column in read)
    elif isinstance(feature, Bag) and not feature.columns:
        yield _Need(name, read[0], numbers=False, lists=True, text=bool(feature.separator))
    elif isinstance(feature, WeightedBag):
        yield _Need(name, read[0], numbers=False, lists=True)
        yield _Need(name, read[1], numbers=True, lists=True)
    elif isinstance(feature, SequenceFeature):
        from_log = log and feature.log is not None
        for member in feature.members:
            column = member.source if from_log else feature.list_column(member)
            numbers = not isinstance(member, CategoricalMember)
            text = bool(feature.separator)
            yield _Need(feature.encoded_column(member), column, numbers=numbers, lists=not from_log, text=text)
        if from_log and feature.log is not None and feature.log.column:
            numbers = not isinstance(feature.log.equals, str)
            yield _Need(f"{name} (log)", feature.log.column, numbers=numbers)
    else:
        yield from (_Need(name, column, numbers=True, lists=isinstance(feature, Vector)) for column in read)


def _wrong_drops(feature: Feature, schema: pl.Schema, *, source: str, log: bool) -> Iterator[str]:
    """Text that is to be dropped from a column of integers, where it cannot be found."""
    settings = feature.members if isinstance(feature, SequenceFeature) else (feature,)
    for each in settings:
        if not isinstance(each, Bag | WeightedBag | CategoricalMember) or not each.drop:
            continue
        column = each.source
        if isinstance(feature, SequenceFeature) and isinstance(each, CategoricalMember) and not log:
            column = feature.list_column(each)
        kind = schema[column]
        inner = held_type(kind)
        if inner.is_integer():
            texts = [value for value in each.drop if isinstance(value, str)]
            if texts:
                yield f"{source}: {feature.name} drops the text {texts}, but its column holds integers"


def _tests(feature: Feature, schema: pl.Schema, *, scoring: bool, log: bool) -> Iterator[tuple[str, pl.Expr]]:
    """What can be wrong in a row: a message, and the expression that is true where it is wrong."""
    name, read = feature.name, columns_read(feature, scoring=scoring, log=log)
    from_log = log and is_logged(feature)
    for column in read:
        kind = schema[column]
        if kind.is_float():
            yield f"{name}: {column!r} is infinite; mend it or leave it empty", pl.col(column).is_infinite()
        elif isinstance(kind, pl.List | pl.Array) and kind.inner.is_float():
            infinite = pl.col(column).cast(pl.List(kind.inner)).list.eval(pl.element().is_infinite().fill_null(False))
            yield f"{name}: {column!r} has an infinite entry; mend it or leave it empty", infinite.list.any()
    if isinstance(feature, Vector):
        length = pl.col(read[0]).cast(pl.List(pl.Float32)).list.len()
        yield f"{name}: {read[0]!r} does not hold {feature.width} numbers", length != feature.width
    elif isinstance(feature, SequenceFeature | WeightedBag) and not from_log:
        separator = feature.separator if isinstance(feature, SequenceFeature) else ""
        first, *others = (entries(column, schema, separator=separator).list.len() for column in read)
        for column, length in zip(read[1:], others, strict=True):
            yield f"{name}: {read[0]!r} and {column!r} differ in length, but belong together", first != length
