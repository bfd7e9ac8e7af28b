"""Cross layers: explicit products with the input, one order higher in each layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.layers.gates import InformationGate
from ctrgate.layers.linear import square_linear, xavier_linear

__all__ = ["CrossNet", "GatedCross", "MatrixCross", "VectorCross"]


class VectorCross(nn.Module):
    """``c' = x (w . c) + b + c`` (DCN, ADKDD 2017): one number per row scales the input.

    Args:
        dim: D.

    Shape:
        - inputs, current: ``(B, D)``, the network's input x and the layer below c
        - returns: ``(B, D)``
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = xavier_linear(dim, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, inputs: Tensor, current: Tensor) -> Tensor:
        result: Tensor = inputs * self.weight(current) + self.bias + current
        return result


class MatrixCross(nn.Module):
    """``c' = x * (W c + b) + c`` (DCN V2, WWW 2021); with ``rank``, ``W = U V'`` (its low-rank form, one expert).

    Args:
        dim: D.
        rank: R, columns of U and V; None for a full W.

    Shape:
        - inputs, current: ``(B, D)``
        - returns: ``(B, D)``
    """

    def __init__(self, dim: int, *, rank: int | None = None) -> None:
        super().__init__()
        self.weight = square_linear(dim, rank=rank)

    def forward(self, inputs: Tensor, current: Tensor) -> Tensor:
        result: Tensor = inputs * self.weight(current) + current
        return result


class GatedCross(nn.Module):
    """``c' = x * (U c + b) * sigmoid(G c) + c`` (GDCN, CIKM 2023): the gate filters the new products, not the skip.

    Args:
        dim: D.
        rank: Of U and G, which then are products of two thin matrices (not in the paper); None for full ones.
        bias_start: ``uniform`` draws b from [0, 1), as both published codes do; ``zero`` is the usual start.

    Shape:
        - inputs, current: ``(B, D)``
        - returns: ``(B, D)``

    Example:
        >>> GatedCross(4)(torch.ones(2, 4), torch.ones(2, 4)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, dim: int, *, rank: int | None = None, bias_start: Literal["uniform", "zero"] = "uniform"
    ) -> None:
        super().__init__()
        self.weight = square_linear(dim, rank=rank, bias=False)
        self.bias = nn.Parameter(torch.rand(dim) if bias_start == "uniform" else torch.zeros(dim))
        self.gate = InformationGate(dim, rank=rank)

    def forward(self, inputs: Tensor, current: Tensor) -> Tensor:
        result: Tensor = self.gate(inputs * (self.weight(current) + self.bias), current) + current
        return result


class CrossNet(nn.Module):
    """Cross layers one upon the other, each seeing the input again.

    Shape:
        - inputs: ``(B, D)``
        - returns: ``(B, D)``
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: Tensor) -> Tensor:
        current = inputs
        for layer in self.layers:
            current = layer(inputs, current)
        return current
