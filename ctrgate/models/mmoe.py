"""MMoE: labels share experts, and each label mixes them by a gate of its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.experts import ExpertGateConfig, Experts, SoftmaxGateConfig, mix, sum_terms
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class MMoEConfig(EveryField):
    """``logit_l = tower_l(sum_k g_lk(x) E_k(x))`` (Ma et al., KDD 2018)."""

    name: Literal["mmoe"] = "mmoe"
    num_experts: Count = 8
    """Experts that all labels share."""
    expert: MlpConfig = MlpConfig(hidden=(512, 256, 128))
    """Each expert, without an output layer."""
    tower: MlpConfig = MlpConfig(hidden=(64,))
    """Each label's MLP upon its mixture."""
    gate: ExpertGateConfig = SoftmaxGateConfig()
    """Each label's gate."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return MMoE(self, inputs=inputs)


class MMoE(nn.Module):
    """Shared experts; per label a gate and a tower."""

    def __init__(self, config: MMoEConfig, *, inputs: Inputs) -> None:
        super().__init__()
        dim, labels = inputs.flat_dim, range(inputs.num_labels)
        self.experts = Experts(config.expert.build(dim) for _ in range(config.num_experts))
        self.gates = nn.ModuleList(config.gate.build(dim, config.num_experts) for _ in labels)
        self.towers = nn.ModuleList(config.tower.build(config.expert.hidden[-1], output_dim=1) for _ in labels)

    def forward(self, fields: Fields) -> Output:
        flat = fields.flat
        found = self.experts(flat)
        chosen = [gate(flat) for gate in self.gates]
        logits = [tower(mix(weights, found)) for tower, (weights, _) in zip(self.towers, chosen, strict=True)]
        return Output(logits=torch.cat(logits, dim=1), aux=sum_terms([terms for _, terms in chosen]))
