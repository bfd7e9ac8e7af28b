"""Batch norm after a linear layer, and ReLU after both, in as few passes over a batch as they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm", "Relu"]

_PIECE = 64
"""Rows of one piece of a sum, at most: what the cache of a core holds."""


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that knows of the bias before it.

    A batch's mean takes a constant away again, so that in training a bias changes nothing but the running mean: it
    is added to that alone, no row is added to, and the bias gets no gradient, which is 0.

    Compiled for a CPU, it has sums and a gradient of its own: torch's code for the variance opens a parallel region
    for every 32 columns, and each walks down all rows.

    Shape:
        - inputs: ``(B, C)``; bias: ``(C,)`` or None
        - returns: ``(B, C)``
    """

    def forward(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self.training:
            return super().forward(inputs if bias is None else inputs + bias)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        rows = inputs.size(0)
        if torch.compiler.is_compiling() and inputs.device.type == "cpu" and rows > 1:
            result, mean, variance = _normalise(inputs, self.weight, self.bias, self.eps)
            with torch.no_grad():
                self.running_mean.lerp_(mean if bias is None else mean + bias, self.momentum)
                self.running_var.lerp_(variance * (rows / (rows - 1)), self.momentum)
        else:
            moving = self.running_mean if bias is None else self.running_mean - bias.detach()
            variables = (moving, self.running_var, self.weight, self.bias)
            result = functional.batch_norm(inputs, *variables, training=True, momentum=self.momentum, eps=self.eps)
            if bias is not None:
                self.running_mean.copy_(moving + bias.detach())
        self.num_batches_tracked.add_(1)
        return result


class Relu(nn.ReLU):
    """``max(x, 0)``.

    Compiled, its gradient asks the output, which the next layer keeps anyway, where x was above 0; torch's own keeps
    a mask of bytes, which is slow to write on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return _relu(input)
        return super().forward(input)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        wide = inputs.float()
        mean = _sum(wide) / len(wide)
        variance = _sum((wide - mean).square()) / len(wide)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(inputs, mean, scale, weight)
        ctx.mark_non_differentiable(mean, variance)
        return ((wide - mean) * (scale * weight) + bias).to(inputs.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        inputs, mean, scale, weight = ctx.saved_tensors
        wide, normal = gradient.float(), (inputs.float() - mean) * scale
        of_bias, of_weight = _sum(wide), _sum(wide * normal)
        of_inputs = weight * scale * (wide - (of_bias + normal * of_weight) / len(wide))
        return of_inputs.to(inputs.dtype), of_weight, of_bias, None


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        result = inputs.clamp(min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        found: Tensor = gradient * result.sign()
        return found


_normalise: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Normalise.apply
_relu: Callable[[Tensor], Tensor] = _Relu.apply


def _sum(rows: Tensor) -> Tensor:
    """The sum of all rows, piece by piece, ``(B, C) -> (C,)``: a loop down single columns reads memory by strides."""
    piece = math.gcd(len(rows), _PIECE)
    return rows.view(-1, piece, rows.size(1)).sum(1).sum(0)
