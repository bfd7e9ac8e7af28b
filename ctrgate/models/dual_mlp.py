"""DualMLP: two MLPs side by side, FinalMLP's baseline."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import EveryField, Inputs


@settings
class DualMLPConfig(EveryField):
    """``logit = MLP1(x) + MLP2(x)`` (FinalMLP, AAAI 2023, section on the two-stream base)."""

    name: Literal["dual_mlp"] = "dual_mlp"
    mlp1: MlpConfig = MlpConfig()
    """The first stream."""
    mlp2: MlpConfig = MlpConfig(hidden=(400,))
    """The second stream."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return DualMLP(self, inputs=inputs)


class DualMLP(nn.Module):
    """The sum of two MLPs, each with its own output layer."""

    def __init__(self, config: DualMLPConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.mlp1 = config.mlp1.build(inputs.flat_dim, output_dim=inputs.num_labels)
        self.mlp2 = config.mlp2.build(inputs.flat_dim, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        flat = fields.flat
        return Output(logits=self.mlp1(flat) + self.mlp2(flat))
