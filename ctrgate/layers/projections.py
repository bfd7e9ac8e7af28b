"""Numbers and pretrained vectors to the width of embedded fields."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctrgate.layers.linear import xavier_linear

__all__ = ["NumberProjection", "VectorProjection"]


class NumberProjection(nn.Module):
    """A number times one learned vector (a bias-free linear layer from one input, as FuxiCTR has it).

    Args:
        dim: D.

    Shape:
        - numbers: ``(B, 1)``
        - returns: ``(B, D)``
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers * self.weight


class VectorProjection(nn.Module):
    """A pretrained vector through one linear layer.

    Shape:
        - vectors: ``(B, W)``
        - returns: ``(B, D)``
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear = xavier_linear(width, dim)

    def forward(self, vectors: Tensor) -> Tensor:
        result: Tensor = self.linear(vectors)
        return result
