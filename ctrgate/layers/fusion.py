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
        # One product per head on slices as they lie; a batched product would copy both streams to bring heads first.
        weights = self.bilinear.view(self.num_heads, self._dims[0], self.num_outputs, self._dims[1]).unbind(0)
        chunks = stream1.split(self._dims[0], dim=1)
        crossed = [chunk @ weight.flatten(1) for chunk, weight in zip(chunks, weights, strict=True)]
        if self.num_outputs == 1:
            bilinear = (torch.cat(crossed, dim=1) * stream2).sum(dim=1, keepdim=True)
        else:
            by_head = torch.stack(crossed, dim=1).view(-1, self.num_heads, self.num_outputs, self._dims[1])
            bilinear = (by_head * stream2.view(-1, self.num_heads, 1, self._dims[1])).sum(dim=(1, 3))
        result: Tensor = self.linear1(stream1) + self.linear2(stream2) + bilinear
        return result
