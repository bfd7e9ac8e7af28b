"""Gates against their formulas, at their neutral points, and where they cannot learn."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from ctrgate.layers.gates import (
    ContextGate,
    InformationGate,
    InstanceMask,
    LinearFieldGate,
    PersonalGate,
    SqueezeExcitation,
)


def naive_factor(gate: ContextGate | PersonalGate, context: torch.Tensor) -> torch.Tensor:
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


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("rank", [None, 2])
def test_an_information_gate_is_its_formula(batch_size: int, rank: int | None) -> None:
    torch.manual_seed(0)
    gate = InformationGate(3, rank=rank)
    matrix = gate.weight[1].weight @ gate.weight[0].weight if rank else gate.weight.weight
    features, context = torch.randn(batch_size, 3), torch.randn(batch_size, 3)
    expected = [
        [
            value / (1 + math.exp(-sum(g * c for g, c in zip(weights, below, strict=True))))
            for value, weights in zip(row, matrix.tolist(), strict=True)
        ]
        for row, below in zip(features.tolist(), context.tolist(), strict=True)
    ]
    torch.testing.assert_close(gate(features, context), torch.tensor(expected))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_linear_field_gate_mixes_one_coordinate_over_the_fields(batch_size: int) -> None:
    torch.manual_seed(0)
    gate = LinearFieldGate(3)
    torch.nn.init.normal_(gate.mix.weight)
    fields = torch.randn(batch_size, 3, 2)
    expected = torch.empty_like(fields)
    for b in range(batch_size):
        for f in range(3):
            for d in range(2):
                factor = sum(float(gate.mix.weight.detach()[f, k]) * float(fields[b, k, d]) for k in range(3)) + 1
                expected[b, f, d] = float(fields[b, f, d]) * factor
    torch.testing.assert_close(gate(fields), expected)


def test_a_new_linear_field_gate_changes_nothing_and_learns() -> None:
    gate, fields = LinearFieldGate(4), torch.randn(6, 4, 3)
    assert torch.equal(gate(fields), fields)
    gate(fields).square().sum().backward()
    assert gate.mix.weight.grad is not None
    assert gate.mix.weight.grad.any()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_instance_mask_is_its_formula(batch_size: int) -> None:
    torch.manual_seed(0)
    mask = InstanceMask(feature_dim=2, context_dim=3, hidden_dim=4)
    torch.nn.init.normal_(mask.hidden.bias)
    torch.nn.init.normal_(mask.output.bias)
    features, context = torch.randn(batch_size, 2), torch.randn(batch_size, 3)
    for b in range(batch_size):
        lines = zip(mask.hidden.weight.tolist(), mask.hidden.bias.tolist(), strict=True)
        hidden = [max(0.0, sum(w * c for w, c in zip(line, context[b].tolist(), strict=True)) + a) for line, a in lines]
        for n, (line, bias) in enumerate(zip(mask.output.weight.tolist(), mask.output.bias.tolist(), strict=True)):
            factor = sum(w * h for w, h in zip(line, hidden, strict=True)) + bias
            assert float(mask(features, context).detach()[b, n]) == pytest.approx(
                float(features[b, n]) * factor, rel=1e-4
            )


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_squeeze_and_excitation_is_its_formula(batch_size: int, activation: Literal["relu", "sigmoid"]) -> None:
    torch.manual_seed(0)
    gate = SqueezeExcitation(4, reduction=2, activation=activation)
    fields = torch.randn(batch_size, 4, 3)
    for b in range(batch_size):
        means = [sum(fields[b, f].tolist()) / 3 for f in range(4)]
        hidden = [max(0.0, sum(w * z for w, z in zip(row, means, strict=True))) for row in gate.squeeze.weight.tolist()]
        for f, row in enumerate(gate.excite.weight.tolist()):
            value = sum(w * h for w, h in zip(row, hidden, strict=True))
            factor = max(0.0, value) if activation == "relu" else 1 / (1 + math.exp(-value))
            torch.testing.assert_close(gate(fields)[b, f], fields[b, f] * factor)


@pytest.mark.parametrize(("reduction", "hidden"), [(3.0, 3), (0.3, 33), (12.0, 1)])
def test_the_hidden_width_of_squeeze_and_excitation_shrinks_or_expands(reduction: float, hidden: int) -> None:
    assert SqueezeExcitation(10, reduction=reduction).squeeze.out_features == hidden


def personal_gate() -> PersonalGate:
    """One whose every parameter speaks."""
    torch.manual_seed(0)
    gate = PersonalGate(feature_dim=6, context_dim=3, hidden_dim=4)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    return gate


@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_personal_gate_is_its_formula(batch_size: int) -> None:
    gate, features, context = personal_gate(), torch.randn(batch_size, 6), torch.randn(batch_size, 3)
    seen = [c + x for c, x in zip(context.tolist(), features.tolist(), strict=True)]
    torch.testing.assert_close(gate(features, context), features * naive_factor(gate, torch.tensor(seen)))


def test_a_new_personal_gate_changes_nothing_and_learns() -> None:
    gate = PersonalGate(feature_dim=6, context_dim=3, hidden_dim=4, identity_start=True)
    features = torch.randn(7, 6)
    changed = gate(features, torch.randn(7, 3))
    assert torch.equal(changed, features)
    changed.square().sum().backward()
    assert gate.output.weight.grad.any()
    assert gate.output.bias.grad.any()


def test_a_personal_gate_starts_xavier_normal_with_zero_biases_and_near_one() -> None:
    torch.manual_seed(0)
    gate = PersonalGate(feature_dim=200, context_dim=100, hidden_dim=500)
    for layer, width in ((gate.hidden, 300 + 500), (gate.output, 500 + 200)):
        assert float(layer.weight.detach().std()) == pytest.approx((2 / width) ** 0.5, rel=0.02)
        assert not layer.bias.any()
    factor = gate.factor(torch.randn(50, 200), torch.randn(50, 100)).detach()
    assert float(factor.mean()) == pytest.approx(1, abs=0.05)
    identity = PersonalGate(feature_dim=200, context_dim=100, hidden_dim=500, identity_start=True)
    assert not identity.output.weight.any()
    assert identity.hidden.weight.any()


def test_a_personal_gate_sees_the_features_but_does_not_move_them() -> None:
    gate = personal_gate()
    features, context = torch.randn(5, 6, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    gate(features, context).sum().backward()
    # y = x * factor, the factor a constant for x: what reaches x is the factor and nothing else
    assert torch.equal(features.grad, gate.factor(features, context).detach())
    assert context.grad.any()
    assert not torch.equal(gate.factor(features, context), gate.factor(features + 1, context))


def test_the_factor_of_a_personal_gate_lies_between_zero_and_two() -> None:
    factor = personal_gate().factor(torch.randn(50, 6) * 100, torch.randn(50, 3) * 100)
    assert ((factor >= 0) & (factor <= 2)).all()
    assert (factor < 0.01).any()
    assert (factor > 1.99).any()
