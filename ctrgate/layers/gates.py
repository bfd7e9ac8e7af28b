"""Gates over fields and features, each with its paper's form and start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctrgate.layers.mlp import xavier_linear

__all__ = ["ContextGate"]


class ContextGate(nn.Module):
    """Scale every coordinate of the flat embedding by a factor that the row's context decides (slot: feature).

    ``y = x * 2 sigmoid(A2 relu(A1 c + a1) + a2)`` (FinalMLP, AAAI 2023, feature gating). At the start ``a2 = 0`` and
    the factor is near 1; ``identity_start`` zeroes ``A2`` too, so that a new gate changes nothing.

    Without context (``context_dim=None``) the paper's code feeds a learned vector, zero at the start. Through a ReLU at
    zero it never gets a gradient, nor do ``A1``, ``a1`` and ``A2``: the gate is ``2 sigmoid(a2)``, one learned factor
    per coordinate. Those parameters are kept, so that counts equal the published ones, and the factor is computed once
    per batch, not once per row.

    Args:
        feature_dim: D, width of what is gated.
        context_dim: C, width of the context; None for the mode without.
        hidden_dim: Width of the gate's hidden layer.
        empty_dim: Width of the learned vector in the mode without context.
        identity_start: Start at a factor of exactly 1 (not in the paper).

    Shape:
        - features: ``(B, D)``
        - context: ``(B, C)`` or None
        - returns: ``(B, D)``

    Example:
        >>> gate = ContextGate(feature_dim=6, context_dim=2, hidden_dim=4, identity_start=True)
        >>> bool((gate(torch.ones(3, 6), torch.randn(3, 2)) == 1).all())
        True
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        context_dim: int | None,
        hidden_dim: int,
        empty_dim: int = 1,
        identity_start: bool = False,
    ) -> None:
        super().__init__()
        self.empty_context = nn.Parameter(torch.zeros(1, empty_dim)) if context_dim is None else None
        self.hidden = xavier_linear(empty_dim if context_dim is None else context_dim, hidden_dim)
        self.output = xavier_linear(hidden_dim, feature_dim)
        if identity_start:
            nn.init.zeros_(self.output.weight)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        return features * self.factor(context)

    def factor(self, context: Tensor | None) -> Tensor:
        """The factors alone: ``(B, D)``, or ``(1, D)`` without context; between 0 and 2."""
        source = self.empty_context if context is None else context
        return 2 * torch.sigmoid(self.output(torch.relu(self.hidden(source))))

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        if self.empty_context is None:
            return {}
        reason = "without context a zero vector enters a ReLU, whose gradient at zero is zero"
        return dict.fromkeys(("empty_context", "hidden.weight", "hidden.bias", "output.weight"), reason)
