"""What the gates of experts compute with: smooth steps, the best of scores, balance, entropy, Sinkhorn's iteration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "chance_of_choice",
    "entropy",
    "mean_or_zero",
    "sinkhorn",
    "small_linear",
    "smooth_step",
    "squared_variation",
    "top_k_softmax",
]


def smooth_step(z: Tensor, *, gamma: float) -> Tensor:
    """0 up to ``-gamma / 2``, 1 from ``gamma / 2``, between them the cubic with slope 0 at both (ICML 2020).

    Example:
        >>> smooth_step(torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), gamma=1.0).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    inside = (z / gamma).clamp(-0.5, 0.5)
    return 0.5 + inside * (1.5 - 2 * inside.square())


def top_k_softmax(scores: Tensor, num_chosen: int) -> Tensor:
    """A softmax over the best scores of each row, zero for the others; of equal ones the first stay."""
    if num_chosen >= scores.size(1):
        return scores.softmax(dim=1)
    best, places = scores.sort(dim=1, descending=True, stable=True)
    best, places = best[:, :num_chosen], places[:, :num_chosen]
    return torch.zeros_like(scores).scatter(1, places, best.softmax(dim=1))


def squared_variation(values: Tensor) -> Tensor:
    """``variance / mean^2`` with the population's variance; 0 for a single value."""
    if values.numel() == 1:
        return values.new_zeros(())
    return values.var(correction=0) / values.mean().square().clamp(min=1e-10)


def chance_of_choice(clean: Tensor, noisy: Tensor, spread: Tensor, *, num_chosen: int) -> Tensor:
    """For each row and expert, the chance to be among the k best if its own noise alone is drawn again.

    ``Phi((clean_i - t_i) / spread_i)``, ``t_i`` the k-th largest noisy score of the other experts.

    Shape:
        - clean, noisy, spread, returns: ``(B, K)``; needs ``num_chosen < K``
    """
    best = noisy.topk(num_chosen + 1, dim=1).values
    inner, outer = best[:, num_chosen - 1 : num_chosen], best[:, num_chosen:]
    threshold = torch.where(noisy >= inner, outer, inner)
    chance: Tensor = torch.special.ndtr((clean - threshold) / spread.clamp(min=1e-6))
    return chance


def sinkhorn(scores: Tensor, *, iterations: int) -> Tensor:
    """``exp(scores)`` scaled by turns to rows and columns that sum to 1 (Sinkhorn), in logarithms.

    Shape:
        - scores, returns: ``(K, K)``
    """
    for _ in range(iterations):
        scores = scores - scores.logsumexp(dim=1, keepdim=True)
        scores = scores - scores.logsumexp(dim=0, keepdim=True)
    return scores.exp()


def mean_or_zero(values: Tensor) -> Tensor:
    """The mean; 0 of nothing."""
    return values.sum() / max(values.numel(), 1)


def entropy(probabilities: Tensor) -> Tensor:
    """Of the last dimension."""
    safe = probabilities.clamp(min=torch.finfo(torch.float32).tiny)
    return -(probabilities * safe.log()).sum(dim=-1)


def small_linear(in_dim: int, out_dim: int, *, gamma: float) -> nn.Linear:
    """The start of the authors' code, well inside the smooth step: weights U(+-.05), biases U(+-gamma / 100)."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.uniform_(layer.weight, -0.05, 0.05)
    nn.init.uniform_(layer.bias, -gamma / 100, gamma / 100)
    return layer
