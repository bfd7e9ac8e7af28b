"""HGRN: a recurrence that forgets by gates with a floor, the higher the layer the higher the floor."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.scan import linear_scan

__all__ = ["HGRN", "ForgetFloors", "NormalisedGate"]


class NormalisedGate(nn.Module):
    """``y = RMSNorm(h) * silu(G x)``: what a recurrence holds, let out by what the event says (slot: sequence).

    G without bias; HGRN's output gate, and that of many a linear recurrence. With ``G = 0`` nothing is let out.

    Args:
        dim: D.

    Shape:
        - features: ``(B, ..., D)``, states
        - context: ``(B, ..., D)``, what the recurrence read
        - returns: ``(B, ..., D)``
    """

    slot: ClassVar[str] = "sequence"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.weight = xavier_linear(dim, dim, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        result: Tensor = self.norm(features) * self.factor(context)
        return result

    def factor(self, context: Tensor) -> Tensor:
        """The factors alone: ``(B, ..., D)``, not below -0.28 and unbounded above."""
        return functional.silu(self.weight(context))


class ForgetFloors(nn.Module):
    """The least that each layer keeps of its state: ``gamma_l = p_1 + ... + p_l`` with ``p = softmax_l(a)``.

    Layer 0 has the floor 0, higher layers ever higher ones below 1. With ``a = 0`` at the start, ``gamma_l = l / L``.

    Args:
        num_layers: L.
        dim: D.

    Shape:
        - returns: ``(L, D)``
    """

    def __init__(self, num_layers: int, *, dim: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers, dim))

    def forward(self) -> Tensor:
        shares = self.logits.softmax(dim=0)
        return shares.cumsum(dim=0) - shares[:1]

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        return {"logits": "a single layer's floor is 0 whatever they are"} if len(self.logits) == 1 else {}


class HGRN(nn.Module):
    """``h_t = f_t * h_{t-1} + (1 - f_t) * silu(W_i x_t)``, ``f = gamma + (1 - gamma) sigmoid(W_f x)``.

    ``y = W_o (RMSNorm(h) * silu(G x))``, no biases (Qin et al., NeurIPS 2023, arXiv 2311.04823, in the real-valued form
    of flash-linear-attention: the paper's states are complex). Causal; the recurrence runs in float32.

    Args:
        dim: D.

    Shape:
        - x: ``(B, T, D)``
        - mask: ``(B, T)`` bool, True where real, padded on the right
        - floor: ``(D,)``, gamma, from 0 to 1
        - returns: ``(B, T, D)``, zero at padding

    Example:
        >>> HGRN(4)(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.zeros(4)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = xavier_linear(dim, dim, bias=False)
        self.forget = xavier_linear(dim, dim, bias=False)
        self.gate = NormalisedGate(dim)
        self.output = xavier_linear(dim, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor, floor: Tensor) -> Tensor:
        # 1 - f as it is, not as the difference of two numbers near 1, and with more digits than bf16 has near 1
        taken = (1 - floor) * torch.sigmoid(-self.forget(x).float())
        states = linear_scan(1 - taken, taken * functional.silu(self.enter(x)))
        result: Tensor = self.output(self.gate(states, x))
        return result * mask.unsqueeze(2)
