"""DNN: one MLP over all fields, the floor that every interaction model is measured against."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import EveryField, Inputs


@settings
class DNNConfig(EveryField):
    """``logit = MLP(x)`` over the flat embedding ``x``."""

    name: Literal["dnn"] = "dnn"
    mlp: MlpConfig = MlpConfig()
    """On the flat embedding."""

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
