"""Linear layers whose halves are multiplied: FinalNet's replacement of an MLP's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.layers.batch_norm import BatchNorm
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mlp import Activation, activation_layer

__all__ = ["FactorizedLinear", "FactorizedMlp"]


class FactorizedLinear(nn.Module):
    """``h = W x + b`` in two halves ``[h2, h1]``: ``[h2, h1 * h2]`` or ``h2 + h1 * h2`` (FinalNet, SIGIR 2023).

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output; even for ``concat``.
        residual: ``concat`` costs what a linear layer does; ``sum`` has W twice as high.

    Shape:
        - inputs: ``(B, in_dim)``
        - returns: ``(B, out_dim)``
    """

    def __init__(self, in_dim: int, out_dim: int, *, residual: Literal["concat", "sum"] = "concat") -> None:
        super().__init__()
        if residual == "concat" and out_dim % 2:
            raise ValueError(f"a factorized layer of width {out_dim} has no halves; use an even width or residual sum")
        self.linear = xavier_linear(in_dim, 2 * out_dim if residual == "sum" else out_dim)
        self._residual = residual

    def forward(self, inputs: Tensor) -> Tensor:
        second, first = self.linear(inputs).chunk(2, dim=1)
        product = first * second
        return torch.cat([second, product], dim=1) if self._residual == "concat" else second + product


class FactorizedMlp(nn.Module):
    """Blocks of factorized linear, batch norm, activation, dropout: the interactions' order doubles with each block.

    Args:
        input_dim: Width of the input.
        hidden_dims: Width of each block.
        activation: After each block's norm.
        dropout: Rate after each block.
        batch_norm: Whether blocks normalise over the batch.
        residual: See ``FactorizedLinear``.

    Shape:
        - inputs: ``(B, input_dim)``
        - returns: ``(B, out_dim)``
    """

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_dims: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
        batch_norm: bool = True,
        residual: Literal["concat", "sum"] = "concat",
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        width = input_dim
        for hidden_dim in hidden_dims:
            blocks.append(FactorizedLinear(width, hidden_dim, residual=residual))
            if batch_norm:
                blocks.append(BatchNorm(hidden_dim))
            blocks.append(activation_layer(activation, hidden_dim))
            if dropout > 0:
                blocks.append(nn.Dropout(dropout))
            width = hidden_dim
        self.blocks = nn.Sequential(*blocks)
        self.out_dim = width

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.blocks(inputs)
        return result
