"""The multi-layer perceptron that every CTR model is built with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.batch_norm import BatchNorm, Relu
from ctrgate.layers.dice import Dice
from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.scaling import scale

__all__ = ["Activation", "GatedUnit", "Mlp", "activation_layer"]

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "xgelu", "xsilu", "xatlu", "dice"]
GatedUnit = Literal["glu", "swiglu", "geglu"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": Relu,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation_layer(name: Activation, dim: int) -> nn.Module:
    """The module of an activation's name, for vectors of a width."""
    if name == "dice":
        return Dice(dim)
    if name == "xgelu" or name == "xsilu" or name == "xatlu":
        return ExpandedActivation(name)
    return _ACTIVATIONS[name]()


class Mlp(nn.Module):
    """Blocks of linear, batch norm, activation, dropout; with ``output_dim``, a plain linear layer at the end.

    The order within a block is that of FuxiCTR, which the BARS numbers were made with.

    Args:
        input_dim: Width of the input.
        hidden_dims: Width of each block; may be empty where ``output_dim`` is given.
        output_dim: Width of the closing linear layer; None for none.
        activation: After each block's norm; a gated unit instead replaces linear and activation, before the norm.
        dropout: One rate for all blocks, or one for each.
        batch_norm: Whether blocks normalise over the batch.

    Shape:
        - inputs: ``(B, input_dim)``; factor: ``(1, input_dim)`` or ``(B, input_dim)``
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
        activation: Activation | GatedUnit = "relu",
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        rates = [dropout] * len(hidden_dims) if isinstance(dropout, float | int) else list(dropout)
        blocks: list[nn.Module] = []
        width = input_dim
        for hidden_dim, rate in zip(hidden_dims, rates, strict=True):
            norms = [BatchNorm(hidden_dim)] if batch_norm else []
            if activation == "glu" or activation == "swiglu" or activation == "geglu":
                blocks += [GatedLinear(width, hidden_dim, kind=activation), *norms]
            else:
                blocks += [xavier_linear(width, hidden_dim), *norms, activation_layer(activation, hidden_dim)]
            if rate > 0:
                blocks.append(nn.Dropout(rate))
            width = hidden_dim
        if output_dim is not None:
            blocks.append(xavier_linear(width, output_dim))
            width = output_dim
        self.blocks = nn.Sequential(*blocks)
        self.out_dim = width

    def forward(self, inputs: Tensor, factor: Tensor | None = None) -> Tensor:
        """The last block's output, of ``inputs * factor`` where a factor is given.

        A factor that is the same for all rows is taken into the first weight, ``(x * g) W' = x (W * g)'``: no row is
        multiplied, and its gradient is a sum over a weight, not over a batch. In training a bias before a norm is left
        to the norm (see ``BatchNorm``).
        """
        if factor is not None and (factor.size(0) != 1 or not isinstance(self.blocks[0], nn.Linear)):
            inputs, factor = scale(inputs, factor), None
        result, held = inputs, None
        for block, following in itertools.pairwise([*self.blocks, None]):
            if isinstance(block, nn.Linear):
                weight = block.weight if factor is None else block.weight * factor
                factor = None
                held = block.bias if self.training and isinstance(following, BatchNorm) else None
                result = functional.linear(result, weight, block.bias if held is None else None)
            elif held is not None:
                result, held = block(result, held), None
            else:
                result = block(result)
        return result

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        reason = "a batch's mean takes a bias before a norm away again"
        pairs = enumerate(itertools.pairwise(self.blocks))
        places = [place for place, (a, b) in pairs if isinstance(a, nn.Linear) and isinstance(b, BatchNorm)]
        return {f"blocks.{place}.bias": reason for place in places}
