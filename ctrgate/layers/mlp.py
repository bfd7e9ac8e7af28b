"""The multi-layer perceptron that every CTR model is built with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

__all__ = ["Activation", "Mlp", "activation_layer", "square_linear", "xavier_linear"]

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


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


def activation_layer(name: Activation) -> nn.Module:
    """The module of an activation's name."""
    return _ACTIVATIONS[name]()


class Mlp(nn.Module):
    """Blocks of linear, batch norm, activation, dropout; with ``output_dim``, a plain linear layer at the end.

    The order within a block is that of FuxiCTR, which the BARS numbers were made with.

    Args:
        input_dim: Width of the input.
        hidden_dims: Width of each block; may be empty where ``output_dim`` is given.
        output_dim: Width of the closing linear layer; None for none.
        activation: After each block's norm.
        dropout: One rate for all blocks, or one for each.
        batch_norm: Whether blocks normalise over the batch.

    Shape:
        - inputs: ``(B, input_dim)``
        - returns: ``(B, out_dim)``

    Example:
        >>> import torch
        >>> Mlp(4, hidden_dims=(8, 3))(torch.ones(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_dims: Sequence[int],
        output_dim: int | None = None,
        activation: Activation = "relu",
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        rates = [dropout] * len(hidden_dims) if isinstance(dropout, float | int) else list(dropout)
        blocks: list[nn.Module] = []
        width = input_dim
        for hidden_dim, rate in zip(hidden_dims, rates, strict=True):
            blocks.append(xavier_linear(width, hidden_dim))
            if batch_norm:
                blocks.append(nn.BatchNorm1d(hidden_dim))
            blocks.append(activation_layer(activation))
            if rate > 0:
                blocks.append(nn.Dropout(rate))
            width = hidden_dim
        if output_dim is not None:
            blocks.append(xavier_linear(width, output_dim))
            width = output_dim
        self.blocks = nn.Sequential(*blocks)
        self.out_dim = width

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.blocks(inputs)
        return result
