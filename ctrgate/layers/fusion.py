"""Fusion of two streams into logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctrgate.layers.linear import xavier_linear

__all__ = ["BilinearFusion"]


class BilinearFusion(nn.Module):
    """Two vectors to logits by a linear term each and a bilinear term per head.

    ``logit = w1 o1 + b1 + w2 o2 + b2 + sum_k o1^(k)' W^(k) o2^(k)`` (FinalMLP, AAAI 2023, stream fusion), where
    ``o^(k)`` is the k-th contiguous chunk. ``W`` is one tensor of shape ``(H h1/H h2/H, L)`` and starts Xavier-normal
    on that flat shape, as in the paper's code.

    Args:
        dim1: h1, a multiple of ``num_heads``.
        dim2: h2, a multiple of ``num_heads``.
        num_heads: H.
        num_outputs: L, logits per row.

    Shape:
        - stream1: ``(B, h1)``; stream2: ``(B, h2)``
        - returns: ``(B, L)``
    """

    def __init__(self, dim1: int, dim2: int, *, num_heads: int, num_outputs: int = 1) -> None:
        super().__init__()
        self.num_heads, self.num_outputs = num_heads, num_outputs
        self._dims = (dim1 // num_heads, dim2 // num_heads)
        self.linear1 = xavier_linear(dim1, num_outputs)
        self.linear2 = xavier_linear(dim2, num_outputs)
        self.bilinear = nn.Parameter(torch.empty(num_heads * (dim1 // num_heads) * (dim2 // num_heads), num_outputs))
        nn.init.xavier_normal_(self.bilinear)

    def forward(self, stream1: Tensor, stream2: Tensor) -> Tensor:
        heads, outputs, (dim1, dim2) = self.num_heads, self.num_outputs, self._dims
        # w2 o2 + o1' W o2 = (w2 + o1' W) o2, a batched product over heads, which lie in the streams by strides
        first, second = (
            stream.view(-1, heads, dim).transpose(0, 1) for stream, dim in ((stream1, dim1), (stream2, dim2))
        )
        bias = self.linear2.weight.view(outputs, heads, dim2).transpose(0, 1).reshape(heads, 1, -1)
        crossed = torch.baddbmm(bias, first, self.bilinear.view(heads, dim1, outputs * dim2))
        crossed = crossed.view(heads, -1, outputs, dim2) * second.unsqueeze(2)
        result: Tensor = self.linear1(stream1) + crossed.sum(dim=(0, 3)) + self.linear2.bias
        return result
