"""Dropout at a cost that does not dominate small networks on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dropout", "keep_mask"]

_STEPS = 2**16


def keep_mask(shape: Sequence[int], *, rate: float, like: Tensor) -> Tensor:
    """What dropout multiplies by: 0 with probability ``rate``, else ``1 / (1 - rate)``.

    Four numbers are decided by one draw of 64 random bits, so that the rate is a multiple of 2^-16; torch's own dropout
    makes one draw per number, which on a CPU costs more than the linear layer beside it.

    Args:
        shape: Of the mask.
        rate: Below 1; rounded to a multiple of 2^-16, by which it is scaled too.
        like: Tells its dtype and device.
    """
    dropped = min(round(rate * _STEPS), _STEPS - 1)
    size = torch.Size(shape)
    bits = torch.empty(-(-size.numel() // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: size.numel()].view(size) >= dropped - _STEPS // 2
    return kept.to(like.dtype).mul_(_STEPS / (_STEPS - dropped))


class Dropout(nn.Module):
    """``nn.Dropout``, by ``keep_mask`` on a CPU.

    Args:
        rate: Share of numbers set to zero in training, below 1.

    Shape:
        - inputs, returns: any
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return inputs
        if inputs.device.type != "cpu":
            return functional.dropout(inputs, self.rate)
        return inputs * keep_mask(inputs.shape, rate=self.rate, like=inputs)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
