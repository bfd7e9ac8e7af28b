"""Which tables a network reads and how numbers enter it: settings, requests, and the plan made of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ctrgate.config import settings
from ctrgate.contracts import Lookup, TableSpec
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Field as SchemaField
from ctrgate.features.layout import Layout

__all__ = [
    "DenseRule",
    "Embedding",
    "EventNumber",
    "EveryField",
    "FusedRule",
    "History",
    "Inputs",
    "Projected",
    "Request",
    "TablesConfig",
    "every_field",
    "plan_inputs",
]

Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


@settings
class DenseRule:
    """Tables as ordinary parameters of the dense optimizer: the published recipes."""

    name: Literal["dense"] = "dense"
    l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * |W|^2`` over whole tables, every row in every step, coupled through the optimizer."""


@settings
class FusedRule:
    """Tables updated in the backward pass by row-wise Adagrad; a step costs what the batch looks up, not the table."""

    name: Literal["fused"] = "fused"
    learning_rate: Positive = 0.05
    """Of row-wise Adagrad."""
    eps: Positive = 1e-8
    """Added to the root of a row's sum of squares."""
    l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * mean over rows of |looked-up vectors|^2``, added to the loss."""
    decay: Share = 0.0
    """Share by which whole tables shrink at each ``decay_every`` steps; touches every row."""
    decay_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two decays; of no meaning where ``decay`` is 0."""


@settings
class TablesConfig:
    """Embedding tables: width, start, and the rule that trains them."""

    dim: Annotated[int, Field(ge=1)] = 16
    """Width of every vector that ``dims`` does not name."""
    dims: Mapping[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Widths of single fields (after FDO, say); the others have ``dim``."""
    init_std: NotNegative = 1e-4
    """Standard deviation of the normal start."""
    rule: Annotated[DenseRule | FusedRule, Discriminator("name")] = FusedRule()
    """How tables are trained."""
    dropout: Share = 0.0
    """Dropout on looked-up vectors."""
    unknown_share: Share = 0.0
    """Share of ids replaced by the unknown value in training, so that its row is trained; 0 in published recipes."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A network's request: one field through one embedding.

    Args:
        field: Name of a schema field.
        group: Empty for the schema's own embedding; else the name of the extra one (``gate1``), with tables of its own.
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
        dim: Its width; 0 in a request, which the plan fills in.
    """

    sequence: str
    member: str
    dim: int = 0


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
    """One request for each field of the schema, in its order."""
    return tuple(Embedding(field=field.name, group=group, dim=dim) for field in layout.fields)


class EveryField:
    """Settings of a network that reads one embedding per field and no other."""

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field."""
        return every_field(layout)


def plan_inputs(layout: Layout, tables: TablesConfig, requests: Iterable[Request]) -> Inputs:
    """Turn a network's requests into tables, lookups and projections.

    Fields that share a vocabulary share a table within a group; histories read the schema's own tables.

    Raises:
        ConfigError: Naming each request for a field that the schema lacks, or a table asked for in two widths.
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
            known = ", ".join(sorted(self._fields))
            self.faults.append(f"model: no field {request.field!r} in the schema; it has {known}")
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

    def _look_up(self, request: Embedding, field: SchemaField, *, dim: int) -> None:
        table = f"{request.group}/{field.table}" if request.group else field.table
        spec = self._spec(table, vocabulary=field.table, dim=dim)
        known = self._specs.setdefault(table, spec)
        if known != spec:
            self.faults.append(
                f"tables.dims.{field.name}: {dim} differs from the {known.dim} of its shared table {table}"
            )
        self._lookups.append(
            Lookup(
                name=request.key,
                column=field.name,
                table=table,
                pooling=field.pooling,
                weighted=field.kind == "weighted_bag",
            )
        )

    def inputs(self) -> Inputs:
        """The plan."""
        return Inputs(
            tables=tuple(self._specs.values()),
            lookups=tuple(self._lookups),
            projected=tuple(self._projected),
            order=tuple(self._order),
            dims=self._dims,
            num_labels=len(self._layout.labels),
            histories=tuple(self._histories),
            event_numbers=tuple(replace(number, dim=self._group_dim(number.sequence)) for number in self.event_numbers),
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


def _history(layout: Layout, request: History) -> Lookup:
    """The read of one member, which the schema has: a network asks for what it found in the layout."""
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
