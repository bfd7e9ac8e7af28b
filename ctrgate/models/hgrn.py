"""HGRN upon a history of items: a gated linear recurrence mixes events, a gated unit mixes coordinates."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.layers.dropout import Dropout
from ctrgate.layers.gated_units import GatedLinear
from ctrgate.layers.hgrn import HGRN, ForgetFloors
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.next_item import NextItemSettings
from ctrgate.ranges import Count, Share

__all__ = ["HGRNConfig", "HGRNEncoder"]


@settings
class HGRNConfig(NextItemSettings):
    """``q = N(x_L)`` with ``a = x + HGRN(N(x)); x' = a + GLU(N(a))``, L times over, N an RMSNorm.

    Qin et al., NeurIPS 2023, arXiv 2311.04823; blocks as in flash-linear-attention. Made for language: dropout, and
    items in the place of tokens, are ours. The order of events is in the recurrence; there are no positions.
    """

    name: Literal["hgrn"] = "hgrn"
    num_layers: Count = 2
    """Each forgets less than the one below it can."""
    hidden: Count | None = None
    """Width within the gated unit; None for 8/3 of the tables', which has the parameters of an MLP of four times."""
    unit: Literal["glu", "swiglu", "geglu"] = "swiglu"
    """The gated unit: its gate is a sigmoid, a SiLU or a GELU."""
    dropout: Share = 0.2
    """On what enters, and on what each part of a block adds."""

    def encoder(self, *, dim: int) -> nn.Module:
        """The layers."""
        return HGRNEncoder(self, dim=dim)


class HGRNEncoder(nn.Module):
    """Blocks that share their floors of forgetting, and an RMSNorm.

    Shape:
        - x: ``(B, T, D)``, the items' rows
        - mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``; what stands at padding is of no meaning
    """

    def __init__(self, config: HGRNConfig, *, dim: int) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout)
        self.floors = ForgetFloors(config.num_layers, dim=dim)
        self.blocks = nn.ModuleList(_Block(config, dim=dim) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(x)
        for block, floor in zip(self.blocks, self.floors().unbind(0), strict=True):
            x = block(x, mask, floor)
        result: Tensor = self.norm(x)
        return result


class _Block(nn.Module):
    def __init__(self, config: HGRNConfig, *, dim: int) -> None:
        super().__init__()
        hidden = config.hidden or -(-8 * dim // 3)
        self.mixer_norm, self.unit_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
        self.mixer = HGRN(dim)
        self.unit = GatedLinear(dim, hidden, kind=config.unit)
        self.narrow = xavier_linear(hidden, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, floor: Tensor) -> Tensor:
        x = x + self.dropout(self.mixer(self.mixer_norm(x), mask, floor))
        result: Tensor = x + self.dropout(self.narrow(self.unit(self.unit_norm(x))))
        return result
