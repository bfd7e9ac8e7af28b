"""What a network asks for, turned into tables, lookups and projections."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable

from ctrgate.contracts import Lookup, TableSpec
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Field, Layout
from ctrgate.models.inputs import Embedding, EventNumber, History, Inputs, Projected, Request
from ctrgate.models.tables import TablesConfig

__all__ = ["plan_inputs"]


def plan_inputs(layout: Layout, tables: TablesConfig, requests: Iterable[Request]) -> Inputs:
    """Turn a network's requests into tables, lookups and projections.

    Fields that share a vocabulary share a table within a group; histories read the tables of the dataset's own fields.

    Raises:
        ConfigError: Naming each request for a field that the dataset lacks, or for a table that is another one already.
    """
    plan = _Plan(layout, tables)
    for request in requests:
        if isinstance(request, History):
            plan.add_history(request)
        elif isinstance(request, EventNumber):
            plan.event_numbers.append(request)
        else:
            plan.add_embedding(request)
    if plan.faults:
        raise ConfigError("\n".join(plan.faults))
    return plan.inputs()


class _Plan:
    """What was asked for so far."""

    def __init__(self, layout: Layout, tables: TablesConfig) -> None:
        self._layout, self._tables = layout, tables
        self._fields = {field.name: field for field in layout.fields}
        self._specs: dict[str, TableSpec] = {}
        self._lookups: list[Lookup] = []
        self._projected: list[Projected] = []
        self._histories: list[History] = []
        self.event_numbers: list[EventNumber] = []
        self._order: list[str] = []
        self._dims: dict[str, int] = {}
        self.faults = [
            f"tables.dims.{name}: no such field; known are {', '.join(self._fields)}"
            for name in tables.dims
            if name not in self._fields
        ]

    def add_history(self, request: History) -> None:
        """Read a member row by row, in the width that fields of its table have."""
        lookup = _history(self._layout, request)
        shared = [name for name, field in self._fields.items() if field.table == lookup.table]
        dim = self._dim(shared[0]) if shared else self._tables.dim
        self._dims[request.key] = dim
        self._specs.setdefault(lookup.table, self._spec(lookup.table, vocabulary=lookup.table, dim=dim))
        self._lookups.append(lookup)
        self._histories.append(request)

    def add_embedding(self, request: Embedding) -> None:
        """Look a field up, or project it where it is a number or a vector."""
        field = self._fields.get(request.field)
        if field is None:
            self.faults.append(self._lacking(request))
            return
        dim = request.dim or self._dim(field.name)
        self._dims[request.key] = dim
        if not request.group:
            self._order.append(request.key)
        if field.kind in ("number", "vector"):
            number = field.kind == "number"
            index, width = (self._layout.numbers.index(field.name), 0) if number else (0, field.width)
            self._projected.append(Projected(key=request.key, column=field.name, dim=dim, index=index, width=width))
        else:
            self._look_up(request, field, dim=dim)

    def _look_up(self, request: Embedding, field: Field, *, dim: int) -> None:
        table = f"{request.group}/{field.table}" if request.group else field.table
        spec = self._spec(table, vocabulary=field.table, dim=dim)
        known = self._specs.setdefault(table, spec)
        if known != spec:
            setting = "dataset.features" if known.dim == dim else f"tables.dims.{field.name}"
            self.faults.append(f"{setting}: {request.key} cannot share the table {table}: {_differing(spec, known)}")
        self._lookups.append(
            Lookup(
                name=request.key,
                column=field.name,
                table=table,
                pooling=field.pooling,
                weighted=field.kind == "weighted_bag",
            )
        )

    def _lacking(self, request: Embedding) -> str:
        asking = f"its lookup {request.group}" if request.group else "the network"
        close = difflib.get_close_matches(request.field, self._fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(self._fields))}"
        return f"model: {asking} reads {request.field!r}, but dataset.features has no field of that name; {hint}"

    def inputs(self) -> Inputs:
        """The plan."""
        return Inputs(
            tables=tuple(self._specs.values()),
            lookups=tuple(self._lookups),
            projected=tuple(self._projected),
            order=tuple(self._order),
            dims=self._dims | {number.key: self._group_dim(number.sequence) for number in self.event_numbers},
            num_labels=len(self._layout.labels),
            histories=tuple(self._histories),
            event_numbers=tuple(self.event_numbers),
        )

    def _group_dim(self, sequence: str) -> int:
        return sum(self._dims[history.key] for history in self._histories if history.sequence == sequence)

    def _dim(self, field: str) -> int:
        return self._tables.dims.get(field, self._tables.dim)

    def _spec(self, table: str, *, vocabulary: str, dim: int) -> TableSpec:
        return TableSpec(
            name=table,
            num_rows=self._layout.tables[vocabulary],
            dim=dim,
            rule=self._tables.rule.name,
            init_std=self._tables.init_std,
        )


def _differing(wanted: TableSpec, known: TableSpec) -> str:
    """What keeps two requests from sharing a table."""
    pairs = [
        (field.name, getattr(wanted, field.name), getattr(known, field.name)) for field in dataclasses.fields(known)
    ]
    return ", ".join(f"{name} {ours} is not {theirs}" for name, ours, theirs in pairs if ours != theirs)


def _history(layout: Layout, request: History) -> Lookup:
    """The read of one member, which the dataset has: a network asks for what it found in the layout."""
    (group,) = (group for group in layout.sequences if group.name == request.sequence)
    (member,) = (member for member in group.members if member.name == request.member)
    return Lookup(
        name=request.key,
        column=member.column,
        table=member.table,
        pooling="none",
        sequence=group.name,
        max_length=group.max_length,
    )
