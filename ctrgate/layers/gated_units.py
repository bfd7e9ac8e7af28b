"""Units that gate themselves: gated linear units, activations with an expanded range, gMLP's gate over fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.linear import xavier_linear

__all__ = ["ExpandedActivation", "GatedLinear", "SpatialGate"]

_GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": torch.sigmoid,
    "swiglu": functional.silu,
    "geglu": functional.gelu,
}


class GatedLinear(nn.Module):
    """``y = (x W + b) * phi(x V + c)``: a linear layer with an activation, gated by a second one (slot: interaction).

    ``phi`` is the sigmoid (GLU, Dauphin et al., ICML 2017), SiLU (SwiGLU) or GELU (GEGLU; Shazeer, arXiv 2002.05202).
    It has twice the parameters of a linear layer of its width; two thirds of the width keep an MLP's count.

    With ``V = 0`` the factor is ``phi(c)`` for every row: where that is 1, this is the plain linear layer.

    Args:
        in_dim: C.
        out_dim: N.
        kind: Which phi.

    Shape:
        - inputs: ``(B, ..., C)``
        - returns: ``(B, ..., N)``
    """

    slot: ClassVar[str] = "interaction"

    def __init__(self, in_dim: int, out_dim: int, *, kind: Literal["glu", "swiglu", "geglu"] = "swiglu") -> None:
        super().__init__()
        self.value = xavier_linear(in_dim, out_dim)
        self.gate = xavier_linear(in_dim, out_dim)
        self._phi = _GATES[kind]
        self.bounds = (0.0, 1.0) if kind == "glu" else None

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.value(inputs) * self.factor(inputs)
        return result

    def factor(self, inputs: Tensor) -> Tensor:
        """The factors alone: ``(B, ..., N)``; between 0 and 1 for ``glu``, unbounded above for the others."""
        return self._phi(self.gate(inputs))

    def gates_of_units(self) -> list[nn.Module]:
        """Itself: its coordinates are hidden units."""
        return [self]


class ExpandedActivation(nn.Module):
    """``y = x * (g(x) (1 + 2 alpha) - alpha)``: an activation whose own gate may leave [0, 1] (slot: interaction).

    ``g`` is the normal distribution function (xGELU), the sigmoid (xSiLU) or ``(arctan x + pi/2) / pi`` (xATLU; Huang,
    arXiv 2405.20768). One alpha, 0 at the start: then it is GELU, SiLU, ATLU. L2 does not touch alpha.

    Args:
        kind: Which g.

    Shape:
        - inputs, returns: any

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 2.0])
        >>> torch.allclose(ExpandedActivation("xsilu")(x), functional.silu(x))
        True
    """

    slot: ClassVar[str] = "interaction"
    without_l2: ClassVar[tuple[str, ...]] = ("alpha",)

    def __init__(self, kind: Literal["xgelu", "xsilu", "xatlu"] = "xgelu") -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))
        self._kind = kind

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which values the factor lies now."""
        alpha = float(self.alpha.detach())
        return -alpha, 1 + alpha

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor(inputs)

    def factor(self, inputs: Tensor) -> Tensor:
        """The factors alone, between ``-alpha`` and ``1 + alpha``."""
        if self._kind == "xgelu":
            gate = 0.5 * (1 + torch.erf(inputs / math.sqrt(2)))
        elif self._kind == "xsilu":
            gate = torch.sigmoid(inputs)
        else:
            gate = torch.atan(inputs) / math.pi + 0.5
        return gate * (1 + 2 * self.alpha) - self.alpha

    def gates_of_units(self) -> list[nn.Module]:
        """Itself: its coordinates are hidden units."""
        return [self]


class SpatialGate(nn.Module):
    """``y = u * (W LN(v) + b)``, W mixing fields: gMLP's gating unit, with fields for tokens (slot: interaction).

    u and v are the two halves of the input's width. W starts at N(0, 1e-6 squared) and b at 1, so that a new gate
    passes u on (Liu et al., NeurIPS 2021, arXiv 2105.08050; start and layer norm as in timm).

    Args:
        num_fields: F.
        dim: 2 N, even.

    Shape:
        - features: ``(B, F, 2 N)``
        - returns: ``(B, F, N)``
    """

    slot: ClassVar[str] = "interaction"

    def __init__(self, num_fields: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim // 2)
        self.mix = nn.Linear(num_fields, num_fields)
        nn.init.normal_(self.mix.weight, std=1e-6)
        nn.init.ones_(self.mix.bias)

    def forward(self, features: Tensor) -> Tensor:
        return features.chunk(2, dim=2)[0] * self.factor(features)

    def factor(self, features: Tensor) -> Tensor:
        """The factors alone: ``(B, F, N)``, unbounded."""
        second = self.norm(features.chunk(2, dim=2)[1])
        result: Tensor = self.mix(second.transpose(1, 2)).transpose(1, 2)
        return result
