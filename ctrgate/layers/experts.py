"""Gates that choose among experts: from a row's context to one weight per expert."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mlp import Mlp
from ctrgate.layers.routing import (
    chance_of_choice,
    entropy,
    mean_or_zero,
    sinkhorn,
    small_linear,
    smooth_step,
    squared_variation,
    top_k_softmax,
)

__all__ = ["Comet", "DSelectK", "DenseToSparse", "ExpertGate", "NoisyTopK", "SoftmaxGate"]

_LOWEST = torch.finfo(torch.float32).min


class ExpertGate(nn.Module):
    """From a context to the weights of the experts, and terms for the objective (slot: expert).

    Weights and terms are fp32 under autocast too. Terms are empty in evaluation. With one expert its weight is 1.

    Shape:
        - context: ``(B, C)``
        - returns: weights ``(B, K)``, not negative; scalars by name
    """

    slot: ClassVar[str] = "expert"

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        raise NotImplementedError

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        names = [name for name, _ in self.named_parameters()] if self.num_experts == 1 else []
        return dict.fromkeys(names, "the weight of a single expert is 1 whatever they are")


class SoftmaxGate(ExpertGate):
    """``softmax(A c + a)``: every expert takes part (slot: expert; MMoE, KDD 2018; PLE, RecSys 2020).

    Args:
        context_dim: C.
        num_experts: K.
        hidden_dims: Hidden layers before the last one; the papers have none, FuxiCTR's models do.
    """

    def __init__(self, context_dim: int, num_experts: int, *, hidden_dims: Sequence[int] = ()) -> None:
        super().__init__(num_experts)
        self.scores = Mlp(context_dim, hidden_dims=hidden_dims, output_dim=num_experts)

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.scores(context).float().softmax(dim=1), {}


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


class DSelectK(ExpertGate):
    """k selectors that each settle on one expert, by codes of bits through a smooth step (slot: expert).

    Selector s gives expert i the weight ``prod_j (S(z_sj) if bit j of i else 1 - S(z_sj))`` over its ``ceil(log2 K)``
    bits; the selectors are mixed by a softmax. z and the mix are linear in the context (NeurIPS 2021, arXiv 2106.03760,
    the per-example form). Terms: the mean entropy of the
    selectors, and where K is no power of two the inverse of the share that falls on experts, so that codes without an
    expert lose theirs.

    Args:
        context_dim: C.
        num_experts: K.
        num_chosen: k, the number of selectors.
        gamma: Width of the smooth step: once every ``|z| >= gamma / 2``, exactly k experts are left.
        entropy: Weight of the entropy.
    """

    codes: Tensor

    def __init__(
        self, context_dim: int, num_experts: int, *, num_chosen: int = 2, gamma: float = 1.0, entropy: float = 1e-3
    ) -> None:
        super().__init__(num_experts)
        self.num_chosen = num_chosen
        num_bits = math.ceil(math.log2(num_experts))
        bits = torch.arange(num_experts)[:, None] >> torch.arange(num_bits)
        self.register_buffer("codes", (bits & 1).bool(), persistent=False)
        self._gamma, self._entropy = gamma, entropy
        self._is_full = 2**num_bits == num_experts
        self.bits = small_linear(context_dim, num_chosen * num_bits, gamma=gamma) if num_bits else None
        self.mix = xavier_linear(context_dim, num_chosen)

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        mix = self.mix(context).float().softmax(dim=1)
        if self.bits is None:
            return mix.sum(dim=1, keepdim=True), {}
        z = self.bits(context).float().unflatten(1, (self.num_chosen, -1))
        step = smooth_step(z, gamma=self._gamma).unsqueeze(2)  # (B, k, 1, bits)
        chosen = torch.where(self.codes, step, 1 - step).prod(dim=3)  # (B, k, K)
        weights = (mix.unsqueeze(2) * chosen).sum(dim=1)  # a product of matrices would be bf16 under autocast
        if not self.training:
            return weights, {}
        terms = {"entropy": self._entropy * mean_or_zero(entropy(chosen))}
        if not self._is_full:
            terms["unused_codes"] = self._entropy * mean_or_zero(1 / chosen.sum(dim=2).clamp(min=1e-3))
        return weights, terms

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        mix = ("mix.weight", "mix.bias") if self.num_chosen == 1 else ()
        return super().untrained() | dict.fromkeys(mix, "a softmax over one selector is 1")


class Comet(ExpertGate):
    """k trees that each lead a row to few experts, which stand at the leaves in a learned order (slot: expert).

    Ibrahim et al., KDD 2023. At a node the row goes right with the chance ``S(w c + b)``, S a smooth step, so that far
    from the border it takes one way alone. Leaf l of a tree is reached with the chance ``q_l``; with ``s_l = a_l(c) +
    log q_l``, the weights are a softmax over the leaves of all trees, those of one leaf number summed, then placed by a
    permutation. Term: the mean entropy of q. K experts are the K leaves of a tree of K - 1 nodes in heap order, so that
    where K is no power of two some leaves lie one level higher (the authors' code leaves leaves empty instead).

    The order (``permutation_steps > 0``): Sinkhorn's iteration makes a doubly stochastic matrix of a learned ``K x K``
    one, while over these steps the temperature falls from 1e-3 to 1e-7 (linearly in its logarithm), the iterations
    grow from 20 to 150, and the matrix' entropy is a term; then the nearest permutation stays. The matrix' start,
    N(0, .001 squared), is ours. Numbers and forms are those of the authors' code, whose entropy regularisers crash or
    look at the wrong probabilities and are mended here.

    Args:
        context_dim: C.
        num_experts: K.
        num_chosen: k, the number of trees.
        gamma: Width of the smooth step.
        entropy: Weight of the trees' entropy.
        permutation_steps: Steps of the search for an order, 1 to 10 % of training in the paper; 0 for none. A training
            that ends within them keeps a mix of experts at each leaf.
        permutation_entropy: Weight of the matrix' entropy.
    """

    paths: Tensor
    turns: Tensor
    shorter: Tensor
    steps: Tensor
    permutation: Tensor

    def __init__(
        self,
        context_dim: int,
        num_experts: int,
        *,
        num_chosen: int = 2,
        gamma: float = 1.0,
        entropy: float = 0.1,
        permutation_steps: int = 0,
        permutation_entropy: float = 1e-4,
    ) -> None:
        super().__init__(num_experts)
        self.num_chosen = num_chosen
        ways = [_way(num_experts - 1 + leaf) for leaf in range(num_experts)]
        depth = max(len(way) for way in ways)
        # A leaf one level higher has a way one node shorter, which is filled and counts as certain.
        self.register_buffer("paths", _table(ways, place=0, depth=depth, fill=0).long(), persistent=False)
        self.register_buffer("turns", _table(ways, place=1, depth=depth, fill=0).bool(), persistent=False)
        self.register_buffer("shorter", _table(ways, place=2, depth=depth, fill=1).bool(), persistent=False)
        self._gamma, self._entropy = gamma, entropy
        self._permutation_steps, self._permutation_entropy = permutation_steps, permutation_entropy
        self.nodes = small_linear(context_dim, num_chosen * (num_experts - 1), gamma=gamma) if depth else None
        self.leaves = xavier_linear(context_dim, num_chosen * num_experts)
        searched = permutation_steps > 0 and num_experts > 1
        self.placement = nn.Parameter(torch.randn(num_experts, num_experts) * 1e-3) if searched else None
        self.register_buffer("permutation", torch.eye(num_experts))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        scores = self.leaves(context).float().unflatten(1, (self.num_chosen, self.num_experts))
        reached = self._reached(context)
        scores = (scores + reached.clamp(min=torch.finfo(torch.float32).tiny).log()).masked_fill(reached <= 0, _LOWEST)
        weights = scores.flatten(1).softmax(dim=1).unflatten(1, (self.num_chosen, -1)).sum(dim=1)
        terms: dict[str, Tensor] = {}
        permutation = self.permutation
        if self.training:
            permutation = self._search(terms) if self.placement is not None else permutation
            terms["entropy"] = self._entropy * mean_or_zero(entropy(reached))
            self.steps += 1
        # Not a product of matrices, which would be bf16 under autocast.
        weights = (weights.unsqueeze(2) * permutation).sum(dim=1)
        return weights / weights.sum(dim=1, keepdim=True), terms  # a matrix of the search is not yet quite stochastic

    def _reached(self, context: Tensor) -> Tensor:
        """The chance q of each leaf, ``(B, k, K)``."""
        if self.nodes is None:
            return torch.ones(context.size(0), self.num_chosen, 1, device=context.device)
        z = self.nodes(context).float().unflatten(1, (self.num_chosen, -1))
        right = smooth_step(z, gamma=self._gamma)[:, :, self.paths]  # (B, k, K, depth)
        return torch.where(self.turns, right, 1 - right).masked_fill(self.shorter, 1.0).prod(dim=3)

    def _search(self, terms: dict[str, Tensor]) -> Tensor:
        """The matrix of this step; evaluation reads the last one, in the end a permutation."""
        assert self.placement is not None
        done = int(self.steps)
        if done >= self._permutation_steps:
            if done == self._permutation_steps:
                from scipy.optimize import linear_sum_assignment  # here, since serving has no SciPy

                rows, columns = linear_sum_assignment(self.permutation.cpu().numpy(), maximize=True)
                self.permutation.zero_()
                self.permutation[torch.from_numpy(rows), torch.from_numpy(columns)] = 1.0
            return self.permutation
        share = done / max(self._permutation_steps - 1, 1)
        temperature = 1e-3 * (1e-7 / 1e-3) ** share
        matrix = sinkhorn(self.placement / temperature, iterations=round(20 + share * (150 - 20)))
        self.permutation.copy_(matrix.detach())
        terms["permutation"] = self._permutation_entropy * (entropy(matrix) + entropy(matrix.T)).mean()
        return matrix


def _way(node: int) -> list[tuple[int, int, int]]:
    """The nodes above one of a heap, the root first, each with whether the way turns right there; and a zero."""
    way: list[tuple[int, int, int]] = []
    while node > 0:
        way.append(((node - 1) // 2, int(node % 2 == 0), 0))
        node = (node - 1) // 2
    return way[::-1]


def _table(ways: Sequence[Sequence[tuple[int, int, int]]], *, place: int, depth: int, fill: int) -> Tensor:
    """One part of all ways, ``(K, depth)``, shorter ones filled."""
    return torch.tensor([[step[place] for step in way] + [fill] * (depth - len(way)) for way in ways])
