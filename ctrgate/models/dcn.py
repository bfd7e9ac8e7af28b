"""DCN: a cross net of vectors beside an MLP."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.layers.cross import CrossNet, VectorCross
from ctrgate.models.blocks import DeepAndCross, MlpConfig
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class DCNConfig(EveryField):
    """``logit = A [c_L, MLP(x)] + a`` with ``c_{l+1} = x (w_l . c_l) + b_l + c_l`` (Wang et al., ADKDD 2017)."""

    name: Literal["dcn"] = "dcn"
    num_cross_layers: Count = 3
    """L: crosses of up to L + 1 fields."""
    parallel_mlp: MlpConfig | None = MlpConfig()
    """The MLP beside the cross net; null for the cross net alone."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        cross = CrossNet(VectorCross(inputs.flat_dim) for _ in range(self.num_cross_layers))
        return DeepAndCross(cross, inputs=inputs, stacked=None, parallel=self.parallel_mlp)
