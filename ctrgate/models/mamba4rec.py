"""Mamba4Rec: Mamba upon a history of items."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ctrgate.config import settings
from ctrgate.layers.mamba import Mamba
from ctrgate.layers.post_norm import PostNormEncoder
from ctrgate.models.next_item import NextItemSettings
from ctrgate.ranges import Count, Share


@settings
class Mamba4RecConfig(NextItemSettings):
    """Layers of Mamba and a feed-forward layer on item embeddings (Liu et al., arXiv 2403.03900), the width that of the
    item's table.

    The authors' code sets every linear layer to N(0, .02 squared) in the end, Mamba's own among them, which undoes
    Mamba's start; here it stays.
    """

    name: Literal["mamba4rec"] = "mamba4rec"
    num_layers: Count = 1
    """Layers, each Mamba and a feed-forward part."""
    state_dim: Count = 32
    """N, the numbers that each channel remembers."""
    conv_width: Count = 4
    """Events that the convolution before the scan sees."""
    expand: Count = 2
    """Channels of Mamba by the item's width."""
    dropout: Share = 0.2
    """On what enters, and on what each part of a layer adds."""

    def encoder(self, *, dim: int) -> nn.Module:
        """The layers."""
        mixers = [
            Mamba(dim, state_dim=self.state_dim, conv_width=self.conv_width, expand=self.expand)
            for _ in range(self.num_layers)
        ]
        return PostNormEncoder(mixers, dim=dim, dropout=self.dropout)
