"""COMET: few experts by trees, in an order that is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ctrgate.layers.experts import ExpertGate
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.routing import entropy, mean_or_zero, sinkhorn, small_linear, smooth_step

__all__ = ["Comet"]

_LOWEST = torch.finfo(torch.float32).min


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
