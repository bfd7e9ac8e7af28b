"""Dense-to-sparse: a softmax over all experts whose temperature falls, then the best few."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ctrgate.layers.experts import ExpertGate
from ctrgate.layers.mlp import Mlp
from ctrgate.layers.routing import top_k_softmax

__all__ = ["DenseToSparse"]


class DenseToSparse(ExpertGate):
    """``softmax(A2 relu(A1 c + a1) / t + a2 / t)`` of the k best, with a temperature that falls (slot: expert).

    After Nie et al., arXiv 2112.14397. t falls from ``hottest`` to ``coldest``, linearly in its logarithm, over the
    first ``anneal_steps`` steps, in which all experts take part; then the k best alone. t is not learned and the scores
    have a hidden layer: both avoid the slow rates of a learned temperature (after Nguyen et al., ICML 2024). The paper
    adds Gumbel noise; this does not.

    Args:
        context_dim: C.
        num_experts: K.
        num_chosen: k.
        hidden_dim: Width of the hidden layer.
        hottest: t at the start.
        coldest: t at the end.
        anneal_steps: Steps of training until the end.
    """

    steps: Tensor

    def __init__(
        self,
        context_dim: int,
        num_experts: int,
        *,
        num_chosen: int = 2,
        hidden_dim: int = 32,
        hottest: float = 2.0,
        coldest: float = 0.3,
        anneal_steps: int = 1_000,
    ) -> None:
        super().__init__(num_experts)
        self.num_chosen = min(num_chosen, num_experts)
        self.scores = Mlp(context_dim, hidden_dims=(hidden_dim,), output_dim=num_experts)
        self._hottest, self._coldest, self._anneal_steps = hottest, coldest, anneal_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        scores = self.scores(context).float() / self.temperature()
        annealing = self.steps < self._anneal_steps
        weights = torch.where(annealing, scores.softmax(dim=1), top_k_softmax(scores, self.num_chosen))
        if self.training:
            self.steps += 1
        return weights, {}

    def temperature(self) -> Tensor:
        """t now, a scalar."""
        share = (self.steps / self._anneal_steps).clamp(max=1.0)
        return self._hottest * (self._coldest / self._hottest) ** share
