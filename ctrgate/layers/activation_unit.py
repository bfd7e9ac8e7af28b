"""How much each event of a history has to do with what is shown: DIN's activation unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.layers.mlp import Activation, Mlp

__all__ = ["ActivationUnit"]


class ActivationUnit(nn.Module):
    """``u = sum_i a_i k_i`` with ``a_i`` from ``MLP([q, k_i, q - k_i, q * k_i])`` (DIN, KDD 2018, arXiv 1706.06978).

    The paper takes the MLP's numbers as they are (``none``), so that strong interest stays strong; the authors' code
    puts a softmax over ``s / sqrt(D)`` (``scaled_softmax``), FuxiCTR one over s (``softmax``). Padding counts for
    nothing, and an empty history gives zero in every form.

    Args:
        dim: D.
        hidden_dims: Of the MLP; 80 and 40 in the authors' code.
        activation: Of its hidden layers; a sigmoid in the authors' code, Dice in the paper.
        normalisation: Of the numbers over a history.
        dropout: Within the MLP.

    Shape:
        - query: ``(B, D)``, what is shown
        - keys: ``(B, T, D)``, the history
        - mask: ``(B, T)`` bool, True where real
        - returns: ``(B, D)``
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_dims: Sequence[int] = (80, 40),
        activation: Activation = "sigmoid",
        normalisation: Literal["none", "softmax", "scaled_softmax"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scores = Mlp(4 * dim, hidden_dims=hidden_dims, output_dim=1, activation=activation, dropout=dropout)
        self._scale = dim**-0.5 if normalisation == "scaled_softmax" else 1.0
        self._normalised = normalisation != "none"

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        weights = self.weights(query, keys, mask)
        return (weights.unsqueeze(2) * keys).sum(dim=1)

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The numbers ``a_i`` alone, ``(B, T)``; 0 at padding."""
        queries = query.unsqueeze(1).expand_as(keys)
        scores: Tensor = (
            self.scores(torch.cat([queries, keys, queries - keys, queries * keys], dim=2)).squeeze(2).float()
        )
        if self._normalised:
            lowest = torch.finfo(scores.dtype).min
            scores = (scores * self._scale).masked_fill(~mask, lowest).softmax(dim=1)
        return scores.masked_fill(~mask, 0.0)
