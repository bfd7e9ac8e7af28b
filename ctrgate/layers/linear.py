"""Linear layers with the start that the published CTR models share."""

from __future__ import annotations

from torch import nn

__all__ = ["square_linear", "xavier_linear"]


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
