"""SIGMA's gates: one on what a sequence encoder found, one on its branches."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.convolution import HistoryConvolution
from ctrgate.layers.scaling import scale

__all__ = ["BranchMix", "DenseSelectiveGate"]


class DenseSelectiveGate(nn.Module):
    """``y = m + m * (silu(s) + sigmoid(s))`` with ``s = W1 conv(W0 x + b0) + b1`` (slot: sequence).

    SIGMA's dense selective gate (AAAI 2025, arXiv 2408.11451), as restated elsewhere: it scales what a Mamba found by
    what the events around each position say. Any encoder's output will do. At ``s = 0`` the factor is 3/2; it is never
    below 0.88 and has no upper bound.

    The convolution is centred: a position's factor depends on the next one, so train on last positions only, or take
    ``causal``.

    Args:
        dim: D.
        conv_width: Events that the convolution sees, odd.
        causal: Whether these are the present one and those before it (not in the paper).

    Shape:
        - features: ``(B, T, D)``, what is gated
        - context: ``(B, T, D)``, what the encoder saw
        - mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``
    """

    slot: ClassVar[str] = "sequence"

    def __init__(self, dim: int, *, conv_width: int = 3, causal: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, dim)
        self.conv = HistoryConvolution(dim, conv_width=conv_width, causal=causal)
        self.leave = nn.Linear(dim, dim)

    def forward(self, features: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        return scale(features, self.factor(context, mask))

    def factor(self, context: Tensor, mask: Tensor) -> Tensor:
        """The factors alone, ``1 + silu(s) + sigmoid(s)``: ``(B, T, D)``."""
        score = self.leave(self.conv(self.enter(context), mask))
        return 1 + functional.silu(score) + torch.sigmoid(score)


class BranchMix(nn.Module):
    """``y = w_1 x_1 + w_2 x_2 + w_3 x_3``, ``w = softmax(a)``: SIGMA's learned mix of its branches (slot: sequence).

    The weights start where those of the released code do, which are no shares once trained. L2 does not touch a.

    Args:
        shares: Where the weights start.

    Shape:
        - straight, flipped, recent: the branches, ``(B, ..., D)``
        - returns: ``(B, ..., D)``
    """

    slot: ClassVar[str] = "sequence"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    without_l2: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, *, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(shares).log())

    def forward(self, straight: Tensor, flipped: Tensor, recent: Tensor) -> Tensor:
        weights = self.factor().squeeze(0)
        return weights[0] * straight + weights[1] * flipped + weights[2] * recent

    def factor(self) -> Tensor:
        """The weights alone: ``(1, 3)``, the same for every row."""
        return self.logits.softmax(dim=0).unsqueeze(0)
