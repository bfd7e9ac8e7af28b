"""DIN: a history counts for as much as it has to do with what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.layers.activation_unit import ActivationUnit
from ctrgate.models.blocks import MlpConfig, Widths
from ctrgate.models.inputs import Embedding, History, Inputs, Share, every_field


@settings
class DINConfig:
    """``logit = MLP([x, u_1, u_2, ...])``, an interest u for each sequence group (Zhou et al., KDD 2018).

    A group's members are matched with the fields that read the same tables, side by side: item with item, category with
    category. Without sequences it is an MLP on the embeddings.
    """

    name: Literal["din"] = "din"
    mlp: MlpConfig = MlpConfig(hidden=(200, 80))
    attention_hidden: Widths = (80, 40)
    """Of the activation unit."""
    attention_activation: Literal["sigmoid", "relu", "gelu", "silu", "tanh"] = "sigmoid"
    """Of its hidden layers. The paper's Dice takes the mean of a batch, and padding would be in it."""
    normalisation: Literal["none", "softmax", "scaled_softmax"] = "none"
    """Of the activation over a history: the paper's, FuxiCTR's or the authors' code's."""
    targets: Mapping[str, str] = Field(default_factory=dict)
    """``GROUP/MEMBER: field`` where the field that a member is matched with is not the one that shares its table."""
    sequence_dropout: Share = 0.0
    """On each interest."""

    def embeddings(self, layout: Layout) -> tuple[Embedding | History, ...]:
        """One embedding per field, and each id member of each sequence group with the field it is matched with.

        Raises:
            ConfigError: Naming the members that no field matches.
        """
        field_of = {field.table: field.name for field in reversed(layout.fields) if field.table}
        members = [(group.name, member) for group in layout.sequences for member in group.members if member.table]
        histories = [
            History(
                sequence=group,
                member=member.name,
                target=self.targets.get(f"{group}/{member.name}") or field_of.get(member.table, ""),
            )
            for group, member in members
        ]
        if lacking := [history.key for history in histories if not history.target]:
            raise ConfigError(
                f"model.targets: no field reads the table of {', '.join(lacking)}; name the field to match it with"
            )
        return every_field(layout) + tuple(histories)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return DIN(self, inputs=inputs)


class DIN(nn.Module):
    """An activation unit per sequence group, and an MLP on everything."""

    def __init__(self, config: DINConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self._groups: dict[str, list[History]] = {}
        for history in inputs.histories:
            self._groups.setdefault(history.sequence, []).append(history)
        widths = []
        for name, histories in self._groups.items():
            width = sum(inputs.dims[history.key] for history in histories)
            wanted = sum(inputs.dims[history.target] for history in histories)
            if width != wanted:
                raise ConfigError(
                    f"model.targets: {name} is {width} wide and what it is matched with {wanted}; match members with "
                    "fields of their own tables, or give these the same width in tables.dims"
                )
            widths.append(width)
        self.units = nn.ModuleList(
            ActivationUnit(
                width,
                hidden_dims=config.attention_hidden,
                activation=config.attention_activation,
                normalisation=config.normalisation,
            )
            for width in widths
        )
        self.dropout = nn.Dropout(config.sequence_dropout)
        self.mlp = config.mlp.build(inputs.flat_dim + sum(widths), output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        parts = [fields.flat]
        for (name, histories), unit in zip(self._groups.items(), self.units, strict=True):
            sequence = fields.sequence(name)
            keys = torch.cat([sequence[history.member] for history in histories], dim=2)
            query = torch.cat([fields[history.target] for history in histories], dim=1)
            parts.append(self.dropout(unit(query, keys, sequence.mask)))
        return Output(logits=self.mlp(torch.cat(parts, dim=1)))
