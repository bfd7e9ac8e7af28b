"""Linear layers with the start that the published CTR models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["cast_once", "square_linear", "xavier_linear"]


def cast_once(inputs: Tensor) -> Tensor:
    """Under autocast the inputs in its precision, for several products to read; each would cast them for itself."""
    kind = inputs.device.type
    return inputs.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else inputs


def xavier_linear(in_dim: int, out_dim: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with the start of the BARS protocol: Xavier-normal weight, zero bias."""
    layer = nn.Linear(in_dim, out_dim, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def square_linear(dim: int, *, rank: int | None = None, bias: bool = True) -> nn.Module:
    """A linear layer from a width to the same; with ``rank``, the product of two thin ones, the bias on the second."""
    if rank is None:
        return xavier_linear(dim, dim, bias=bias)
    return nn.Sequential(xavier_linear(dim, rank, bias=False), xavier_linear(rank, dim, bias=bias))
