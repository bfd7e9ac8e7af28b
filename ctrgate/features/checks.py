"""Whether a table can be read as the features declare it: its columns, their types, their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.columns import entries
from ctrgate.features.kinds.registry import Feature
from ctrgate.features.kinds.sequence import is_logged
from ctrgate.features.raw_column import RawColumn
from ctrgate.features.rawfile import ROW

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
    read = [(feature, raw) for feature in features for raw in feature.raw_columns(scoring=scoring, log=log)]
    if absent := [column for column in dict.fromkeys(raw.column for _, raw in read) if column not in schema]:
        whole = len(schema) == 1 and any(mark in schema.names()[0] for mark in ";\t|")
        hint = " Is another character between its columns? Then set dataset.csv.separator." if whole else ""
        raise SchemaError(
            f"{source} lacks columns {absent} that dataset.features declares; it has {schema.names()}.{hint}"
        )
    faults = [
        f"{source}: {feature.name} drops the text {texts}, but its column holds integers"
        for feature, raw in read
        if (texts := raw.lost_drops(schema[raw.column]))
    ]
    faults += [
        f"{source} has the column {column!r} already, which {feature.name} is to build from the log; "
        "rename it, or declare the feature without log to read it"
        for feature in features
        if log and is_logged(feature)
        for column in feature.columns_read()
        if column in schema
    ]
    faults += [
        f"{source}: {raw.reader} needs {raw.words}, but the column {raw.column!r} holds {schema[raw.column]}; "
        f"convert the column{_other(raw, schema[raw.column])}"
        for _, raw in read
        if not raw.fits(schema[raw.column])
    ]
    if faults:
        raise SchemaError("\n".join(faults))


def check_values(
    features: Iterable[Feature],
    lazy: pl.LazyFrame,
    *,
    source: str,
    scoring: bool = False,
    log: bool = False,
) -> None:
    """Make sure that no number is infinite, and that lists which belong together are equally long.

    Only the columns in which that can go wrong are read. The columns and types must have been checked.

    Args:
        features: The features.
        lazy: The rows, with their numbers in the column ``ROW`` if they are not a whole table.
        source: Their file, for messages.
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
    numbered = lazy if ROW in schema else lazy.with_row_index(ROW)
    marked = numbered.select(ROW, *flags).filter(pl.any_horizontal(pl.exclude(ROW))).head(1)
    found = marked.collect(engine="streaming")
    if found.height:
        faults = [message for place, (message, _) in enumerate(tests) if found[str(place)].item()]
        raise DataError(f"{source}, row {found[ROW].item()} (counted from 0): {'; '.join(faults)}")


def _other(raw: RawColumn, kind: pl.DataType) -> str:
    """What else than another column would do."""
    if raw.is_list and kind == pl.String and raw.holds == "category":
        return ", or set separator to what stands between the entries of the text"
    if raw.holds == "category" and kind.is_numeric() and not raw.is_list:
        return ", or declare the feature numeric or bucketized"
    return " or declare another kind of feature"


def _tests(feature: Feature, schema: pl.Schema, *, scoring: bool, log: bool) -> Iterator[tuple[str, pl.Expr]]:
    """What can be wrong in a row: a message, and the expression that is true where it is wrong."""
    name, read = feature.name, feature.raw_columns(scoring=scoring, log=log)
    for raw in {raw.column: raw for raw in read}.values():
        column, kind = raw.column, schema[raw.column]
        if kind.is_float():
            yield f"{name}: {column!r} is infinite; mend it or leave it empty", pl.col(column).is_infinite()
        elif isinstance(kind, pl.List | pl.Array) and kind.inner.is_float():
            # what is not scaled goes on as float32
            held = pl.Float32 if raw.holds == "number" and not raw.scaling else kind.inner
            infinite = pl.col(column).cast(pl.List(held)).list.eval(pl.element().is_infinite().fill_null(False))
            yield f"{name}: {column!r} has an infinite entry; mend it or leave it empty", infinite.list.any()
    for raw in read:
        if raw.separator == "," and schema[raw.column] == pl.String:
            is_json = pl.col(raw.column).str.contains(r"^\s*\[.*\]\s*$")
            yield f"{name}: {raw.column!r} holds a list as JSON, of which brackets would stay; write a,b", is_json
        if raw.width:
            length = pl.col(raw.column).cast(pl.List(pl.Float32)).list.len()
            yield f"{name}: {raw.column!r} does not hold {raw.width} numbers", length != raw.width
    lists = [raw for raw in read if raw.is_list]
    lengths = [entries(raw.column, schema, separator=raw.separator).list.len() for raw in lists]
    for raw, length in zip(lists[1:], lengths[1:], strict=True):
        pair = f"{lists[0].column!r} and {raw.column!r}"
        yield f"{name}: {pair} differ in length, but belong together", lengths[0] != length
