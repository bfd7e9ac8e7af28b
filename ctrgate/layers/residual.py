"""Gates between a block and the connection that skips it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

__all__ = ["Highway", "ReZero"]


class ReZero(nn.Module):
    """``y = x + alpha F(x)``, alpha one number, 0 at the start: a new block changes nothing (slot: residual).

    Bachlechner et al., UAI 2021, arXiv 2003.04887. L2 does not touch alpha. In the first step F gets no gradient.

    Shape:
        - inputs, block: x and F(x), of one shape
        - returns: of that shape

    Example:
        >>> x = torch.randn(2, 3)
        >>> torch.equal(ReZero()(x, torch.randn(2, 3)), x)
        True
    """

    slot: ClassVar[str] = "residual"
    without_l2: ClassVar[tuple[str, ...]] = ("alpha",)

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor, block: Tensor) -> Tensor:
        return inputs + self.factor() * block

    def factor(self) -> Tensor:
        """Alpha."""
        return self.alpha


class Highway(nn.Module):
    """``y = t F(x) + (1 - t) x`` with ``t = sigmoid(W x + b)`` (slot: residual).

    Srivastava et al., arXiv 1505.00387: b starts negative, so that a new block nearly passes x on; with -3, t is near
    .05. W starts at N(0, .01 squared).

    Args:
        dim: D.
        bias_start: Where b starts; the paper uses -1 to -4.

    Shape:
        - inputs, block: x and F(x), ``(B, ..., D)``
        - returns: ``(B, ..., D)``
    """

    slot: ClassVar[str] = "residual"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, dim: int, *, bias_start: float = -3.0) -> None:
        super().__init__()
        self.transform = nn.Linear(dim, dim)
        nn.init.normal_(self.transform.weight, std=0.01)
        nn.init.constant_(self.transform.bias, bias_start)

    def forward(self, inputs: Tensor, block: Tensor) -> Tensor:
        factor = self.factor(inputs)
        return factor * block + (1 - factor) * inputs

    def factor(self, inputs: Tensor) -> Tensor:
        """The factors t alone: ``(B, ..., D)``, between 0 and 1."""
        return torch.sigmoid(self.transform(inputs))
