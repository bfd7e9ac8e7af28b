"""IPNN: an MLP on the embeddings and the inner products of all their pairs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import EqualWidths, MlpConfig
from ctrgate.models.inputs import EveryField, Inputs


@settings
class IPNNConfig(EveryField):
    """``logit = MLP([x, <x_f, x_g> for f < g])`` (Qu et al., ICDM 2016, arXiv 1611.00144)."""

    name: Literal["ipnn"] = "ipnn"
    mlp: MlpConfig = MlpConfig()
    """On the embeddings and all inner products."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return IPNN(self.mlp, inputs=inputs)


class IPNN(nn.Module):
    """The pairs in the order (0, 1), (0, 2), ... (1, 2), ... behind the embeddings."""

    left: Tensor
    right: Tensor

    def __init__(self, mlp: MlpConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        left, right = torch.triu_indices(self.equal.num_fields, self.equal.num_fields, offset=1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.mlp = mlp.build(inputs.flat_dim + left.numel(), output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        rows = self.equal(fields)
        products = (rows @ rows.transpose(1, 2))[:, self.left, self.right]
        return Output(logits=self.mlp(torch.cat([fields.flat, products.to(fields.flat.dtype)], dim=1)))
