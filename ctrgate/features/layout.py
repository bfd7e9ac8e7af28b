"""What encoded tables hold, told to readers and networks: fields, sequence groups, tables and roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

FieldKind = Literal["id", "bag", "weighted_bag", "number", "vector"]
Role = Literal["label", "weight", "group", "segment", "timestamp", "order", "key"]


def role_column(role: Role, name: str) -> str:
    """The encoded column of a role: ``label:click``, ``group:user``; features never hold a colon."""
    return f"{role}:{name}"


def weights_column(feature: str) -> str:
    """The encoded column of a weighted bag's weights."""
    return f"{feature}:weights"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One model input that gives one vector per row.

    Args:
        name: The feature's name and, in encoded files, its column.
        kind: ``id`` (int64, exactly one), ``bag`` (list of int64), ``weighted_bag`` (with a list of float32 weights
            beside it), ``number`` (float32) or ``vector`` (fixed-size list of float32).
        table: The table it reads, before a network has its own; fields may share one. Empty for numbers and vectors.
        pooling: For bags.
        width: For vectors.
    """

    name: str
    kind: FieldKind
    table: str = ""
    pooling: Literal["sum", "mean"] = "sum"
    width: int = 1


@dataclass(frozen=True, kw_only=True)
class Member:
    """One column of a sequence group: ids (list of int64, with a table) or numbers (list of float32, table empty)."""

    name: str
    column: str
    table: str = ""


@dataclass(frozen=True, kw_only=True)
class SequenceGroup:
    """Histories of equal length per row, the oldest first, cut to the last ``max_length``."""

    name: str
    members: tuple[Member, ...]
    max_length: int


def id_tables(fields: Iterable[Field], sequences: Iterable[SequenceGroup]) -> dict[str, str]:
    """The table of every column of ids, in their order."""
    read = {field.name: field.table for field in fields if field.table}
    return read | {each.column: each.table for group in sequences for each in group.members if each.table}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The encoded columns of a dataset.

    Args:
        fields: In the order of ``dataset.features``.
        sequences: In the same order.
        tables: Rows per table, padding (0) and unknown (1) included.
        labels: Names, in order; the column of each is ``label:NAME``.
        roles: The other roles' encoded columns, by role; ``segment`` and ``key`` may have several.
    """

    fields: tuple[Field, ...]
    sequences: tuple[SequenceGroup, ...]
    tables: Mapping[str, int]
    labels: tuple[str, ...] = ()
    roles: Mapping[Role, tuple[str, ...]]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number fields, in the order of ``Batch.numbers``."""
        return tuple(field.name for field in self.fields if field.kind == "number")

    def id_tables(self) -> dict[str, str]:
        """The table of every column of ids."""
        return id_tables(self.fields, self.sequences)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Layout:
        """The inverse of ``to_json``."""
        groups = [
            SequenceGroup(
                name=group["name"],
                members=tuple(Member(**member) for member in group["members"]),
                max_length=group["max_length"],
            )
            for group in values["sequences"]
        ]
        return cls(
            fields=tuple(Field(**field) for field in values["fields"]),
            sequences=tuple(groups),
            tables=dict(values["tables"]),
            labels=tuple(values["labels"]),
            roles={role: tuple(columns) for role, columns in values["roles"].items()},
        )
