"""Mamba: a recurrence whose step size, input and output each event decides."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.convolution import HistoryConvolution
from ctrgate.layers.scan import selective_scan

__all__ = ["Mamba"]


class Mamba(nn.Module):
    """A gated selective state space block (Gu and Dao, arXiv 2312.00752). Causal.

    ``[u, z] = W_in x``; ``u = silu(conv(u))``; ``[r, B, C] = W_x u``; ``delta = softplus(W_dt r + b_dt)``;
    ``h_t = exp(delta_t A) * h_{t-1} + (delta_t u_t) B_t'`` and ``y_t = h_t C_t + D * u_t``;
    ``y = W_out (y * silu(z))``. M = ``expand`` D channels with N states each, r of ``ceil(D / 16)``. At the start
    ``A = -(1, ..., N)`` in every channel, ``D = 1`` and delta is log-uniform in [.001, .1]. L2 does not touch A and D.

    At padding u is zero, so that nothing enters and zero comes out: real events see the same whichever side it is on.

    Args:
        dim: D.
        state_dim: N.
        conv_width: Events that the convolution sees, the present one among them.
        expand: M / D.

    Shape:
        - inputs: ``(B, T, D)``
        - mask: ``(B, T)`` bool, True where real
        - returns: ``(B, T, D)``, zero at padding

    Example:
        >>> Mamba(4)(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)).shape
        torch.Size([2, 3, 4])
    """

    without_l2: ClassVar[tuple[str, ...]] = ("A_log", "D")

    def __init__(self, dim: int, *, state_dim: int = 16, conv_width: int = 4, expand: int = 2) -> None:
        super().__init__()
        channels, rank = expand * dim, math.ceil(dim / 16)
        self._widths = [rank, state_dim, state_dim]
        self.in_proj = nn.Linear(dim, 2 * channels, bias=False)
        self.conv = HistoryConvolution(channels, conv_width=conv_width, depthwise=True)
        self.x_proj = nn.Linear(channels, sum(self._widths), bias=False)
        self.dt_proj = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.arange(1, state_dim + 1).float().log().repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, dim, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            step = torch.empty(channels).uniform_(math.log(0.001), math.log(0.1)).exp().clamp(min=1e-4)
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        channels, gate = self.in_proj(inputs).chunk(2, dim=2)
        u = functional.silu(self.conv(channels, mask))
        rank, taken, read = self.x_proj(u).split(self._widths, dim=2)
        step = functional.softplus(self.dt_proj(rank).float())
        scanned = selective_scan(u, step, -torch.exp(self.A_log), taken, read, self.D)
        result: Tensor = self.out_proj(scanned * functional.silu(gate))
        return result
