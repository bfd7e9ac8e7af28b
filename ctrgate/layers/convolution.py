"""Convolutions over the events of a history, plain and gated, that see no padding."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GatedConvolution", "HistoryConvolution"]


class HistoryConvolution(nn.Module):
    """``y_t = b + sum_k W_k x_{t - k}``, k from 0 (causal) or around it (centred): a short-term mix of events.

    What lies outside the history, padding included, counts as zero.

    Args:
        dim: D.
        conv_width: Events that it sees; odd unless causal.
        causal: Whether these are the present one and those before it; else as many on either side.
        depthwise: Whether every coordinate has a kernel of its own (W_k diagonal), which costs D times less.

    Shape:
        - x: ``(B, T, D)``
        - mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``, zero at padding

    Example:
        >>> conv = HistoryConvolution(4, conv_width=3, depthwise=True)
        >>> conv(torch.ones(1, 3, 4), torch.tensor([[True, True, False]])).shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, dim: int, *, conv_width: int, causal: bool = True, depthwise: bool = False) -> None:
        super().__init__()
        self._around = (conv_width - 1, 0) if causal else (conv_width // 2, conv_width // 2)
        self.conv = nn.Conv1d(dim, dim, conv_width, groups=dim if depthwise else 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(2)
        convolved: Tensor = self.conv(functional.pad((x * real).transpose(1, 2), self._around))
        return convolved.transpose(1, 2) * real


class GatedConvolution(nn.Module):
    """``y = (W * x + b) . sigmoid(V * x + c)``, two convolutions over events (slot: sequence).

    Dauphin et al., ICML 2017, arXiv 1612.08083. With ``V = 0`` and a large c it is the plain convolution W; the
    connection that skips it, which the paper puts around each, is the caller's.

    Args:
        dim: D.
        conv_width: Events that it sees; odd unless causal.
        causal: Whether these are the present one and those before it; else as many on either side.

    Shape:
        - x: ``(B, T, D)``
        - mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``, zero at padding
    """

    slot: ClassVar[str] = "sequence"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, dim: int, *, conv_width: int = 3, causal: bool = True) -> None:
        super().__init__()
        self.value = HistoryConvolution(dim, conv_width=conv_width, causal=causal)
        self.gate = HistoryConvolution(dim, conv_width=conv_width, causal=causal)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.value(x, mask) * self.factor(x, mask)
        return result

    def factor(self, x: Tensor, mask: Tensor) -> Tensor:
        """The factors alone: ``(B, T, D)``, between 0 and 1; one half at padding."""
        return torch.sigmoid(self.gate(x, mask))
