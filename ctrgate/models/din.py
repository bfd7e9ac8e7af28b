"""DIN: a history counts for as much as it has to do with what is shown."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import MlpConfig, Widths
from ctrgate.models.histories import Interests, MatchedSettings, history_groups
from ctrgate.models.inputs import Inputs
from ctrgate.ranges import Share


@settings
class DINConfig(MatchedSettings):
    """``logit = MLP([x, u_1, u_2, ...])``, an interest u for each sequence group (Zhou et al., KDD 2018).

    A group's members are matched with the fields that read the same tables, side by side: item with item, category with
    category. Without sequences it is an MLP on the embeddings.
    """

    name: Literal["din"] = "din"
    mlp: MlpConfig = MlpConfig(hidden=(200, 80))
    """On the embeddings and the interests, side by side."""
    attention_hidden: Widths = (80, 40)
    """Of the activation unit."""
    attention_activation: Literal["sigmoid", "relu", "gelu", "silu", "tanh"] = "sigmoid"
    """Of its hidden layers. The paper's Dice takes the mean of a batch, and padding would be in it."""
    normalisation: Literal["none", "softmax", "scaled_softmax"] = "none"
    """Of the activation over a history: the paper's, FuxiCTR's or the authors' code's."""
    sequence_dropout: Share = 0.0
    """On each interest."""

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
