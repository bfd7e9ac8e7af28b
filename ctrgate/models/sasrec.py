"""SASRec: a history read by causal self-attention, and by gated attention where asked for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.errors import ConfigError
from ctrgate.layers.causal_attention import CausalAttention
from ctrgate.layers.dropout import Dropout
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.next_item import NextItemSettings
from ctrgate.ranges import Count, Share

__all__ = ["SASRec", "SASRecConfig"]


@settings
class SASRecConfig(NextItemSettings):
    """``q = LN(x_L)`` with ``h = LN(x); a = h + Attention(h, x); f = LN(a); x' = f + FFN(f)``, L times over.

    Kang & McAuley, ICDM 2018, arXiv 1808.09781. The paper writes ``x + g(LN(x))``; this is its code, in which only the
    queries of attention are normalised and what is normalised is also what is added. Unlike that code, attention has
    an output projection, as in the usual port to PyTorch, and keys and values have no bias (see ``CausalAttention``).

    gSASRec is this network with a sampled loss of its own (``objective.loss``); gated attention is this one with
    ``gate``.
    """

    name: Literal["sasrec"] = "sasrec"
    num_layers: Count = 2
    """L, blocks of attention and a feed-forward part."""
    num_heads: Count = 1
    """Divides the tables' width."""
    hidden: Count | None = None
    """Width within the feed-forward part; None for the tables', the original's."""
    dropout: Share = 0.2
    """On what enters, on attention's weights and within the feed-forward part."""
    gate: Literal["none", "head", "element"] = "none"
    """Of what attention found: one factor per head or per coordinate (see ``HistoryAttentionGate``)."""
    positions: Literal["from_end", "from_start"] = "from_end"
    """Where positions are counted from. The original pads on the left, so that its last event has always the same."""
    max_length: Count = 200
    """Rows of the table of positions: not less than the sequence group's own ``max_length``."""

    def encoder(self, *, dim: int) -> nn.Module:
        """The layers.

        Raises:
            ConfigError: Where the heads do not divide the width.
        """
        if dim % self.num_heads:
            raise ConfigError(f"model.num_heads: {self.num_heads} does not divide the width {dim} of the items' table")
        return SASRec(self, dim=dim)


class SASRec(nn.Module):
    """``x_0 = dropout(sqrt(D) e + p)``, blocks, and a layer norm.

    Shape:
        - x: ``(B, T, D)``, the items' rows
        - mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``; what stands at padding is of no meaning
    """

    def __init__(self, config: SASRecConfig, *, dim: int) -> None:
        super().__init__()
        self._scale, self._from_end = dim**0.5, config.positions == "from_end"
        self.positions = nn.Parameter(torch.empty(config.max_length, dim))
        nn.init.xavier_normal_(self.positions)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config, dim=dim) for _ in range(config.num_layers))
        self.norm = _norm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        length, known = x.size(1), self.positions.size(0)
        if length > known:
            raise ConfigError(f"model.max_length: {known} positions for histories of {length}; set it to {length}")
        x = self.dropout(x * self._scale + self._place(mask))
        for block in self.blocks:
            x = block(x, mask)
        result: Tensor = self.norm(x)
        return result

    def _place(self, mask: Tensor) -> Tensor:
        """Vectors of positions: ``(B, T, D)`` or ``(T, D)``."""
        if not self._from_end:
            return self.positions[: mask.size(1)]
        # Events from here to the last one, this one not counted: row 0 is always the last event's.
        places = mask.sum(dim=1, keepdim=True) - 1 - torch.arange(mask.size(1), device=mask.device)
        return functional.embedding(places.clamp(min=0), self.positions)


class _Block(nn.Module):
    def __init__(self, config: SASRecConfig, *, dim: int) -> None:
        super().__init__()
        hidden = config.hidden or dim
        self.attention_norm, self.forward_norm = _norm(dim), _norm(dim)
        self.attention = CausalAttention(dim, num_heads=config.num_heads, dropout=config.dropout, gate=config.gate)
        self.widen, self.narrow = xavier_linear(dim, hidden), xavier_linear(hidden, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        queries = self.attention_norm(x)
        x = self.forward_norm(queries + self.attention(x, mask, queries))
        inner = self.dropout(self.widen(x).relu())
        result: Tensor = x + self.dropout(self.narrow(inner))
        return result


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-8)  # the original's
