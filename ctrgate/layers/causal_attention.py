"""Self-attention over a history, with or without a gate on what it found."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.dropout import keep_mask
from ctrgate.layers.linear import xavier_linear

__all__ = ["CausalAttention", "HistoryAttentionGate"]

# Positions whose weights are made at once: later ones of a history would be masked anyway.
_BLOCK = 100


class HistoryAttentionGate(nn.Module):
    """Scale what each event's attention found by what the event itself says (slot: sequence).

    ``y = o * sigmoid(G x)``, G without bias, between attention and the output projection: one factor per head, or one
    per coordinate (Qiu et al., NeurIPS 2025, arXiv 2505.06708). At the start the factor is near one half; with
    ``G = 0`` it is one half exactly.

    Args:
        dim: D, width of all heads together.
        num_heads: H, divides D.
        per: ``head`` or ``element``.

    Shape:
        - features: ``(B, ..., D)``, what attention found, head by head
        - context: ``(B, ..., D)``, what its queries were made of
        - returns: ``(B, ..., D)``
    """

    slot: ClassVar[str] = "sequence"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, dim: int, *, num_heads: int, per: Literal["head", "element"] = "element") -> None:
        super().__init__()
        self._heads = num_heads
        self.weight = xavier_linear(dim, num_heads if per == "head" else dim, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        factor = self.factor(context)
        if factor.size(-1) == features.size(-1):
            return features * factor
        shape = (*features.shape[:-1], self._heads, features.size(-1) // self._heads)
        return (features.view(shape) * factor.unsqueeze(-1)).flatten(-2)

    def factor(self, context: Tensor) -> Tensor:
        """The factors alone: ``(B, ..., H)`` or ``(B, ..., D)``, between 0 and 1."""
        return torch.sigmoid(self.weight(context))


class CausalAttention(nn.Module):
    """Each event becomes a mix of itself and the events before it, head by head.

    ``y = O concat_h(softmax(Q K' / sqrt(D / H)) V) + o`` (Vaswani et al., NIPS 2017, arXiv 1706.03762), ``Q = W_q q +
    b_q``, ``K = W_k x`` and ``V = W_v x``. Keys have no bias, as softmax would not see it, and values none, as o does
    the same. Padding lies on the right, where no real event looks if ``causal``. Dropout is on the softmax's weights.

    Args:
        dim: D.
        num_heads: H, divides D.
        dropout: Rate.
        gate: Whether what attention found passes a ``HistoryAttentionGate`` before O, and with which factors.
        causal: Whether later events are out of sight; else every event sees all real ones.

    Shape:
        - x: ``(B, T, D)``
        - mask: ``(B, T)`` bool, True where real, padded on the right
        - queries: ``(B, T, D)``, what Q and the gate are made of; x if None
        - returns: ``(B, T, D)``, zero at padding

    Example:
        >>> attention = CausalAttention(4, num_heads=2)
        >>> attention(torch.ones(1, 3, 4), torch.tensor([[True, True, False]])).shape
        torch.Size([1, 3, 4])
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        dropout: float = 0.0,
        gate: Literal["none", "head", "element"] = "none",
        causal: bool = True,
    ) -> None:
        super().__init__()
        self._heads, self._dropout, self._causal = num_heads, dropout, causal
        self.query = xavier_linear(dim, dim)
        self.key, self.value = (xavier_linear(dim, dim, bias=False) for _ in range(2))
        self.gate = None if gate == "none" else HistoryAttentionGate(dim, num_heads=num_heads, per=gate)
        self.output = xavier_linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor, queries: Tensor | None = None) -> Tensor:
        queries = x if queries is None else queries
        query, key, value = (
            part.view(*part.shape[:2], self._heads, part.size(2) // self._heads).transpose(1, 2)  # (B, H, T, D / H)
            for part in (self.query(queries), self.key(x), self.value(x))
        )
        # A row without any event sees everything, padding: finite, and zero in the end.
        seen = None if self._causal else mask | ~mask.any(dim=1, keepdim=True)
        rate = self._dropout if self.training else 0.0
        if rate and x.device.type == "cpu":
            found = _with_dropout(query, key, value, seen=seen, rate=rate)
        else:
            found = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if seen is None else seen[:, None, None],
                dropout_p=rate,
                is_causal=self._causal,
            )
        found = found.transpose(1, 2).flatten(2)
        if self.gate is not None:
            found = self.gate(found, queries)
        result: Tensor = self.output(found)
        return result * mask.unsqueeze(2)


def _with_dropout(query: Tensor, key: Tensor, value: Tensor, *, seen: Tensor | None, rate: float) -> Tensor:
    """What torch's attention does with dropout, whose CPU kernels know none: causal where nothing tells what is seen.

    Its general way takes twice as long: most of it is random numbers, and half of them for weights that are zero.
    """
    rows, heads, length, width = query.shape
    query, key, value = (part.reshape(-1, length, width) for part in (query, key, value))
    found = []
    for start in range(0, length, _BLOCK if seen is None else max(1, length)):
        if seen is None:
            end = min(start + _BLOCK, length)
            bias = query.new_full((end - start, end), -torch.inf).triu_(start + 1)
        else:
            end = length
            bias = torch.zeros_like(seen, dtype=query.dtype).masked_fill_(~seen, -torch.inf)
            bias = bias.repeat_interleave(heads, dim=0).unsqueeze(1)
        logits = torch.baddbmm(bias, query[:, start:end], key[:, :end].transpose(1, 2), alpha=width**-0.5)
        weights = logits.softmax(dim=2)
        found.append(torch.bmm(weights * keep_mask(weights.shape, rate=rate, like=weights), value[:, :end]))
    return torch.cat(found, dim=1).view(rows, heads, length, width)
