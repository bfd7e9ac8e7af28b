"""Which tables a network reads and how numbers enter it: settings, requests, and the plan made of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ctrgate.config import settings
from ctrgate.contracts import Lookup, TableSpec
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout

__all__ = [
    "DenseRule",
    "Embedding",
    "FusedRule",
    "History",
    "Inputs",
    "Projected",
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
    eps: Positive = 1e-8
    l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * mean over rows of |looked-up vectors|^2``, added to the loss."""
    decay: Share = 0.0
    """Share by which whole tables shrink at each ``decay_every`` steps; touches every row."""
    decay_every: Annotated[int, Field(ge=1)] = 100


@settings
class TablesConfig:
    """Embedding tables: width, start, and the rule that trains them."""

    dim: Annotated[int, Field(ge=1)] = 16
    dims: Mapping[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Widths of single fields (after FDO, say); the others have ``dim``."""
    init_std: NotNegative = 1e-4
    rule: Annotated[DenseRule | FusedRule, Discriminator("name")] = FusedRule()
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


def plan_inputs(layout: Layout, tables: TablesConfig, requests: Iterable[Embedding | History]) -> Inputs:
    """Turn a network's requests into tables, lookups and projections.

    Fields that share a vocabulary share a table within a group; histories read the schema's own tables.

    Raises:
        ConfigError: Naming each request for a field that the schema lacks, or a table asked for in two widths.
    """
    names = {field.name for field in layout.fields}
    faults = [
        f"tables.dims.{name}: no such field; known are {', '.join(names)}" for name in tables.dims if name not in names
    ]
    specs: dict[str, TableSpec] = {}
    lookups: list[Lookup] = []
    projected: list[Projected] = []
    histories: list[History] = []
    order: list[str] = []
    dims: dict[str, int] = {}
    for request in requests:
        if isinstance(request, History):
            lookup = _history(layout, request)
            shared = [field.name for field in layout.fields if field.table == lookup.table]
            dims[request.key] = tables.dims.get(shared[0], tables.dim) if shared else tables.dim
            specs.setdefault(lookup.table, _spec(layout, tables, lookup.table, dim=dims[request.key]))
            lookups.append(lookup)
            histories.append(request)
            continue
        if request.field not in names:
            faults.append(f"model: no field {request.field!r} in the schema; it has {', '.join(sorted(names))}")
            continue
        field = layout.field(request.field)
        dim = request.dim or tables.dims.get(field.name, tables.dim)
        dims[request.key] = dim
        if not request.group:
            order.append(request.key)
        if field.kind in ("number", "vector"):
            number = field.kind == "number"
            index, width = (layout.numbers.index(field.name), 0) if number else (0, field.width)
            projected.append(Projected(key=request.key, column=field.name, dim=dim, index=index, width=width))
            continue
        table = f"{request.group}/{field.table}" if request.group else field.table
        spec = _spec(layout, tables, field.table, dim=dim, name=table)
        if specs.setdefault(table, spec) != spec:
            faults.append(
                f"tables.dims.{field.name}: {dim} differs from the {specs[table].dim} of its shared table {table}"
            )
        lookups.append(
            Lookup(
                name=request.key,
                column=field.name,
                table=table,
                pooling=field.pooling,
                weighted=field.kind == "weighted_bag",
            )
        )
    if faults:
        raise ConfigError("\n".join(faults))
    return Inputs(
        tables=tuple(specs.values()),
        lookups=tuple(lookups),
        projected=tuple(projected),
        order=tuple(order),
        dims=dims,
        num_labels=len(layout.labels),
        histories=tuple(histories),
    )


def _spec(layout: Layout, tables: TablesConfig, vocabulary: str, *, dim: int, name: str = "") -> TableSpec:
    return TableSpec(
        name=name or vocabulary,
        num_rows=layout.tables[vocabulary],
        dim=dim,
        rule=tables.rule.name,
        init_std=tables.init_std,
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
