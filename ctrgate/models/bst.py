"""BST: a history, and what is shown as its last event, through transformer layers."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.layers.causal_attention import CausalAttention
from ctrgate.layers.dropout import Dropout
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.histories import HistoryGroup, MatchedSettings, history_groups
from ctrgate.models.inputs import Inputs
from ctrgate.ranges import Count, Share


@settings
class BSTConfig(MatchedSettings):
    """``logit = MLP([x, s_1, s_2, ...])``, s what transformer layers make of a sequence group and of what is shown.

    After Chen et al., DLP-KDD 2019, arXiv 1905.06874. A group's members are matched with fields as in DIN; what is
    shown is one event more. An event's position is its place, counted back from what is shown, where the paper takes
    the time between the two; its vector is added to the event's. Without sequences it is an MLP on the embeddings.
    """

    name: Literal["bst"] = "bst"
    mlp: MlpConfig = MlpConfig(hidden=(1024, 512, 256), activation="leaky_relu")
    """On everything; LeakyReLU is the paper's."""
    num_layers: Count = 1
    """Transformer layers; 1 in the paper."""
    num_heads: Count = 1
    """Divides the width of the group's members together; 8 in the paper."""
    hidden: Count | None = None
    """Width within the feed-forward parts; null for the events' own."""
    pooling: Literal["target", "mean", "all"] = "all"
    """Which outputs enter the MLP: that of what is shown, the mean over it and the real events, or all T + 1 side by
    side, zero at padding, which is the paper's."""
    gate: Literal["none", "head", "element"] = "none"
    """Of what attention found: one factor per head or per coordinate (see ``HistoryAttentionGate``); none in BST."""
    dropout: Share = 0.0
    """On attention's weights and on what each part of a layer adds."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return BST(self, inputs=inputs)


class BST(nn.Module):
    """A transformer per sequence group, and an MLP on everything."""

    def __init__(self, config: BSTConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self._groups = history_groups(inputs)
        self.transformers = nn.ModuleList(_Transformer(config, group=group) for group in self._groups)
        times = {group.name: group.max_length + 1 if config.pooling == "all" else 1 for group in self._groups}
        width = inputs.flat_dim + sum(times[group.name] * group.dim for group in self._groups)
        self.mlp = config.mlp.build(width, output_dim=inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        parts = [fields.flat]
        for group, transformer in zip(self._groups, self.transformers, strict=True):
            parts.append(transformer(*group.read(fields)))
        return Output(logits=self.mlp(torch.cat(parts, dim=1)))


class _Transformer(nn.Module):
    """``(B, D)``, ``(B, T, D)`` and its mask to ``(B, D)`` or ``(B, (T + 1) D)``.

    The history is read backwards, what is shown first and then the newest event: all look at all, so that only the
    vectors of positions tell the order, and each place is the same number of events away in every row.
    """

    newest_first: ClassVar[bool] = True

    def __init__(self, config: BSTConfig, *, group: HistoryGroup) -> None:
        super().__init__()
        if group.dim % config.num_heads:
            raise ConfigError(f"model.num_heads: {config.num_heads} does not divide {group.name}'s width {group.dim}")
        self._pooling = config.pooling
        self.positions = nn.Parameter(torch.randn(group.max_length + 1, group.dim) * 0.01)
        self.layers = nn.ModuleList(_Layer(config, dim=group.dim) for _ in range(config.num_layers))

    def forward(self, shown: Tensor, events: Tensor, mask: Tensor) -> Tensor:
        places = mask.sum(dim=1, keepdim=True) - 1 - torch.arange(mask.size(1), device=mask.device)
        newest_first = events.gather(1, places.clamp(min=0).unsqueeze(2).expand_as(events))
        x = torch.cat([shown.unsqueeze(1), newest_first], dim=1) + self.positions
        real = functional.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, real)
        if self._pooling == "target":
            return x[:, 0]
        x = x * real.unsqueeze(2)
        return x.flatten(1) if self._pooling == "all" else x.sum(dim=1) / real.sum(dim=1, keepdim=True)


class _Layer(nn.Module):
    """``h = LN(x + do(Attention(x)))``, ``x' = LN(h + do(W2 leaky_relu(W1 h + b1) + b2))``."""

    def __init__(self, config: BSTConfig, *, dim: int) -> None:
        super().__init__()
        hidden = config.hidden or dim
        self.attention = CausalAttention(
            dim, num_heads=config.num_heads, dropout=config.dropout, gate=config.gate, causal=False
        )
        self.widen, self.narrow = xavier_linear(dim, hidden), xavier_linear(hidden, dim)
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        found: Tensor = self.forward_norm(h + self.dropout(self.narrow(functional.leaky_relu(self.widen(h)))))
        return found
