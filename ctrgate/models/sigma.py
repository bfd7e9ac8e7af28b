"""SIGMA: Mamba in two directions under dense gates, and a GRU for what is recent."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.errors import ConfigError
from ctrgate.layers.convolution import GatedConvolution
from ctrgate.layers.dense_selective_gate import BranchMix, DenseSelectiveGate
from ctrgate.layers.dropout import Dropout
from ctrgate.layers.feature_extract_gru import FeatureExtractGRU
from ctrgate.layers.mamba import Mamba
from ctrgate.layers.partial_flip import partial_flip
from ctrgate.layers.post_norm import PostNormEncoder
from ctrgate.models.next_item import NextItemSettings
from ctrgate.ranges import Count, Share


@settings
class SIGMAConfig(NextItemSettings):
    """``y = W (w_1 gate(mamba(x), x) + w_2 gate(mamba(x'), x') + w_3 gru(conv(x)))``, x' partly flipped (Liu et al.,
    AAAI 2025, arXiv 2408.11451), the width that of the item's table.

    It looks ahead, so it is trained on last positions only. The paper's full text was not at hand: ``paper`` is built
    from a restatement of it, and where that is silent (an own Mamba and an own gate for each direction) the reading is
    ours. ``released_code`` is the authors' code with what departs from it, line by line below.
    """

    name: Literal["sigma"] = "sigma"
    causal: ClassVar[bool] = False
    variant: Literal["paper", "released_code"] = "paper"
    """The network of the paper, or of the authors' code."""
    recent: Literal["gru", "gated_convolution"] = "gru"
    """What looks at short-term patterns; the gated convolution is no part of SIGMA, and goes with ``paper`` alone."""
    num_layers: Count = 1
    """Layers, each of both directions."""
    num_kept: Annotated[int, Field(ge=0)] = 5
    """Events at the end that are not flipped."""
    state_dim: Count = 32
    """N, the numbers that each of Mamba's channels remembers."""
    conv_width: Count = 4
    """Events that Mamba's own convolution sees."""
    expand: Count = 2
    """Channels of Mamba by the item's width."""
    dropout: Share = 0.2
    """On what enters, and on what each part of a layer adds."""

    @property
    def sees_padding(self) -> bool:
        """In the released code every position counts as real."""
        return self.variant == "released_code"

    def encoder(self, *, dim: int) -> nn.Module:
        """The layers.

        Raises:
            ConfigError: Where the authors' code is to have what it has not.
        """
        if self.variant == "released_code" and self.recent != "gru":
            raise ConfigError(f"model.recent: {self.recent}; the released code has a gru, take variant: paper")
        kind = _PaperBlock if self.variant == "paper" else _ReleasedBlock
        encoder = PostNormEncoder([kind(self, dim=dim) for _ in range(self.num_layers)], dim=dim, dropout=self.dropout)
        if self.variant == "released_code":
            # Ends with this in every linear layer: Mamba's start is lost, delta begins near ln 2.
            encoder.apply(_restart)
        return encoder


def _mamba(config: SIGMAConfig, *, dim: int) -> Mamba:
    return Mamba(dim, state_dim=config.state_dim, conv_width=config.conv_width, expand=config.expand)


def _restart(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class _PaperBlock(nn.Module):
    """``(B, T, D)`` to the same."""

    def __init__(self, config: SIGMAConfig, *, dim: int) -> None:
        super().__init__()
        self._num_kept = config.num_kept
        self.mamba, self.flipped_mamba = (_mamba(config, dim=dim) for _ in range(2))
        self.gate, self.flipped_gate = DenseSelectiveGate(dim), DenseSelectiveGate(dim)
        gru = config.recent == "gru"
        self.recent = FeatureExtractGRU(dim) if gru else GatedConvolution(dim, causal=False)
        self.mix = BranchMix()
        self.output = nn.Linear(dim, dim)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        flipped = partial_flip(inputs, mask, num_kept=self._num_kept)
        result: Tensor = self.output(
            self.mix(
                self.gate(self.mamba(inputs, mask), inputs, mask),
                self.flipped_gate(self.flipped_mamba(flipped, mask), flipped, mask),
                self.recent(inputs, mask),
            )
        )
        return result


class _ReleasedBlock(nn.Module):
    """The same as the authors' code has it. Its parts that nothing uses are left out."""

    def __init__(self, config: SIGMAConfig, *, dim: int) -> None:
        super().__init__()
        self._num_kept = config.num_kept
        self.mamba = _mamba(config, dim=dim)  # one for both directions
        self.recent = FeatureExtractGRU(dim)
        self.project, self.flipped_project = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.silu_weight, self.sigmoid_weight = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = Dropout(config.dropout)  # there .2, whatever is set
        self.mixing = nn.Parameter(torch.tensor([0.1, 0.1, 0.8]))  # as they are: the softmax of them is not used
        self.output = nn.Linear(dim, dim)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        # Every position counts as real, padding too: so the first T - r are flipped in every row, and a short history
        # comes after its padding. The code has 45 for T - r, with T = 50 and r = 5.
        every = torch.ones_like(mask)
        flipped = partial_flip(inputs, every, num_kept=self._num_kept)
        found, flipped_found = self.mamba(inputs, every), self.mamba(flipped, every)
        # Activations first, then the linear layers; no convolution.
        seen, flipped_seen = inputs + self.project(inputs), flipped + self.flipped_project(flipped)
        gate = self.dropout(self.silu_weight(functional.silu(seen)) + self.sigmoid_weight(torch.sigmoid(seen)))
        # The sigmoid is of the first branch's gate, where the second's own input must have been meant.
        flipped_gate = self.dropout(
            self.silu_weight(functional.silu(flipped_seen)) + self.sigmoid_weight(torch.sigmoid(gate))
        )
        straight, turned = found * gate + found, flipped_found * flipped_gate + flipped_found
        mixed = self.mixing[2] * straight + self.mixing[1] * turned + self.mixing[0] * self.recent(inputs, every)
        result: Tensor = self.output(mixed)
        return result
