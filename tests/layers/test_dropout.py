"""Dropout: its rate, its scale, its seed."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.dropout import Dropout, keep_mask


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    found = Dropout(rate).train()(torch.full((401, 999), 2.0))
    assert float((found == 0).float().mean()) == pytest.approx(rate, abs=0.003)
    assert found.unique().tolist() == pytest.approx([0.0, 2 / (1 - rate)], rel=1e-3)
    assert float(found.mean()) == pytest.approx(2.0, rel=0.02)


def test_numbers_of_one_draw_and_of_neighbouring_draws_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (keep_mask((400_000,), rate=0.3, like=torch.ones(())) == 0).float()
    for apart in (1, 2, 3, 4, 8):
        both = dropped[:-apart] * dropped[apart:]
        assert float(both.mean()) == pytest.approx(0.09, abs=0.003)
    for place in range(4):
        assert float(dropped[place::4].mean()) == pytest.approx(0.3, abs=0.006)


def test_a_rate_is_met_to_the_last_of_its_steps() -> None:
    like = torch.ones((), dtype=torch.float64)
    assert torch.equal(keep_mask((1000,), rate=0.0, like=like), torch.ones(1000, dtype=torch.float64))
    assert keep_mask((7, 0, 3), rate=0.5, like=like).shape == (7, 0, 3)
    assert float(keep_mask((100_000,), rate=0.25, like=like).max()) == 1 / 0.75  # 2^14 of 2^16 steps: exact
    assert float(keep_mask((10**6,), rate=1 - 1e-9, like=like).max()) in (0.0, 2.0**16)


def test_dropout_is_off_in_evaluation_and_at_rate_zero() -> None:
    inputs = torch.randn(50, 3)
    assert Dropout(0.5).eval()(inputs) is inputs
    assert Dropout(0.0).train()(inputs) is inputs


def test_the_seed_decides_what_is_dropped_and_gradients_go_the_same_way() -> None:
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        inputs = torch.ones(500, requires_grad=True)
        kept = Dropout(0.5)(inputs)
        kept.sum().backward()
        assert torch.equal(inputs.grad, kept.detach())
        found.append(kept.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
