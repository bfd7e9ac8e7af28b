"""DCNv2: a cross net of matrices, an MLP beside it or upon it."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.layers.cross import CrossNet, MatrixCross
from ctrgate.models.blocks import DeepAndCross, MlpConfig
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class DCNv2Config(EveryField):
    """``c_{l+1} = x * (W_l c_l + b_l) + c_l`` with one or two MLPs (DCN V2, Wang et al., WWW 2021, arXiv 2008.13535).

    With neither MLP it is the cross net alone (CN-V2); with ``parallel_mlp`` or ``stacked_mlp`` the paper's two forms.
    """

    name: Literal["dcn_v2"] = "dcn_v2"
    num_cross_layers: Count = 3
    """L: crosses of up to L + 1 fields."""
    rank: Count | None = None
    """Rank of the cross matrices; null for full ones."""
    parallel_mlp: MlpConfig | None = None
    """An MLP on the embeddings, beside the cross net."""
    stacked_mlp: MlpConfig | None = None
    """An MLP on what the cross net gives."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        cross = CrossNet(MatrixCross(inputs.flat_dim, rank=self.rank) for _ in range(self.num_cross_layers))
        return DeepAndCross(cross, inputs=inputs, stacked=self.stacked_mlp, parallel=self.parallel_mlp)
