"""Self-attention over the fields of a row."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.scaling import scale

__all__ = ["AttentionGate", "FieldAttention"]


class AttentionGate(nn.Module):
    """Scale what each field's attention found by what the field itself says (slot: interaction).

    ``y = o * sigmoid(G x)``, G without bias, between attention and what follows it: one factor per head, or one per
    coordinate (Qiu et al., NeurIPS 2025, arXiv 2505.06708, there over tokens). At the start the factor is near one
    half; with ``G = 0`` it is one half exactly.

    Args:
        input_dim: D, width of the fields.
        num_heads: H.
        head_dim: D'.
        per: ``head`` or ``element``.

    Shape:
        - features: ``(B, H, F, D')``, what attention found
        - fields: ``(B, F, D)``, what it looked at
        - returns: ``(B, H, F, D')``
    """

    slot: ClassVar[str] = "interaction"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self, input_dim: int, *, num_heads: int, head_dim: int, per: Literal["head", "element"] = "element"
    ) -> None:
        super().__init__()
        self._shape = (num_heads, 1 if per == "head" else head_dim)
        self.weight = xavier_linear(input_dim, math.prod(self._shape), bias=False)

    def forward(self, features: Tensor, fields: Tensor) -> Tensor:
        return scale(features, self.factor(fields))

    def factor(self, fields: Tensor) -> Tensor:
        """The factors alone: ``(B, H, F, 1)`` or ``(B, H, F, D')``, between 0 and 1."""
        gate = torch.sigmoid(self.weight(fields))
        return gate.view(*gate.shape[:2], *self._shape).transpose(1, 2)


class FieldAttention(nn.Module):
    """Each field becomes a mix of all fields, head by head (AutoInt's interacting layer, CIKM 2019, arXiv 1810.11921).

    ``A = softmax(Q K' / sqrt(D'))`` over fields, itself included, and ``y = relu(concat_h(A V) + R)``. Two codes are
    in use: the authors' has biases and ReLUs on Q, K, V and R, always projects R, and a layer norm after the closing
    ReLU (``projection="relu", scaled=True, layer_norm="after"``; the norm here is torch's); the one behind BARS has
    plain projections, projects R only where widths differ, and a layer norm, if any, before that ReLU.

    Args:
        input_dim: D, width of the fields.
        attention_dim: H D', width of all heads together.
        num_heads: H, divides ``attention_dim``.
        projection: ``linear`` without bias, or ``relu`` with bias and activation.
        scaled: Whether logits are divided by ``sqrt(D')``.
        residual: Whether R is there.
        layer_norm: Whether, and on which side of the closing ReLU, there is a layer norm.
        gate: Whether what attention found passes an ``AttentionGate``, of one factor per head or coordinate.
        dropout: Rate on the attention weights.

    Shape:
        - fields: ``(B, F, D)``
        - returns: ``(B, F, attention_dim)``

    Example:
        >>> FieldAttention(4, attention_dim=6, num_heads=2)(torch.ones(2, 3, 4)).shape
        torch.Size([2, 3, 6])
    """

    def __init__(
        self,
        input_dim: int,
        *,
        attention_dim: int,
        num_heads: int = 1,
        projection: Literal["linear", "relu"] = "linear",
        scaled: bool = True,
        residual: bool = True,
        layer_norm: Literal["none", "before", "after"] = "none",
        gate: Literal["none", "head", "element"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, attention_dim // num_heads
        self._scale = self.head_dim**-0.5 if scaled else 1.0
        self._layer_norm = layer_norm

        def project() -> nn.Module:
            if projection == "linear":
                return xavier_linear(input_dim, attention_dim, bias=False)
            return nn.Sequential(xavier_linear(input_dim, attention_dim), nn.ReLU())

        self.query, self.key, self.value = project(), project(), project()
        same = projection == "linear" and input_dim == attention_dim
        self.residual = (nn.Identity() if same else project()) if residual else None
        self.norm = nn.Identity() if layer_norm == "none" else nn.LayerNorm(attention_dim)
        self.dropout = nn.Dropout(dropout)
        self.gate = (
            None if gate == "none" else AttentionGate(input_dim, num_heads=num_heads, head_dim=self.head_dim, per=gate)
        )

    def forward(self, fields: Tensor) -> Tensor:
        query, key, value = (self._heads(part(fields)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(2, 3) * self._scale, dim=3)  # (B, H, F, F)
        found = self.dropout(weights) @ value  # (B, H, F, D')
        if self.gate is not None:
            found = self.gate(found, fields)
        mixed = found.transpose(1, 2).flatten(2)  # (B, F, H D')
        if self.residual is not None:
            mixed = mixed + self.residual(fields)
        result: Tensor = self.norm(mixed.relu()) if self._layer_norm == "after" else self.norm(mixed).relu()
        return result

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.view(rows.size(0), rows.size(1), self.num_heads, self.head_dim).transpose(1, 2)
