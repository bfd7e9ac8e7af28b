"""DIN: a history counts for as much as it has to do with what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.models.blocks import MlpConfig, Widths
from ctrgate.models.histories import Interests, history_groups, match_histories
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
        return every_field(layout) + match_histories(layout, targets=self.targets)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return DIN(self, inputs=inputs)


class DIN(nn.Module):
    """An activation unit per sequence group, and an MLP on everything."""

    def __init__(self, config: DINConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.interests = Interests(
            history_groups(inputs),
            flat_dim=inputs.flat_dim,
            hidden_dims=config.attention_hidden,
            activation=config.attention_activation,
            normalisation=config.normalisation,
            dropout=config.sequence_dropout,
        )
        self.mlp = config.mlp.build(self.interests.out_dim, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        return Output(logits=self.mlp(self.interests(fields)))
