"""Parts of networks with experts: the choice of a gate, and experts mixed by its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Discriminator, Field
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.layers.comet import Comet
from ctrgate.layers.d_select_k import DSelectK
from ctrgate.layers.dense_to_sparse import DenseToSparse
from ctrgate.layers.experts import ExpertGate, SoftmaxGate
from ctrgate.layers.noisy_top_k import NoisyTopK
from ctrgate.ranges import Count, NotNegative, Positive

__all__ = ["ExpertGateConfig", "Experts", "SoftmaxGateConfig"]


@settings
class SoftmaxGateConfig:
    """Every expert takes part."""

    name: Literal["softmax"] = "softmax"
    hidden: tuple[Count, ...] = ()
    """Hidden layers of the gate."""

    def build(self, context_dim: int, num_experts: int) -> ExpertGate:
        """The module."""
        return SoftmaxGate(context_dim, num_experts, hidden_dims=self.hidden)


@settings
class NoisyTopKConfig:
    """The k best by noisy scores, evened out by two terms."""

    name: Literal["noisy_top_k"] = "noisy_top_k"
    num_chosen: Count = 2
    """k, experts that take part in a row."""
    importance: NotNegative = 0.1
    """Weight of the term on the sums of weights."""
    load: NotNegative = 0.1
    """Weight of the term on the chances to be chosen."""

    def build(self, context_dim: int, num_experts: int) -> ExpertGate:
        """The module."""
        return NoisyTopK(
            context_dim, num_experts, num_chosen=self.num_chosen, importance=self.importance, load=self.load
        )


@settings
class DenseToSparseConfig:
    """All experts while a temperature falls, then the k best."""

    name: Literal["dense_to_sparse"] = "dense_to_sparse"
    num_chosen: Count = 2
    """k, experts that take part in a row in the end."""
    hidden: Count = 32
    """Width of the gate's hidden layer."""
    hottest: Positive = 2.0
    """The temperature at the start."""
    coldest: Positive = 0.3
    """The temperature after ``anneal_steps``."""
    anneal_steps: Count = 1_000
    """Steps of training until only the best take part."""

    def build(self, context_dim: int, num_experts: int) -> ExpertGate:
        """The module."""
        return DenseToSparse(
            context_dim,
            num_experts,
            num_chosen=self.num_chosen,
            hidden_dim=self.hidden,
            hottest=self.hottest,
            coldest=self.coldest,
            anneal_steps=self.anneal_steps,
        )


@settings
class DSelectKConfig:
    """k selectors that each settle on one expert."""

    name: Literal["dselect_k"] = "dselect_k"
    num_chosen: Count = 2
    """k, selectors; two may settle on one expert."""
    gamma: Positive = 1.0
    """Width of the smooth step."""
    entropy: NotNegative = 1e-3
    """Weight of the selectors' entropy."""

    def build(self, context_dim: int, num_experts: int) -> ExpertGate:
        """The module."""
        return DSelectK(context_dim, num_experts, num_chosen=self.num_chosen, gamma=self.gamma, entropy=self.entropy)


@settings
class CometConfig:
    """k trees with experts at their leaves, in a learned order."""

    name: Literal["comet"] = "comet"
    num_chosen: Count = 2
    """Trees."""
    gamma: Positive = 1.0
    """Width of the smooth step."""
    entropy: NotNegative = 0.1
    """Weight of the trees' entropy."""
    permutation_steps: Annotated[int, Field(ge=0)] = 100
    """Steps of the search for the experts' order; 0 keeps the first one."""

    def build(self, context_dim: int, num_experts: int) -> ExpertGate:
        """The module."""
        return Comet(
            context_dim,
            num_experts,
            num_chosen=self.num_chosen,
            gamma=self.gamma,
            entropy=self.entropy,
            permutation_steps=self.permutation_steps,
        )


ExpertGateConfig = Annotated[
    SoftmaxGateConfig | NoisyTopKConfig | DenseToSparseConfig | DSelectKConfig | CometConfig, Discriminator("name")
]


class Experts(nn.Module):
    """Experts side by side, and mixtures of what they find.

    All experts compute all rows, also those whose weight is zero: on a CPU, with experts of usual size, gathering rows
    costs as much as it saves.

    Shape:
        - inputs: ``(B, C)``
        - returns: ``(B, K, N)``
    """

    def __init__(self, experts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([expert(inputs) for expert in self.experts], dim=1)


def mix(weights: Tensor, found: Tensor) -> Tensor:
    """``sum_k w_k e_k``: ``(B, K)`` and ``(B, K, N)`` to ``(B, N)``."""
    return torch.einsum("bk,bkn->bn", weights.to(found.dtype), found)


def sum_terms(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The terms of several gates, summed by name."""
    names = {name for part in terms for name in part}
    return {name: torch.stack([part[name] for part in terms if name in part]).sum() for name in sorted(names)}
