"""DNN: one MLP over all fields, the floor that every interaction model is measured against."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.mlp import Activation, Mlp
from ctrgate.models.inputs import Embedding, Inputs, Share, every_field


@settings
class MlpConfig:
    """One MLP: widths, and what each block holds."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (400, 400, 400)
    activation: Activation = "relu"
    dropout: Share = 0.0
    batch_norm: bool = True

    def build(self, input_dim: int, *, output_dim: int | None = None) -> Mlp:
        """The module for an input width."""
        return Mlp(
            input_dim,
            hidden_dims=self.hidden,
            output_dim=output_dim,
            activation=self.activation,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
        )


@settings
class DNNConfig:
    """``logit = MLP(x)`` over the flat embedding ``x``."""

    name: Literal["dnn"] = "dnn"
    mlp: MlpConfig = MlpConfig()

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field."""
        return every_field(layout)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return DNN(self.mlp, inputs=inputs)


class DNN(nn.Module):
    """One MLP with a logit per label."""

    def __init__(self, mlp: MlpConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.mlp = mlp.build(inputs.flat_dim, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        return Output(logits=self.mlp(fields.flat))
