"""The rows of a log as events: which of them count, and what the members of a history take from each."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ctrgate.features.columns import Key, Number, category, key_type, number
from ctrgate.features.kinds.members import Member
from ctrgate.features.kinds.sequence import SequenceFeature
from ctrgate.features.log import Log

__all__ = ["event_values", "events", "log_keys", "log_numbers"]


def events(group: SequenceFeature, schema: pl.Schema) -> pl.Expr:
    """Whether a row is an event: where the log's rule holds and no member drops its value."""
    happened = _ruled(group.log, schema) if group.log is not None and group.log.column else pl.lit(True)
    for member in group.categorical_members:
        for value in member.drop:
            is_text = key_type(schema[member.source]) == "string"
            happened &= _raw(member, schema).ne_missing(pl.lit(str(value) if is_text else value))
    return happened.fill_null(False)


def event_values(group: SequenceFeature, schema: pl.Schema) -> list[pl.Expr]:
    """What each member takes from a row, as the column ``GROUP/MEMBER``."""
    return [_raw(member, schema).alias(group.encoded_column(member)) for member in group.members]


def log_keys(group: SequenceFeature, schema: pl.Schema) -> Iterator[tuple[str, Key]]:
    """The categories of the rows' own events: the raw column and what is read in it."""
    for member in group.categorical_members:
        yield member.source, group.key(member, values=_raw(member, schema), type=key_type(schema[member.source]))


def log_numbers(group: SequenceFeature) -> Iterator[Number]:
    """The numbers of the rows' own events."""
    for member in group.numeric_members:
        yield group.number(member, values=number(member.source))


def _ruled(log: Log, schema: pl.Schema) -> pl.Expr:
    kind = schema[log.column]
    if kind == pl.Null:
        return pl.lit(False)
    raw = category(log.column, schema)
    if isinstance(log.equals, str):
        return raw.cast(pl.String) == log.equals
    raw = raw.fill_nan(None) if kind.is_float() else raw
    return raw >= log.at_least if log.at_least is not None else raw == log.equals


def _raw(member: Member, schema: pl.Schema) -> pl.Expr:
    return category(member.source, schema)
