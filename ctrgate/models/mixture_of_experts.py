"""A mixture of experts: a gate chooses, for each row, which MLPs or cross nets it is scored by."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.layers.cross import CrossNet, MatrixCross
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.experts import ExpertGateConfig, Experts, NoisyTopKConfig, mix
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class MixtureOfExpertsConfig(EveryField):
    """``logit = A sum_k g_k(x) E_k(x) + a`` (Shazeer et al., ICLR 2017, arXiv 1701.06538; other gates as they say)."""

    name: Literal["mixture_of_experts"] = "mixture_of_experts"
    num_experts: Count = 8
    """K, among which the gate chooses."""
    expert: Literal["mlp", "cross"] = "mlp"
    """What an expert is: an MLP, or a cross net of DCNv2."""
    mlp: MlpConfig = MlpConfig(hidden=(128, 64))
    """Each MLP expert."""
    num_cross_layers: Count = 3
    """Of each cross expert."""
    rank: Count | None = None
    """Rank of a cross expert's matrices; null for full ones."""
    gate: ExpertGateConfig = NoisyTopKConfig()
    """What chooses, from all embeddings."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return MixtureOfExperts(self, inputs=inputs)


class MixtureOfExperts(nn.Module):
    """The experts, their gate, and one output layer."""

    def __init__(self, config: MixtureOfExpertsConfig, *, inputs: Inputs) -> None:
        super().__init__()
        dim = inputs.flat_dim

        def expert() -> nn.Module:
            if config.expert == "mlp":
                return config.mlp.build(dim)
            return CrossNet(MatrixCross(dim, rank=config.rank) for _ in range(config.num_cross_layers))

        self.gate = config.gate.build(dim, config.num_experts)
        self.experts = Experts(expert() for _ in range(config.num_experts))
        self.output = xavier_linear(config.mlp.hidden[-1] if config.expert == "mlp" else dim, inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        flat = fields.flat
        weights, terms = self.gate(flat)
        return Output(logits=self.output(mix(weights, self.experts(flat))), aux=terms)
