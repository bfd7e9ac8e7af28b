"""GRU4Rec: a GRU upon a history of items."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.layers.dropout import Dropout
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.next_item import NextItemSettings
from ctrgate.ranges import Count, Share

__all__ = ["GRU4Rec", "GRU4RecConfig"]


@settings
class GRU4RecConfig(NextItemSettings):
    """``q = A GRU(dropout(e)) + a`` (Hidasi et al., ICLR 2016, arXiv 1511.06939).

    In the form in which it is a baseline today (RecBole's): item embeddings where the paper has one-hot items, dropout
    on them, a GRU without biases, and a linear layer to the items' width. Histories are users', not sessions.
    """

    name: Literal["gru4rec"] = "gru4rec"
    num_layers: Count = 1
    """GRUs, one upon the other."""
    hidden: Count = 128
    """Width of the GRU's states."""
    dropout: Share = 0.3
    """On what enters."""

    def encoder(self, *, dim: int) -> nn.Module:
        """The layers."""
        return GRU4Rec(self, dim=dim)


class GRU4Rec(nn.Module):
    """The GRU and a linear layer.

    Shape:
        - x: ``(B, T, D)``, the items' rows
        - mask: ``(B, T)``; not needed, as padding comes after all that is real
        - returns: ``(B, T, D)``; what stands at padding is of no meaning
    """

    def __init__(self, config: GRU4RecConfig, *, dim: int) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(dim, config.hidden, config.num_layers, bias=False, batch_first=True)
        for weight in self.gru.parameters():
            nn.init.xavier_uniform_(weight)
        self.output = xavier_linear(config.hidden, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002
        states = self.gru(self.dropout(x))[0]
        result: Tensor = self.output(states)
        return result
