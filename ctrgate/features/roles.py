"""Labels, users, times and the other columns that are no features: from raw columns to encoded ones, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.checks import check_columns
from ctrgate.features.column_types import is_text
from ctrgate.features.dataset import DatasetConfig, Label
from ctrgate.features.hashing import hash_column
from ctrgate.features.layout import Role, role_column
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import Source, SplitName

__all__ = [
    "SPLIT",
    "Count",
    "check_roles",
    "check_sources",
    "check_user_and_time",
    "count_rows",
    "group_column",
    "label_column",
    "role_columns",
    "roles_of",
    "seconds",
]

SPLIT = "split:name"
"""The column of a row's split."""
_PER_SECOND = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}


@dataclass
class Count:
    """Rows of one split of one file, and positive rows by label."""

    num_rows: int = 0
    positives: dict[str, int] = field(default_factory=dict)


def roles_of(dataset: DatasetConfig) -> dict[Role, tuple[str, ...]]:
    """The encoded columns of each role but the labels, as the layout lists them."""
    roles = dataset.roles
    named: dict[Role, tuple[str, ...]] = {
        "weight": (roles.weight,),
        "group": (roles.group,),
        "timestamp": (roles.timestamp,),
        "order": (roles.order,),
        "segment": roles.segments,
        "key": roles.keys,
    }
    return {
        role: tuple(role_column(role, name) for name in names if name) for role, names in named.items() if any(names)
    }


def check_sources(dataset: DatasetConfig, sources: Iterable[Source]) -> None:
    """Make sure that every file of a dataset has the columns of features and roles, in types that can serve.

    Raises:
        SchemaError: Naming the file and its columns.
    """
    for source in sources:
        faults = []
        try:
            check_columns(dataset.features, source.schema, source=str(source.path), log=True)
        except SchemaError as error:
            faults.append(str(error))
        try:
            check_roles(dataset, source)
        except SchemaError as error:
            faults.append(str(error))
        if faults:
            raise SchemaError("\n".join(faults))


def check_roles(dataset: DatasetConfig, source: Source) -> None:
    """See that every role's column is there in a type that can serve.

    Raises:
        SchemaError: Naming the file, the columns, and what would do.
    """
    schema, roles = source.schema, dataset.roles
    singles = (roles.weight, roles.group, roles.timestamp, roles.order)
    named = (*(label.source for label in dataset.labels), *filter(None, singles), *roles.segments, *roles.keys)
    missing = sorted({name for name in named if name not in schema})
    if missing:
        raise SchemaError(
            f"{source.path} lacks columns {missing} that dataset.labels and dataset.roles name; it has {list(schema)}"
        )
    _check_types(source, [*_measured(dataset, schema), *_user_and_time(dataset, schema)])


def check_user_and_time(dataset: DatasetConfig, source: Source) -> None:
    """See that rows tell their user, and their time, where they have one, in types that can serve.

    Raises:
        SchemaError: Naming the file, the column, and what would do.
    """
    group = dataset.roles.group
    if group not in source.schema:
        raise SchemaError(f"{source.path} lacks the column {group!r} of roles.group; it has {list(source.schema)}")
    _check_types(source, _user_and_time(dataset, source.schema))


_Expected = tuple[str, str, bool, str]


def _check_types(source: Source, expected: Iterable[_Expected]) -> None:
    for what, column, fits, wanted in expected:
        if not fits:
            found = source.schema[column]
            raise SchemaError(f"{source.path}: {what} reads column {column}, which is {found}; {wanted}")


def _measured(dataset: DatasetConfig, schema: pl.Schema) -> Iterator[_Expected]:
    for label in dataset.labels:
        kind = schema[label.source]
        number = kind.is_numeric() or kind == pl.Boolean
        if isinstance(label.equals, str):
            yield f"label {label.name}", label.source, not number, "write the value of equals without quotes"
        else:
            yield f"label {label.name}", label.source, number, "a label must be a number; or use equals: TEXT"
    if weight := dataset.roles.weight:
        yield "the weight", weight, schema[weight].is_numeric(), "it must be a number"


def _user_and_time(dataset: DatasetConfig, schema: pl.Schema) -> Iterator[_Expected]:
    roles = dataset.roles
    whole = "it must be a whole number"
    if roles.order in schema:
        yield "the order", roles.order, schema[roles.order].is_integer(), whole
    if roles.timestamp in schema:
        kind = schema[roles.timestamp]
        fits = kind.is_integer() or isinstance(kind, pl.Datetime | pl.Date)
        yield "the timestamp", roles.timestamp, fits, f"{whole} of {roles.timestamp_unit} or a datetime"
    if roles.group in schema:
        kind = schema[roles.group]
        fits = kind.is_integer() or is_text(kind)
        yield "the group", roles.group, fits, f"{whole} or text"


