"""Histories beside what is shown: which member is matched with which field, and the interest that DIN finds in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.layers.activation_unit import ActivationUnit
from ctrgate.models.inputs import EventNumber, History, Inputs, Request, every_field

__all__ = ["HistoryGroup", "Interests", "MatchedSettings", "history_groups", "match_histories"]


@settings
class MatchedSettings:
    """What the settings of every network have that matches histories with what is shown."""

    targets: Mapping[str, str] = field(default_factory=dict)
    """``GROUP/MEMBER: field`` where the field that a member is matched with is not the one that shares its table."""

    def embeddings(self, layout: Layout) -> tuple[Request, ...]:
        """One embedding per field, each id member of each group with the field it is matched with, and its numbers.

        Raises:
            ConfigError: Naming the members that no field matches.
        """
        histories = match_histories(layout, targets=self.targets)
        matched = {history.sequence for history in histories}
        numbers = tuple(
            EventNumber(sequence=group.name, member=member.name)
            for group in layout.sequences
            for member in group.members
            if group.name in matched and not member.table
        )
        return every_field(layout) + histories + numbers


def match_histories(layout: Layout, *, targets: Mapping[str, str]) -> tuple[History, ...]:
    """Each id member of each sequence group with the field it is matched with: one that reads the same table.

    Args:
        layout: The encoded columns.
        targets: ``GROUP/MEMBER: field`` where it is another field.

    Raises:
        ConfigError: Naming the members that no field matches.
    """
    field_of = {field.table: field.name for field in reversed(layout.fields) if field.table}
    members = [(group.name, member) for group in layout.sequences for member in group.members if member.table]
    histories = tuple(
        History(
            sequence=group,
            member=member.name,
            target=targets.get(f"{group}/{member.name}") or field_of.get(member.table, ""),
        )
        for group, member in members
    )
    if lacking := [history.key for history in histories if not history.target]:
        raise ConfigError(
            f"model.targets: no field reads the table of {', '.join(lacking)}; name the field to match it with"
        )
    return histories


@dataclass(frozen=True, kw_only=True)
class HistoryGroup:
    """One sequence group: its members side by side, and beside them what is shown.

    Args:
        name: Of the sequence group.
        members: Its id members, each with the field it is matched with.
        numbers: Its members that are numbers, each projected to D.
        dim: D, their width together.
        max_length: T.
    """

    name: str
    members: tuple[History, ...]
    numbers: tuple[str, ...]
    dim: int
    max_length: int

    def read(self, fields: Fields) -> tuple[Tensor, Tensor, Tensor]:
        """What is shown ``(B, D)``, the events ``(B, T, D)``, and which of them are real ``(B, T)``.

        An event is its ids' rows side by side, plus what its numbers are projected to: no paper of these networks has
        numbers of events.
        """
        sequence = fields.sequence(self.name)
        shown = torch.cat([fields[member.target] for member in self.members], dim=1)
        events = torch.cat([sequence[member.member] for member in self.members], dim=2)
        return shown, sum((sequence[number] for number in self.numbers), start=events), sequence.mask


def history_groups(inputs: Inputs) -> tuple[HistoryGroup, ...]:
    """The requested histories by sequence group.

    Raises:
        ConfigError: Where a group is not as wide as what it is matched with.
    """
    by_group: dict[str, list[History]] = {}
    for history in inputs.histories:
        by_group.setdefault(history.sequence, []).append(history)
    lengths = {lookup.sequence: lookup.max_length for lookup in inputs.lookups}
    found = []
    for name, members in by_group.items():
        width = sum(inputs.dims[member.key] for member in members)
        wanted = sum(inputs.dims[member.target] for member in members)
        if width != wanted:
            raise ConfigError(
                f"model.targets: {name} is {width} wide and what it is matched with {wanted}; match members with "
                "fields of their own tables, or give these the same width in tables.dims"
            )
        numbers = tuple(number.member for number in inputs.event_numbers if number.sequence == name)
        of_group = HistoryGroup(name=name, members=tuple(members), numbers=numbers, dim=width, max_length=lengths[name])
        found.append(of_group)
    return tuple(found)


class Interests(nn.Module):
    """DIN's input: all fields, and an interest for each sequence group, ``[x, u_1, u_2, ...]``.

    Args:
        groups: The sequence groups.
        flat_dim: Width of ``x``.
        hidden_dims: Of the activation units.
        activation: Of their hidden layers.
        normalisation: Of their numbers over a history.
        dropout: On each interest.

    Shape:
        - returns: ``(B, out_dim)``
    """

    def __init__(
        self,
        groups: Sequence[HistoryGroup],
        *,
        flat_dim: int,
        hidden_dims: Sequence[int],
        activation: Literal["sigmoid", "relu", "gelu", "silu", "tanh"],
        normalisation: Literal["none", "softmax", "scaled_softmax"],
        dropout: float,
    ) -> None:
        super().__init__()
        self._groups = tuple(groups)
        self.units = nn.ModuleList(
            ActivationUnit(group.dim, hidden_dims=hidden_dims, activation=activation, normalisation=normalisation)
            for group in groups
        )
        self.dropout = nn.Dropout(dropout)
        self.out_dim = flat_dim + sum(group.dim for group in groups)

    def forward(self, fields: Fields) -> Tensor:
        parts = [fields.flat]
        parts += [self.dropout(unit(*group.read(fields))) for group, unit in zip(self._groups, self.units, strict=True)]
        return torch.cat(parts, dim=1)
