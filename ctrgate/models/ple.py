"""PLE: besides shared experts each label has its own, level upon level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.experts import ExpertGateConfig, Experts, SoftmaxGateConfig, mix, sum_terms
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class PLEConfig(EveryField):
    """Progressive layered extraction (Tang et al., RecSys 2020).

    On each level, label l mixes its own experts and the shared ones by its gate, and a shared gate mixes all experts
    for the next level's shared ones; the last level has no shared gate. Gates see what their experts see.
    """

    name: Literal["ple"] = "ple"
    num_levels: Count = 2
    """Levels of experts, one upon the other."""
    num_own_experts: Count = 2
    """Per label."""
    num_shared_experts: Count = 2
    """On each level."""
    expert: MlpConfig = MlpConfig(hidden=(256, 128))
    """Each expert, on every level."""
    tower: MlpConfig = MlpConfig(hidden=(64,))
    """Each label's MLP upon its last mixture."""
    gate: ExpertGateConfig = SoftmaxGateConfig()
    """Each gate, of labels and shared."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return PLE(self, inputs=inputs)


class PLE(nn.Module):
    """Levels of extraction, then a tower per label."""

    def __init__(self, config: PLEConfig, *, inputs: Inputs) -> None:
        super().__init__()
        width, last = config.expert.hidden[-1], config.num_levels - 1
        self.levels = nn.ModuleList(
            _Level(
                config, input_dim=width if level else inputs.flat_dim, num_labels=inputs.num_labels, last=level == last
            )
            for level in range(config.num_levels)
        )
        self.towers = nn.ModuleList(config.tower.build(width, output_dim=1) for _ in range(inputs.num_labels))

    def forward(self, fields: Fields) -> Output:
        shared = fields.flat
        own = [shared] * len(self.towers)
        terms: list[Mapping[str, Tensor]] = []
        for level in self.levels:
            own, shared, of_level = level(own, shared)
            terms.append(of_level)
        logits = [tower(vector) for tower, vector in zip(self.towers, own, strict=True)]
        return Output(logits=torch.cat(logits, dim=1), aux=sum_terms(terms))


class _Level(nn.Module):
    """One level: per label a vector, and the shared one, to the same of the experts' width."""

    def __init__(self, config: PLEConfig, *, input_dim: int, num_labels: int, last: bool) -> None:
        super().__init__()
        num_own, num_shared = config.num_own_experts, config.num_shared_experts
        self.own = nn.ModuleList(
            Experts(config.expert.build(input_dim) for _ in range(num_own)) for _ in range(num_labels)
        )
        self.shared = Experts(config.expert.build(input_dim) for _ in range(num_shared))
        self.gates = nn.ModuleList(config.gate.build(input_dim, num_own + num_shared) for _ in range(num_labels))
        self.shared_gate = None if last else config.gate.build(input_dim, num_own * num_labels + num_shared)

    def forward(self, own: Sequence[Tensor], shared: Tensor) -> tuple[list[Tensor], Tensor, Mapping[str, Tensor]]:
        common = self.shared(shared)
        found = [experts(vector) for experts, vector in zip(self.own, own, strict=True)]
        chosen = [gate(vector) for gate, vector in zip(self.gates, own, strict=True)]
        mixed = [
            mix(weights, torch.cat([mine, common], dim=1)) for mine, (weights, _) in zip(found, chosen, strict=True)
        ]
        terms = [of_gate for _, of_gate in chosen]
        if self.shared_gate is not None:
            weights, of_gate = self.shared_gate(shared)
            shared = mix(weights, torch.cat([*found, common], dim=1))
            terms.append(of_gate)
        return mixed, shared, sum_terms(terms)
