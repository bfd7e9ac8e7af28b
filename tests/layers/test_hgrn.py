"""HGRN's recurrence event by event, its floors and its output gate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ctrgate.layers import hgrn
from ctrgate.layers.hgrn import HGRN, ForgetFloors, NormalisedGate
from ctrgate.layers.scan import linear_scan

LENGTHS = [7, 1, 0, 3]
MASK = torch.arange(7) < torch.tensor(LENGTHS)[:, None]


def naive(layer: HGRN, row: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """One history without its padding."""
    state, found = torch.zeros_like(floor), []
    for x in row:
        forget = floor + (1 - floor) * torch.sigmoid(layer.forget.weight @ x)
        entering = layer.enter.weight @ x
        state = forget * state + (1 - forget) * entering * torch.sigmoid(entering)
        normalised = state / (state.square().mean() + 1e-5).sqrt() * layer.gate.norm.weight
        opened = layer.gate.weight.weight @ x
        found.append(layer.output.weight @ (normalised * opened * torch.sigmoid(opened)))
    return torch.stack(found) if found else row


@pytest.mark.parametrize("floor", [torch.zeros(3), torch.tensor([0.9, 0.1, 0.5])])
def test_hgrn_is_its_formula_and_zero_at_padding(floor: torch.Tensor) -> None:
    torch.manual_seed(0)
    layer, x = HGRN(3), torch.randn(4, 7, 3)
    nn.init.normal_(layer.gate.norm.weight)
    with torch.no_grad():
        found = layer(x, MASK, floor)
        for row, length in enumerate(LENGTHS):
            torch.testing.assert_close(found[row, :length], naive(layer, x[row, :length], floor))
            assert not found[row, length:].any()


def test_a_state_kept_whole_takes_nothing_in() -> None:
    layer, x = HGRN(3), torch.randn(4, 7, 3)
    assert not layer(x, MASK, torch.ones(3)).any()


def test_a_higher_floor_remembers_longer() -> None:
    torch.manual_seed(0)
    layer, x = HGRN(3), torch.randn(1, 30, 3)
    mask, changed = torch.ones(1, 30, dtype=torch.bool), x.clone()
    changed[:, 0] += 3
    short, long = (
        (layer(x, mask, torch.full((3,), floor)) - layer(changed, mask, torch.full((3,), floor)))[0, -1].abs().max()
        for floor in (0.0, 0.95)
    )
    assert long > 100 * short


def test_floors_are_cumulative_shares_and_begin_at_zero() -> None:
    floors = ForgetFloors(3, dim=2)
    torch.testing.assert_close(floors(), torch.tensor([[0.0, 0.0], [1 / 3, 1 / 3], [2 / 3, 2 / 3]]))
    with torch.no_grad():
        floors.logits.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0], [-1.0, 3.0]]))
    for column, logits in enumerate([(0.0, 2.0, -1.0), (1.0, 0.0, 3.0)]):
        shares = [math.exp(logit) / sum(math.exp(other) for other in logits) for logit in logits]
        expected = torch.tensor([0.0, shares[1], shares[1] + shares[2]])
        torch.testing.assert_close(floors()[:, column], expected)
    assert floors.untrained() == {}


def test_the_floor_of_a_single_layer_is_zero_whatever_is_learned() -> None:
    floors = ForgetFloors(1, dim=2)
    nn.init.normal_(floors.logits)
    assert not floors().any()
    floors().sum().backward()
    assert not floors.logits.grad.any()
    assert set(floors.untrained()) == {"logits"}


def test_a_normalised_gate_without_weight_lets_nothing_out() -> None:
    gate, features, context = NormalisedGate(3), torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    nn.init.zeros_(gate.weight.weight)
    assert not gate(features, context).any()


def test_the_recurrence_keeps_its_digits_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between .996 and 1 bf16 has no number."""
    seen = []

    def scan(decay: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        seen.append(decay)
        return linear_scan(decay, inputs)

    monkeypatch.setattr(hgrn, "linear_scan", scan)
    layer, x = HGRN(3), torch.randn(2, 60, 3)
    mask, floor = torch.ones(2, 60, dtype=torch.bool), torch.full((3,), 0.999)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, mask, floor)
    (decay,) = seen
    assert ((decay > 0.999) & (decay < 1)).all()
