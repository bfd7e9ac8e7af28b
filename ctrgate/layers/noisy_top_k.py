"""Noisy top-k: the best few of scores to which training adds noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.experts import ExpertGate
from ctrgate.layers.routing import chance_of_choice, squared_variation, top_k_softmax

__all__ = ["NoisyTopK"]


class NoisyTopK(ExpertGate):
    """``softmax(keep_top_k(c W_g + noise * softplus(c W_n)))``, noise in training alone (slot: expert).

    Shazeer et al., ICLR 2017, arXiv 1701.06538. Both matrices start at zero, so that chance alone routes at first. Two
    terms even the experts' use out: ``w_i CV^2(sum_b weights)`` and ``w_l CV^2(sum_b P)``, ``CV^2 = variance / mean^2``
    and ``P_i`` the chance that expert i stays among the k best if its noise alone is drawn again. With one expert, CV^2
    is 0; with k = K all experts are chosen and the load has no term.

    Args:
        context_dim: C.
        num_experts: K.
        num_chosen: k.
        importance: ``w_i``; 0.1 in the paper.
        load: ``w_l``; 0.1 in the paper.
    """

    def __init__(
        self, context_dim: int, num_experts: int, *, num_chosen: int = 2, importance: float = 0.1, load: float = 0.1
    ) -> None:
        super().__init__(num_experts)
        self.num_chosen = min(num_chosen, num_experts)
        self._importance, self._load = importance, load
        self.scores = nn.Linear(context_dim, num_experts, bias=False)
        self.noise = nn.Linear(context_dim, num_experts, bias=False)
        nn.init.zeros_(self.scores.weight)
        nn.init.zeros_(self.noise.weight)

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        clean = self.scores(context).float()
        if not self.training:
            return top_k_softmax(clean, self.num_chosen), {}
        spread = functional.softplus(self.noise(context).float())
        noisy = clean + torch.randn_like(clean) * spread
        weights = top_k_softmax(noisy, self.num_chosen)
        terms = {"importance": self._importance * squared_variation(weights.sum(dim=0))}
        if self.num_chosen < clean.size(1):
            load = chance_of_choice(clean, noisy, spread, num_chosen=self.num_chosen).sum(dim=0)
            terms["load"] = self._load * squared_variation(load)
        return weights, terms

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        alone = ("scores.weight", "noise.weight") if self.num_chosen == 1 and not self._load else ()
        return super().untrained() | dict.fromkeys(
            alone, "the weight of one chosen expert is 1; only the load term learns"
        )
