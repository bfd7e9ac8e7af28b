"""SASRec: its formula event by event, positions from either end, and what it needs to be built."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.errors import ConfigError
from ctrgate.models.plan import plan_inputs
from ctrgate.models.sasrec import SASRec, SASRecConfig
from ctrgate.models.tables import DenseRule, TablesConfig
from tests.layers.test_causal_attention import naive
from tests.models.every_network import LAYOUT

LENGTHS = [4, 1, 0, 3]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
Positions = Literal["from_end", "from_start"]


def encoder(config: SASRecConfig) -> SASRec:
    torch.manual_seed(0)
    made = SASRec(config, dim=6).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("bias") or "norm" in name:
            nn.init.normal_(parameter)
    return made


def normalised(row: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    centred = row - row.mean()
    return centred / (centred.square().mean() + 1e-8).sqrt() * norm.weight + norm.bias


def expected(made: SASRec, config: SASRecConfig, items: torch.Tensor) -> torch.Tensor:
    """One history, event by event."""
    last = len(items) - 1
    places = [last - t if config.positions == "from_end" else t for t in range(len(items))]
    x = torch.stack([item * 6**0.5 + made.positions[place] for item, place in zip(items, places, strict=True)])
    for block in made.blocks:
        queries = torch.stack([normalised(row, block.attention_norm) for row in x])
        found = naive(block.attention, x, queries, heads=config.num_heads, causal=True)
        rows = []
        for query, one in zip(queries, found, strict=True):
            row = normalised(query + one, block.forward_norm)
            inner = (block.widen.weight @ row + block.widen.bias).clamp(min=0)
            rows.append(row + block.narrow.weight @ inner + block.narrow.bias)
        x = torch.stack(rows)
    return torch.stack([normalised(row, made.norm) for row in x])


@pytest.mark.parametrize("positions", ["from_end", "from_start"])
@pytest.mark.parametrize("gate", ["none", "head", "element"])
@pytest.mark.parametrize("hidden", [None, 3])
def test_sasrec_is_its_formula(
    positions: Positions, gate: Literal["none", "head", "element"], hidden: int | None
) -> None:
    config = SASRecConfig(num_heads=2, positions=positions, gate=gate, hidden=hidden, max_length=7)
    made, items = encoder(config), torch.randn(4, 5, 6)
    for block in made.blocks:
        assert block.widen.weight.shape == (hidden or 6, 6)
        factors = block.attention.gate and block.attention.gate.weight.out_features
        assert factors == {"none": None, "head": 2, "element": 6}[gate]
    with torch.no_grad():
        found = made(items, MASK)
        for row, length in enumerate(LENGTHS):
            if length:
                torch.testing.assert_close(found[row, :length], expected(made, config, items[row, :length]))


@pytest.mark.parametrize(("positions", "moves"), [("from_end", True), ("from_start", False)])
def test_one_event_more_shifts_positions_that_are_counted_from_the_end(positions: Positions, moves: bool) -> None:
    made, items = encoder(SASRecConfig(positions=positions, max_length=5)), torch.randn(1, 5, 6)
    shorter, longer = (made(items, torch.arange(5) < torch.tensor([[length]])) for length in (3, 4))
    assert torch.allclose(shorter[:, :3], longer[:, :3]) is not moves


def test_the_last_event_of_every_history_has_the_same_position() -> None:
    made, item = encoder(SASRecConfig(max_length=5)), torch.randn(6)
    made.blocks = nn.ModuleList()  # the value at an event is then of its item and position alone
    found = made(item.expand(4, 5, 6), MASK)
    torch.testing.assert_close(found[0, 3], found[1, 0])
    torch.testing.assert_close(found[0, 3], found[3, 2])
    assert not torch.allclose(found[0, 2], found[0, 3])


def test_dropout_acts_on_what_enters_and_within_blocks_in_training_alone() -> None:
    made, items = encoder(SASRecConfig(dropout=0.5, max_length=5)), torch.randn(4, 5, 6)
    assert torch.equal(made(items, MASK), made(items, MASK))
    made.train()
    blocks, made.blocks = made.blocks, nn.ModuleList()
    assert not torch.equal(made(items, MASK), made(items, MASK))
    made.blocks, made.dropout = blocks, nn.Identity()
    for parts in ([block.attention for block in blocks], [block.dropout for block in blocks]):
        made.train()
        for part in parts:
            part.eval()
        assert not torch.equal(made(items, MASK), made(items, MASK))  # by the other one


def test_histories_longer_than_the_table_of_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.max_length: 4 positions for histories of 5; set it to 5"):
        encoder(SASRecConfig(max_length=4))(torch.randn(4, 5, 6), MASK)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    config = SASRecConfig(num_heads=3)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=4, rule=DenseRule()), config.embeddings(LAYOUT))
    with pytest.raises(ConfigError, match=r"model\.num_heads: 3 does not divide the width 4"):
        config.build(inputs)
    assert dataclasses.replace(config, num_heads=2).build(inputs)


def test_the_default_network_has_as_many_parameters_as_its_parts() -> None:
    made = SASRec(SASRecConfig(), dim=64)
    attention = 4 * 64 * 64 + 2 * 64
    block = attention + 2 * (64 * 64 + 64) + 2 * 2 * 64
    assert sum(p.numel() for p in made.parameters()) == 200 * 64 + 2 * block + 2 * 64
