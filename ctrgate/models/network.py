"""The part of a model above its table rows: projections, then the network's own idea."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol

import torch
from torch import nn

from ctrgate.contracts import Fields, Output, Sequence
from ctrgate.features.layout import Layout
from ctrgate.layers.projections import NumberProjection, VectorProjection
from ctrgate.models.inputs import Inputs, Request

__all__ = ["Network", "NetworkConfig", "is_causal", "task_of"]


class NetworkConfig(Protocol):
    """What the settings of every network can do; ``task_of`` and ``is_causal`` say what it is for."""

    def embeddings(self, layout: Layout) -> tuple[Request, ...]:
        """The embeddings it reads."""
        ...

    def build(self, inputs: Inputs) -> nn.Module:
        """The module ``Fields -> Output``."""
        ...


def task_of(config: object) -> Literal["click", "next_item"]:
    """What a network predicts, by its settings or their class: clicks, where they have no ``task``."""
    task: Literal["click", "next_item"] = getattr(config, "task", "click")
    return task


def is_causal(config: object) -> bool:
    """Whether a network's value at an event depends on that event and earlier ones alone, so that every position can be
    trained at once; by its settings or their class."""
    causal: bool = getattr(config, "causal", False)
    return causal


class Network(nn.Module):
    """``Fields`` with looked-up rows to ``Output``: everything above the tables, one exportable module.

    Args:
        config: The network's settings.
        inputs: What ``plan_inputs`` made of its requests.
    """

    def __init__(self, config: NetworkConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self._inputs = inputs
        self.projections = nn.ModuleList(
            VectorProjection(item.width, item.dim) if item.width else NumberProjection(item.dim)
            for item in inputs.projected
        )
        self.event_projections = nn.ModuleList(
            NumberProjection(inputs.dims[number.key]) for number in inputs.event_numbers
        )
        self.body = config.build(inputs)
        self._of_numbers: dict[int, list[int]] = {}  # by width the places of numbers, which are projected together
        for place, item in enumerate(inputs.projected):
            if not item.width:
                self._of_numbers.setdefault(item.dim, []).append(place)

    def forward(self, fields: Fields) -> Output:
        rows, blocks = dict(fields.rows), dict(fields.blocks)
        for dim, places in self._of_numbers.items():
            items = [self._inputs.projected[place] for place in places]
            weights = torch.cat([self.projections[place].get_parameter("weight") for place in places])  # (n, D)
            projected = fields.numbers[:, [item.index for item in items], None] * weights
            rows.update(zip((item.key for item in items), projected.unbind(1), strict=True))
            blocks[tuple(item.key for item in items)] = projected.view(-1, dim * len(items))
        for item, projection in zip(self._inputs.projected, self.projections, strict=True):
            if item.width:
                rows[item.key] = projection(fields.vectors[item.column])
        sequences = self._with_event_numbers(fields.sequences)
        fields = replace(fields, rows=rows, blocks=blocks, sequences=sequences, order=self._inputs.order)
        output: Output = self.body(fields)
        return output

    def _with_event_numbers(self, sequences: Mapping[str, Sequence]) -> dict[str, Sequence]:
        found = dict(sequences)
        for number, projection in zip(self._inputs.event_numbers, self.event_projections, strict=True):
            group = found[number.sequence]
            projected = {number.member: projection(group[number.member])}
            found[number.sequence] = replace(group, members={**group.members, **projected})
        return found

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient by design, with the reason each module gives."""
        return {
            f"{prefix}.{name}" if prefix else name: reason
            for prefix, module in self.named_modules()
            if module is not self and hasattr(module, "untrained")
            for name, reason in module.untrained().items()
        }

    def spared_by_l2(self) -> set[str]:
        """Parameters that L2 leaves alone, by what each module says."""
        return {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name in getattr(module, "without_l2", ())
        }
