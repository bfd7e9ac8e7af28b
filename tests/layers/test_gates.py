"""Gates against their formulas, at their neutral points, and where they cannot learn."""

from __future__ import annotations

import math

import pytest
import torch

from ctrgate.layers.gates import ContextGate


def naive_factor(gate: ContextGate, context: torch.Tensor) -> torch.Tensor:
    """``2 sigmoid(A2 relu(A1 c + a1) + a2)``, one row and one coordinate at a time."""
    rows = []
    for row in context.tolist():
        hidden = [
            max(0.0, sum(w * c for w, c in zip(weights, row, strict=True)) + bias)
            for weights, bias in zip(gate.hidden.weight.tolist(), gate.hidden.bias.tolist(), strict=True)
        ]
        out = [
            sum(w * h for w, h in zip(weights, hidden, strict=True)) + bias
            for weights, bias in zip(gate.output.weight.tolist(), gate.output.bias.tolist(), strict=True)
        ]
        rows.append([2 / (1 + math.exp(-value)) for value in out])
    return torch.tensor(rows)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_context_gate_is_its_formula(batch_size: int) -> None:
    torch.manual_seed(0)
    gate = ContextGate(feature_dim=6, context_dim=3, hidden_dim=4)
    torch.nn.init.normal_(gate.hidden.bias)
    torch.nn.init.normal_(gate.output.bias)
    features, context = torch.randn(batch_size, 6), torch.randn(batch_size, 3)
    torch.testing.assert_close(gate(features, context), features * naive_factor(gate, context))


def test_a_new_context_gate_with_identity_start_changes_nothing() -> None:
    gate = ContextGate(feature_dim=6, context_dim=3, hidden_dim=4, identity_start=True)
    features = torch.randn(7, 6)
    assert torch.equal(gate(features, torch.randn(7, 3)), features)


def test_the_factor_lies_between_zero_and_two() -> None:
    gate = ContextGate(feature_dim=6, context_dim=3, hidden_dim=4)
    factor = gate.factor(torch.randn(50, 3) * 100)
    assert (factor >= 0).all()
    assert (factor <= 2).all()


def test_without_context_only_the_output_bias_ever_learns() -> None:
    torch.manual_seed(0)
    gate = ContextGate(feature_dim=6, context_dim=None, hidden_dim=4, empty_dim=3)
    before = {name: value.clone() for name, value in gate.named_parameters()}
    optimizer = torch.optim.Adam(gate.parameters())
    features, target = torch.randn(20, 6), torch.randn(20, 6)
    for _ in range(30):
        optimizer.zero_grad()
        (gate(features, None) - target).square().mean().backward()
        optimizer.step()
    unchanged = {name for name, value in gate.named_parameters() if torch.equal(value, before[name])}
    assert unchanged == set(gate.untrained())
    assert set(before) - unchanged == {"output.bias"}


def test_without_context_the_factor_is_computed_once_not_per_row() -> None:
    gate = ContextGate(feature_dim=6, context_dim=None, hidden_dim=4)
    assert gate.factor(None).shape == (1, 6)
