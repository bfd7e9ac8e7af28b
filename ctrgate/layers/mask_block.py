"""MaskNet's block: a masked hidden vector through a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from ctrgate.layers.gates import InstanceMask
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mlp import Activation, activation_layer

__all__ = ["MaskBlock"]


class MaskBlock(nn.Module):
    """``dropout(act(LN(W (h * mask(v)))))``, W without bias (MaskNet, DLP-KDD 2021, arXiv 2102.07619).

    Args:
        embedding_dim: C, width of the embedding that decides the mask.
        input_dim: N, width of the hidden vector.
        output_dim: M, width of the block.
        mask_ratio: Width of the mask's hidden layer as a multiple of N.
        norm: Whether the layer norm is there.
        activation: After it.
        dropout: Rate at the end.

    Shape:
        - hidden: ``(B, N)``
        - embedding: ``(B, C)``
        - returns: ``(B, M)``
    """

    def __init__(
        self,
        embedding_dim: int,
        *,
        input_dim: int,
        output_dim: int,
        mask_ratio: float,
        norm: bool = True,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_dim = max(1, int(input_dim * mask_ratio))
        self.mask = InstanceMask(feature_dim=input_dim, context_dim=embedding_dim, hidden_dim=hidden_dim)
        self.linear = xavier_linear(input_dim, output_dim, bias=False)
        self.norm = nn.LayerNorm(output_dim) if norm else nn.Identity()
        self.activation = activation_layer(activation, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.activation(self.norm(self.linear(self.mask(hidden, embedding)))))
        return result
