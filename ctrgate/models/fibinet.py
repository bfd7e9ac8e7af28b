"""FiBiNET: bilinear products of the fields, and of the fields that squeeze-and-excitation weighs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.gates import SqueezeExcitation
from ctrgate.layers.interaction import BilinearInteraction
from ctrgate.models.blocks import EqualWidths, MlpConfig, linear_embeddings, linear_term
from ctrgate.models.inputs import Embedding, Inputs, every_field
from ctrgate.ranges import Positive


@settings
class FiBiNETConfig:
    """``logit = sum_f w_f + MLP([p(x), p(SE(x))])`` (Huang et al., RecSys 2019, arXiv 1905.09433).

    ``p`` is one bilinear interaction for both, as the parameter counts of BARS' logs have it; newer versions of the
    code behind them have two.
    """

    name: Literal["fibinet"] = "fibinet"
    bilinear: Literal["all", "each", "pair"] = "pair"
    """One bilinear matrix for all pairs of fields, one for each left field, or one for each pair."""
    reduction: Positive = 3.0
    """The gate's hidden width is the number of fields divided by this; below 1 it expands."""
    excitation: Literal["relu", "sigmoid"] = "relu"
    """The gate's last activation; relu may close a field for good."""
    mlp: MlpConfig = MlpConfig()
    """On the products of the fields as they are and of the gated ones."""

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding and one weight (per label) for each field."""
        return every_field(layout) + linear_embeddings(layout)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return FiBiNET(self, inputs=inputs)


class FiBiNET(nn.Module):
    """Linear term, and an MLP over all pairs of fields, plain and weighed."""

    def __init__(self, config: FiBiNETConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        num_fields, dim = self.equal.num_fields, self.equal.dim
        self.gate = SqueezeExcitation(num_fields, reduction=config.reduction, activation=config.excitation)
        self.bilinear = BilinearInteraction(num_fields, dim, kind=config.bilinear)
        self.mlp = config.mlp.build(num_fields * (num_fields - 1) * dim, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        plain = self.equal(fields)
        pairs = torch.cat([self.bilinear(plain), self.bilinear(self.gate(plain))], dim=1)
        return Output(logits=linear_term(fields) + self.mlp(pairs.flatten(1)))
