"""FM: a weight per value and the inner products of all pairs of fields."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.interaction import pairwise_products
from ctrgate.models.blocks import EqualWidths, linear_embeddings, linear_term
from ctrgate.models.inputs import Embedding, Inputs, every_field


@settings
class FMConfig:
    """``logit = b + sum_f w_f + sum_{f<g} <x_f, x_g>`` (Rendle, ICDM 2010)."""

    name: Literal["fm"] = "fm"

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding and one weight (per label) for each field."""
        return every_field(layout) + linear_embeddings(layout)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return FM(inputs=inputs)


class FM(nn.Module):
    """The linear term and the pairs; with several labels, these share the pairs."""

    def __init__(self, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        self.bias = nn.Parameter(torch.zeros(inputs.num_labels))

    def forward(self, fields: Fields) -> Output:
        return Output(logits=linear_term(fields) + pairwise_products(self.equal(fields)) + self.bias)
