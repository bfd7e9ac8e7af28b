"""DeepFM: an FM and an MLP over the same embeddings."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.interaction import pairwise_products
from ctrgate.models.blocks import EqualWidths, MlpConfig, linear_embeddings, linear_term
from ctrgate.models.inputs import Embedding, Inputs, every_field


@settings
class DeepFMConfig:
    """``logit = sum_f w_f + sum_{f<g} <x_f, x_g> + MLP(x)`` (Guo et al., IJCAI 2017, arXiv 1703.04247)."""

    name: Literal["deep_fm"] = "deep_fm"
    mlp: MlpConfig = MlpConfig()
    """On the flat embedding, beside the FM."""

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding and one weight (per label) for each field."""
        return every_field(layout) + linear_embeddings(layout)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return DeepFM(self.mlp, inputs=inputs)


class DeepFM(nn.Module):
    """The sum of linear term, pairs and MLP, whose output layer has the only bias; labels share the pairs."""

    def __init__(self, mlp: MlpConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        self.mlp = mlp.build(inputs.flat_dim, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        return Output(logits=linear_term(fields) + pairwise_products(self.equal(fields)) + self.mlp(fields.flat))