def role_columns(dataset: DatasetConfig, schema: pl.Schema) -> list[pl.Expr]:
    """The encoded columns of labels and roles, computed from raw ones that ``check_roles`` has passed."""
    roles = dataset.roles
    columns = [label_column(label, schema) for label in dataset.labels]
    if roles.weight:
        columns.append(pl.col(roles.weight).cast(pl.Float32).alias(role_column("weight", roles.weight)))
    if roles.group:
        columns.append(group_column(dataset, schema).alias(role_column("group", roles.group)))
    if roles.timestamp:
        columns.append(seconds(dataset, schema).alias(role_column("timestamp", roles.timestamp)))
    if roles.order:
        columns.append(pl.col(roles.order).cast(pl.Int64).alias(role_column("order", roles.order)))
    columns += [pl.col(name).cast(pl.String).alias(role_column("segment", name)) for name in roles.segments]
    for name in roles.keys:
        key = pl.col(name).cast(pl.String) if is_text(schema[name]) else pl.col(name)
        columns.append(key.alias(role_column("key", name)))
    return columns


def label_column(label: Label, schema: pl.Schema) -> pl.Expr:
    """A label as float32; NaN where it is missing."""
    raw = _present(label.source, schema)
    if label.at_least is not None:
        raw = raw >= label.at_least
    elif label.equals is not None:
        raw = (raw.cast(pl.String) if isinstance(label.equals, str) else raw) == label.equals
    return raw.cast(pl.Float32).fill_null(float("nan")).alias(role_column("label", label.name))


def group_column(dataset: DatasetConfig, schema: pl.Schema) -> pl.Expr:
    """The user as int64: integers as they are, texts by a stable hash."""
    raw = pl.col(dataset.roles.group)
    if is_text(schema[dataset.roles.group]):
        return raw.cast(pl.String).map_batches(_hash63, return_dtype=pl.Int64, is_elementwise=True)
    return raw.cast(pl.Int64)


def seconds(dataset: DatasetConfig, schema: pl.Schema) -> pl.Expr:
    """The timestamp as whole seconds since 1970 (UTC)."""
    raw = pl.col(dataset.roles.timestamp)
    if schema[dataset.roles.timestamp].is_integer():
        return raw.cast(pl.Int64) // _PER_SECOND[dataset.roles.timestamp_unit]
    return raw.cast(pl.Datetime("us")).dt.epoch("s")


def count_rows(dataset: DatasetConfig, source: Source, rows: pl.LazyFrame) -> dict[SplitName, Count]:
    """Count the rows and positives of each split of a file, checking every label and role on the way.

    Args:
        dataset: The dataset.
        source: The file.
        rows: Its raw rows with the columns ``ROW`` and ``SPLIT``.

    Raises:
        DataError: Naming the file, the row and the column of the first value that cannot be used.
    """
    schema, labels = source.schema, [role_column("label", label.name) for label in dataset.labels]
    faults = list(_faults(dataset, schema))
    with source.reading():
        counted = (
            rows.with_columns(label_column(label, schema) for label in dataset.labels)
            .group_by(SPLIT)
            .agg(
                pl.len(),
                *((pl.col(name) == 1).sum() for name in labels),
                *(where.sum().alias(f"fault:{number}") for number, (_, _, where) in enumerate(faults)),
            )
            .collect(engine="streaming")
        )
    for number, (column, says, where) in enumerate(faults):
        if counted[f"fault:{number}"].sum():
            row, value = rows.filter(where).select(ROW, column).head(1).collect().row(0)
            raise DataError(f"{source.path} row {row} (counted from 0): {column} is {value!r}; {says}")
    return {
        row[SPLIT]: Count(
            num_rows=row["len"],
            positives={label.name: row[name] for label, name in zip(dataset.labels, labels, strict=True)},
        )
        for row in counted.iter_rows(named=True)
    }


def _faults(dataset: DatasetConfig, schema: pl.Schema) -> Iterator[tuple[str, str, pl.Expr]]:
    """For each column that can hold an unusable value: what is expected, and where it does."""
    roles = dataset.roles
    for label in dataset.labels:
        raw = _present(label.source, schema)
        if not label.allow_missing:
            says = f"every row needs the label {label.name} (or set allow_missing: true)"
            yield label.source, says, raw.is_null()
        if label.at_least is None and label.equals is None:
            says = f"the label {label.name} must be 0 or 1; give it a rule such as at_least: 4"
            yield label.source, says, raw.is_not_null() & (raw != 0) & (raw != 1)
    if roles.weight:
        weight = _present(roles.weight, schema).cast(pl.Float32)
        says = "a weight must be a finite number of 0 or more"
        yield roles.weight, says, weight.is_null() | weight.is_infinite() | (weight < 0)
    for role in ("group", "timestamp", "order"):
        if name := getattr(roles, role):
            yield name, f"every row needs the {role} that dataset.roles declares", pl.col(name).is_null()
            if schema[name] in (pl.UInt64, pl.Int128):
                says = f"integers of the {role} must be below 2^63; shift them, or let text name a group"
                yield name, says, pl.col(name).cast(pl.Int64, strict=False).is_null() & pl.col(name).is_not_null()


def _hash63(values: pl.Series) -> pl.Series:
    return (hash_column(values, seed=0) // 2).cast(pl.Int64)


def _present(name: str, schema: pl.Schema) -> pl.Expr:
    """A column with NaN read as missing."""
    return pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name)
