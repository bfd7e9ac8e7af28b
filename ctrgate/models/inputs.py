"""What a network asks for, and what it gets to be built on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ctrgate.contracts import Lookup, TableSpec
from ctrgate.features.layout import Layout

__all__ = [
    "Embedding",
    "EventNumber",
    "EveryField",
    "History",
    "Inputs",
    "Projected",
    "Request",
    "every_field",
]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A network's request: one field through one embedding.

    Args:
        field: Name of a field of the dataset.
        group: Empty for the field's own embedding; else the name of the extra one (``gate1``), with tables of its own.
        dim: Width; None for the field's own.
    """

    field: str
    group: str = ""
    dim: int | None = None

    @property
    def key(self) -> str:
        """Its key in ``Fields.rows``."""
        return f"{self.group}/{self.field}" if self.group else self.field


@dataclass(frozen=True, kw_only=True)
class History:
    """A network's request: the ids of one member of a sequence group, row by row, through its own table.

    Args:
        sequence: Name of the group.
        member: Name of its column of ids.
        target: The field that it is to be compared with; of the same width.
    """

    sequence: str
    member: str
    target: str = ""

    @property
    def key(self) -> str:
        """Name of its lookup, and key of its width in ``Inputs.dims``."""
        return f"{self.sequence}/{self.member}"


@dataclass(frozen=True, kw_only=True)
class EventNumber:
    """A network's request: a number of each event of a sequence group, projected to the width of the group's ids.

    Args:
        sequence: Name of the group.
        member: Name of its column of numbers.
    """

    sequence: str
    member: str

    @property
    def key(self) -> str:
        """Key of its width in ``Inputs.dims``."""
        return f"{self.sequence}/{self.member}"


Request = Embedding | History | EventNumber


@dataclass(frozen=True, kw_only=True)
class Projected:
    """A number (``width`` 0, ``index`` its place in ``Batch.numbers``) or a vector that the network projects."""

    key: str
    column: str
    dim: int
    index: int = 0
    width: int = 0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What stands below a network: tables, lookups, projections, and the widths it sees."""

    tables: tuple[TableSpec, ...]
    lookups: tuple[Lookup, ...]
    projected: tuple[Projected, ...]
    order: tuple[str, ...]
    dims: Mapping[str, int]
    num_labels: int
    histories: tuple[History, ...] = ()
    event_numbers: tuple[EventNumber, ...] = ()

    @property
    def flat_dim(self) -> int:
        """Width of ``Fields.flat``."""
        return sum(self.dims[name] for name in self.order)

    def context_dim(self, group: str, fields: Iterable[str]) -> int:
        """Width of some fields of an extra lookup side by side."""
        return sum(self.dims[f"{group}/{name}"] for name in fields)


def every_field(layout: Layout, *, group: str = "", dim: int | None = None) -> tuple[Embedding, ...]:
    """One request for each of the dataset's fields, in their order."""
    return tuple(Embedding(field=field.name, group=group, dim=dim) for field in layout.fields)


class EveryField:
    """Settings of a network that reads one embedding per field and no other."""

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field."""
        return every_field(layout)
