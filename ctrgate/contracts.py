"""The types that parts hand to one another: tables and lookups, batches of ids, looked-up fields, outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

TableRule = Literal["fused", "dense"]
Pooling = Literal["sum", "mean", "none"]


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One embedding table: its shape, the rule that trains it and its start.

    Row 0 is padding and stays zero; row 1 is the unknown value; real values begin at row 2.

    Args:
        name: Unique among the tables of a run.
        num_rows: V, padding and unknown included.
        dim: D, the width that networks see.
        rule: ``fused`` (row-wise Adagrad in the backward pass) or ``dense`` (a parameter of the dense optimizer).
        init_std: Standard deviation of the normal start; row 0 starts at zero.
    """

    name: str
    num_rows: int
    dim: int
    rule: TableRule
    init_std: float

    @property
    def stored_dim(self) -> int:
        """The width in memory: fused kernels take multiples of 4 only; the columns beyond ``dim`` stay zero."""
        return -(-self.dim // 4) * 4 if self.rule == "fused" else self.dim


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """One column of ids read through one table.

    Args:
        name: Key in ``Fields``: the field's name, or ``group/field`` for extra lookups such as ``gate1/user``.
        column: The encoded column of ids; key of ``Batch.ids``.
        table: Name of the table.
        pooling: ``sum`` and ``mean`` give ``(B, D)``; ``none`` gives the padded ``(B, T, D)`` of a sequence.
        weighted: Whether each id has a weight; a weighted mean divides by the sum of the weights.
        sequence: The sequence group, for ``none``.
        max_length: T, for ``none``.
        for_loss: Whether it is the loss that asks, so that only training's batches bring the column and dropout on
            looked-up vectors passes it over; a batch without the column gives no such field.
    """

    name: str
    column: str
    table: str
    pooling: Pooling = "sum"
    weighted: bool = False
    sequence: str = ""
    max_length: int = 0
    for_loss: bool = False


@dataclass(frozen=True, kw_only=True)
class Ids:
    """The ids of one column for a batch.

    Shape:
        - values: ``(n,)`` int64, row after row
        - lengths: ``(B,)`` int64, or None where every row has exactly one id
        - weights: ``(n,)`` float32, or None
        - factors: ``(n,)`` float32: what value gates multiply each id's row by, in every lookup; None without gates
    """

    values: Tensor
    lengths: Tensor | None = None
    weights: Tensor | None = None
    factors: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Ids:
        """The same ids with every tensor changed."""
        lengths, weights, factors = (
            None if part is None else change(part) for part in (self.lengths, self.weights, self.factors)
        )
        return Ids(values=change(self.values), lengths=lengths, weights=weights, factors=factors)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Encoded rows as tensors.

    Shape:
        - ids: per column, see ``Ids``
        - numbers: ``(B, N)`` float32, the layout's numbers in order
        - vectors: per column ``(B, W)`` float32
        - sequence_numbers: per column ``(n,)`` float32, aligned with the ids of its sequence group
        - labels: ``(B, L)`` float32, NaN where a label is missing; None when scoring
        - weights: ``(B,)`` float32 or None
        - groups: ``(B,)`` int64 or None
        - timestamps: ``(B,)`` int64 (seconds) or None
        - rows: ``(B,)`` int64, the row's number in its split, counted through the files in name order
    """

    num_rows: int
    ids: Mapping[str, Ids]
    numbers: Tensor
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    sequence_numbers: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    weights: Tensor | None = None
    groups: Tensor | None = None
    timestamps: Tensor | None = None
    rows: Tensor | None = None

    def of_one_empty_row(self) -> Batch:
        """A batch with the same columns of ids, of one row that has none."""
        lengths = torch.zeros(1, dtype=torch.int64, device=self.numbers.device)
        none = {name: replace(ids, values=ids.values[:0], lengths=lengths) for name, ids in self.ids.items()}
        return Batch(num_rows=1, ids=none, numbers=self.numbers.new_zeros(1, self.numbers.size(1)))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every tensor changed, one after the other."""

        def changed(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return replace(
            self,
            ids={name: ids.each(change) for name, ids in self.ids.items()},
            numbers=change(self.numbers),
            vectors={name: change(part) for name, part in self.vectors.items()},
            sequence_numbers={name: change(part) for name, part in self.sequence_numbers.items()},
            labels=changed(self.labels),
            weights=changed(self.weights),
            groups=changed(self.groups),
            timestamps=changed(self.timestamps),
            rows=changed(self.rows),
        )


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """An aligned group of histories, padded on the right.

    Shape:
        - members: per member ``(B, T, D)``, zero at padding; of a number, which the network projects, ``(B, T, 1)``
        - mask: ``(B, T)`` bool, True where real
    """

    members: Mapping[str, Tensor]
    mask: Tensor

    def __getitem__(self, member: str) -> Tensor:
        return self.members[member]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What a network receives: one vector per field and row, sequences, and extra lookups by group.

    Shape:
        - rows: per key (``user``, ``gate1/user``) ``(B, D)``
        - numbers: ``(B, N)``; vectors: per column ``(B, W)``; both are projected into ``rows`` by the network
        - sequences: per group, see ``Sequence``
        - order: the dataset's fields in their order, known once numbers and vectors are projected
        - groups: ``(B,)`` int64, the user of each row where the batch tells it, else None; for terms in training, and
          never for what a row is answered
        - blocks: ``(B, sum of D)`` for keys whose rows lie side by side already, as ``flat`` wants them
    """

    rows: Mapping[str, Tensor]
    numbers: Tensor
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    sequences: Mapping[str, Sequence] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    groups: Tensor | None = None
    blocks: Mapping[tuple[str, ...], Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """One field, ``(B, D)``."""
        return self.rows[name]

    def lookup(self, group: str, name: str) -> Tensor:
        """A field as an extra lookup reads it, ``(B, D)``."""
        return self.rows[f"{group}/{name}"]

    def sequence(self, group: str) -> Sequence:
        """A group of aligned histories."""
        return self.sequences[group]

    @property
    def flat(self) -> Tensor:
        """The dataset's fields side by side, ``(B, sum of D)``."""
        return _side_by_side(self._parts())

    @property
    def flat_for_products(self) -> Tensor:
        """``flat`` in autocast's precision where autocast is on: each product that reads ``flat`` would cast it."""
        parts = self._parts()
        kind = parts[0].device.type
        if not torch.is_autocast_enabled(kind):
            return _side_by_side(parts)
        return _side_by_side([part.to(torch.get_autocast_dtype(kind)) for part in parts])

    def _parts(self) -> list[Tensor]:
        parts, place = [], 0
        while place < len(self.order):
            names = next((names for names in self.blocks if self.order[place : place + len(names)] == names), None)
            parts.append(self.rows[self.order[place]] if names is None else self.blocks[names])
            place += 1 if names is None else len(names)
        return parts

    @property
    def stacked(self) -> Tensor:
        """The dataset's fields one below the other, ``(B, F, D)``; they need one width."""
        return torch.stack([self.rows[name] for name in self.order], dim=1)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a network returns.

    Shape:
        - logits: ``(B, L)``, or None for a next-item network
        - query: ``(B, D)``, the history as a whole, to be compared with item rows, or None
        - queries: ``(B, T, D)``, the same after each event, in training where the network is causal, or None
        - candidates: ``(B, C, D)``, the rows of the items that a loss has drawn, or None
        - aux: terms for the objective by name; empty in evaluation
    """

    logits: Tensor | None = None
    query: Tensor | None = None
    queries: Tensor | None = None
    candidates: Tensor | None = None
    aux: Mapping[str, Tensor] = field(default_factory=dict)
