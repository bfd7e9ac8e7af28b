"""GDCN: a cross net whose every new product passes a gate; GCN alone, GDCN-S with an MLP upon it, GDCN-P beside it."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.layers.cross import CrossNet, GatedCross
from ctrgate.models.blocks import DeepAndCross, MlpConfig
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class GDCNConfig(EveryField):
    """``c_{l+1} = x * (U_l c_l + b_l) * sigmoid(G_l c_l) + c_l`` (Wang et al., CIKM 2023, arXiv 2311.04635).

    With neither MLP it is GCN, with ``stacked_mlp`` GDCN-S, with ``parallel_mlp`` GDCN-P.
    """

    name: Literal["gdcn"] = "gdcn"
    num_cross_layers: Count = 3
    """L: crosses of up to L + 1 fields."""
    rank: Count | None = None
    """Rank of the cross and gate matrices (not in the paper); null for full ones."""
    bias_start: Literal["uniform", "zero"] = "uniform"
    """How b starts: drawn from [0, 1) as published, or zero."""
    parallel_mlp: MlpConfig | None = None
    """An MLP on the embeddings, beside the cross net."""
    stacked_mlp: MlpConfig | None = None
    """An MLP on what the cross net gives."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        dim = inputs.flat_dim
        cross = CrossNet(
            GatedCross(dim, rank=self.rank, bias_start=self.bias_start) for _ in range(self.num_cross_layers)
        )
        return DeepAndCross(cross, inputs=inputs, stacked=self.stacked_mlp, parallel=self.parallel_mlp)
