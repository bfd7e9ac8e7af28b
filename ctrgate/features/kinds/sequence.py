"""Histories: aligned lists of what happened before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeGuard

import polars as pl
from pydantic import Field as Setting

from ctrgate.config import settings
from ctrgate.features.columns import Key, KeyType, Number, entries, kept_places, key_type
from ctrgate.features.encodings import Encoding, IdentityEncoding
from ctrgate.features.kinds.kind import Kind, Name, Scaled
from ctrgate.features.kinds.members import CategoricalMember, Member, NumericMember
from ctrgate.features.layout import Member as EncodedMember
from ctrgate.features.layout import SequenceGroup
from ctrgate.features.log import Log
from ctrgate.features.raw_column import RawColumn

__all__ = ["SequenceFeature", "is_logged"]


@settings
class SequenceFeature(Kind):
    """Histories: aligned lists, the oldest first, cut to the last ``max_length``; a missing list is an empty one.

    With ``log``, the members' columns hold one value per row, and ``prepare`` lists for each row what they held in the
    rows of its user (``roles.group``) that came strictly before it (``dataset.same_second``), in the columns
    ``GROUP/MEMBER``. Rows that are scored bring these lists themselves.
    """

    kind: Literal["sequence"] = "sequence"
    name: Name
    """Of the group."""
    members: tuple[Member, ...] = Setting(min_length=1)
    """Its columns, aligned: entry i of each belongs to event i."""
    max_length: int = Setting(ge=1)
    """Events that are kept, the last ones."""
    separator: str = ""
    """For string columns: what stands between the entries."""
    log: Log | None = None
    """Build the histories from the dataset's own rows; ``{}`` takes every row as an event."""

    def __post_init__(self) -> None:
        if self.log is not None and self.separator:
            raise ValueError("separator parts text into entries, but with log the members hold one value per row")
        names = Counter(member.name for member in self.members)
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"{self.name} has two members {', '.join(twice)}")

    @property
    def categorical_members(self) -> list[CategoricalMember]:
        """The members that are categories."""
        return [member for member in self.members if isinstance(member, CategoricalMember)]

    @property
    def numeric_members(self) -> list[NumericMember]:
        """The members that are numbers."""
        return [member for member in self.members if isinstance(member, NumericMember)]

    def encoded_column(self, member: Member) -> str:
        """The encoded column of a member, ``GROUP/MEMBER``."""
        return f"{self.name}/{member.name}"

    def list_column(self, member: Member) -> str:
        """The raw column of a member's lists: its own, or, where histories are built from the log, ``GROUP/MEMBER``."""
        return member.source if self.log is None else self.encoded_column(member)

    def member_table(self, member: CategoricalMember) -> str:
        """The table of a member: the one that it shares, or ``GROUP/MEMBER``."""
        return member.share or self.encoded_column(member)

    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """The members' lists; of a log, their single values and the column of the rule."""
        rule = self.log if log else None
        found = [self._raw(member, is_list=rule is None) for member in self.members]
        if rule is not None and rule.column:
            holds: Literal["category", "number"] = "category" if isinstance(rule.equals, str) else "number"
            found.append(RawColumn(column=rule.column, reader=f"{self.name} (log)", holds=holds, is_rule=True))
        return tuple(found)

    def groups(self) -> tuple[SequenceGroup, ...]:
        """One group, with the members' encoded columns and tables."""
        members = []
        for member in self.members:
            table = self.member_table(member) if isinstance(member, CategoricalMember) else ""
            members.append(EncodedMember(name=member.name, column=self.encoded_column(member), table=table))
        return (SequenceGroup(name=self.name, members=tuple(members), max_length=self.max_length),)

    def tables(self) -> tuple[tuple[str, Encoding], ...]:
        """One for each member that is a category."""
        return tuple((self.member_table(member), member.encoding) for member in self.categorical_members)

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """The members that are categories, as lists."""
        lists = self._aligned(schema)
        for member in self.categorical_members:
            kind = key_type(schema[self.list_column(member)])
            yield self.key(member, values=lists[member.name], type=kind, is_list=True)

    def numbers(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[Number]:
        """The members that are numbers, as lists."""
        lists = self._aligned(schema)
        for member in self.numeric_members:
            values = lists[member.name].cast(pl.List(pl.Float64)).list.eval(pl.element().fill_nan(None))
            yield self.number(member, values=values, is_list=True)

    def scaled(self) -> Mapping[str, Scaled]:
        """Each member by its own settings."""
        return {self.encoded_column(member): member for member in self.numeric_members}

    def key(self, member: CategoricalMember, *, values: pl.Expr, type: KeyType, is_list: bool = False) -> Key:
        """A member's categories, as lists or as the values of single events."""
        column, table = self.encoded_column(member), self.member_table(member)
        return Key(column=column, table=table, values=values, type=type, is_list=is_list, missing=member.missing)

    def number(self, member: NumericMember, *, values: pl.Expr, is_list: bool = False) -> Number:
        """A member's numbers, as lists or as the values of single events."""
        return Number(column=self.encoded_column(member), values=values, transform=member.transform, is_list=is_list)

    def _raw(self, member: Member, *, is_list: bool) -> RawColumn:
        encoded = self.encoded_column(member)
        column = self.list_column(member) if is_list else member.source
        raw = RawColumn(column=column, reader=encoded, holds="number", is_list=is_list, separator=self.separator)
        if not isinstance(member, CategoricalMember):
            return replace(raw, scaling=encoded)
        identity = isinstance(member.encoding, IdentityEncoding)
        return replace(raw, holds="category", table=self.member_table(member), identity=identity, drop=member.drop)

    def _aligned(self, schema: pl.Schema) -> dict[str, pl.Expr]:
        """Each member's lists, without the positions that any member drops, cut to the last ``max_length``."""
        lists = {
            member.name: entries(self.list_column(member), schema, separator=self.separator) for member in self.members
        }
        kept: pl.Expr | None = None
        for member in self.categorical_members:
            if member.drop:
                kind = key_type(schema[self.list_column(member)])
                places = kept_places(lists[member.name], drop=member.drop, type=kind, nulls=True)
                kept = places if kept is None else kept.list.set_intersection(places).list.sort()
        if kept is not None:
            lists = {name: values.list.gather(kept) for name, values in lists.items()}
        return {name: values.list.tail(self.max_length) for name, values in lists.items()}


def is_logged(feature: Kind) -> TypeGuard[SequenceFeature]:
    """Whether it is a sequence whose histories are built from the log."""
    return isinstance(feature, SequenceFeature) and feature.log is not None
