"""Dice: an activation whose bend lies where the batch's values do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dice"]


class Dice(nn.Module):
    """``y = p x + (1 - p) alpha x`` with ``p = sigmoid((x - mean) / sqrt(variance))`` (DIN, KDD 2018, eq. 3).

    Mean and variance are the batch's, running ones in evaluation; alpha, one per unit, starts at 0 as in the authors'
    code.

    Args:
        dim: N.

    Shape:
        - inputs, returns: ``(B, N)``
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-8)
        self.alpha = nn.Parameter(torch.zeros(dim))

    def forward(self, inputs: Tensor) -> Tensor:
        share = torch.sigmoid(self.norm(inputs))
        return inputs * (share + (1 - share) * self.alpha)
