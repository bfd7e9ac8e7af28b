"""The HGRN network: blocks and floors as documented."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn
from torch.nn import functional

from ctrgate.models.hgrn import HGRNConfig, HGRNEncoder
from tests.layers.test_hgrn import naive

LENGTHS = [4, 1, 3]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
PHI = {"glu": torch.sigmoid, "swiglu": functional.silu, "geglu": functional.gelu}


def normalised(rows: torch.Tensor, norm: nn.RMSNorm) -> torch.Tensor:
    return rows / (rows.square().mean(dim=1, keepdim=True) + 1e-5).sqrt() * norm.weight


@pytest.mark.parametrize("unit", ["glu", "swiglu", "geglu"])
def test_an_hgrn_network_is_its_formula(unit: Literal["glu", "swiglu", "geglu"]) -> None:
    torch.manual_seed(0)
    made = HGRNEncoder(HGRNConfig(num_layers=3, unit=unit), dim=6).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    items = torch.randn(3, 5, 6)
    shares = made.floors.logits.softmax(dim=0)
    with torch.no_grad():
        found = made(items, MASK)
        for row, length in enumerate(LENGTHS):
            x, floor = items[row, :length], torch.zeros(6)
            for number, block in enumerate(made.blocks):
                floor = floor + shares[number] if number else floor
                x = x + naive(block.mixer, normalised(x, block.mixer_norm), floor)
                y = normalised(x, block.unit_norm)
                opened = PHI[unit](block.unit.gate(y))
                x = x + block.narrow(block.unit.value(y) * opened)
            torch.testing.assert_close(found[row, :length], normalised(x, made.norm))


def test_the_gated_unit_has_about_the_parameters_of_an_mlp_of_four_times_the_width() -> None:
    (block,) = HGRNEncoder(HGRNConfig(num_layers=1), dim=48).blocks
    found = sum(p.numel() for part in (block.unit, block.narrow) for p in part.parameters() if p.dim() == 2)
    assert found == 2 * 4 * 48 * 48
