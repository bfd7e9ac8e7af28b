"""SIGMA's gates: formulas, starts and bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.dense_selective_gate import BranchMix, DenseSelectiveGate


def naive(gate: DenseSelectiveGate, features: Tensor, context: Tensor, places: list[int]) -> Tensor:
    """One row without padding; ``places`` are what the kernel's taps see, relative to the event."""
    kernel, bias = gate.conv.conv.weight, gate.conv.conv.bias
    entered = [gate.enter.weight @ event + gate.enter.bias for event in context]
    rows = []
    for place, feature in enumerate(features):
        convolved = bias.clone()
        for tap, shift in enumerate(places):
            if 0 <= place + shift < len(entered):
                convolved = convolved + kernel[:, :, tap] @ entered[place + shift]
        score = gate.leave.weight @ convolved + gate.leave.bias
        dense = score * torch.sigmoid(score) + torch.sigmoid(score)
        rows.append(dense * feature + feature)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("conv_width", "causal", "places"),
    [(3, False, [-1, 0, 1]), (5, False, [-2, -1, 0, 1, 2]), (3, True, [-2, -1, 0])],
)
def test_a_dense_selective_gate_is_its_formula(conv_width: int, causal: bool, places: list[int]) -> None:
    torch.manual_seed(0)
    gate = DenseSelectiveGate(4, conv_width=conv_width, causal=causal)
    features, context = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    lengths = [7, 2, 4]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    found = gate(features, context, mask)
    for row, length in enumerate(lengths):
        expected = naive(gate, features[row, :length], context[row, :length], places)
        torch.testing.assert_close(found[row, :length], expected)


def test_a_gate_with_a_score_of_zero_is_three_halves_and_none_is_far_below_one() -> None:
    gate = DenseSelectiveGate(3)
    features, mask = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    nn.init.zeros_(gate.leave.weight)
    nn.init.zeros_(gate.leave.bias)
    torch.testing.assert_close(gate(features, torch.randn(2, 4, 3), mask), 1.5 * features)
    nn.init.eye_(gate.leave.weight)
    with torch.no_grad():
        for bias in torch.linspace(-8, 8, 200):
            nn.init.constant_(gate.leave.bias, float(bias))
            assert (gate.factor(torch.randn(2, 4, 3), mask) > 0.88 - 1e-3).all()


def test_a_mix_starts_at_its_shares_and_stays_a_mean() -> None:
    branches = torch.randn(3, 2, 5, 4)
    mix = BranchMix()
    torch.testing.assert_close(mix(*branches), 0.8 * branches[0] + 0.1 * branches[1] + 0.1 * branches[2])
    with torch.no_grad():
        mix.logits += torch.tensor([3.0, -2.0, 1.0])
    assert float(mix.factor().sum().detach()) == pytest.approx(1.0)
    same = branches[:1].expand_as(branches)
    torch.testing.assert_close(mix(*same), branches[0])
