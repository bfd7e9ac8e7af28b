"""Sequence mixers one upon the other, each with its feed-forward layer, normalised after each sum."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.dropout import Dropout

__all__ = ["PostNormEncoder"]


class PostNormEncoder(nn.Module):
    """``x = LN(do(x))``; then per mixer ``h = LN(do(mix(x)) + x)``, ``x = LN(do(W2 do(gelu(W1 h))) + h)``.

    As in Mamba4Rec (arXiv 2403.03900) and SIGMA (arXiv 2408.11451): D to 4 D to D, and a single mixer has no connection
    that skips it. Causal where the mixers are; there are no embeddings of positions.

    Args:
        mixers: ``(x (B, T, D), mask (B, T)) -> (B, T, D)``.
        dim: D.
        dropout: Rate.

    Shape:
        - inputs: ``(B, T, D)``
        - mask: ``(B, T)`` bool, True where real
        - returns: ``(B, T, D)``
    """

    def __init__(self, mixers: Sequence[nn.Module], *, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            _Layer(mixer, dim=dim, dropout=dropout, residual=len(mixers) > 1) for mixer in mixers
        )

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.dropout(inputs))
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class _Layer(nn.Module):
    def __init__(self, mixer: nn.Module, *, dim: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self._residual = residual
        self.mixer = mixer
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.last_norm = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        mixed = self.dropout(self.mixer(inputs, mask))
        hidden = self.norm(mixed + inputs if self._residual else mixed)
        fed = self.narrow(self.dropout(functional.gelu(self.widen(hidden))))
        result: Tensor = self.last_norm(self.dropout(fed) + hidden)
        return result
