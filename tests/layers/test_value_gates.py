"""Value gates against their formulas, at their start, and once they are closed."""

from __future__ import annotations

import math

import pytest
import torch

from ctrgate.layers.value_gates import ContinuationGate, HardConcreteGate, StraightThroughGate, ValueGate

GATES = [ContinuationGate, StraightThroughGate, HardConcreteGate]


def with_logits(gate: ValueGate, *logits: float) -> ValueGate:
    with torch.no_grad():
        gate.logits.copy_(torch.tensor(logits))
    return gate


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("kind", GATES)
def test_a_new_gate_changes_nothing_in_evaluation(kind: type[ValueGate]) -> None:
    gate = kind(5).eval()
    torch.testing.assert_close(gate(torch.arange(5)), torch.ones(5))


def test_continuation_is_its_formula_and_its_factor_is_the_published_one() -> None:
    gate = with_logits(ContinuationGate(4), 0.5, -0.2, 0.0, 1.0)
    gate.set_temperature(3.0)
    expected = [sigmoid(3 * m) / sigmoid(0.5) for m in (0.5, -0.2, 0.0, 1.0)]
    torch.testing.assert_close(gate(torch.arange(4)), torch.tensor(expected))
    torch.testing.assert_close(gate.penalty(), torch.tensor(sum(sigmoid(3 * m) for m in (-0.2, 0.0, 1.0))))
    gate.close()
    torch.testing.assert_close(gate(torch.tensor([1, 2, 3])), torch.tensor([0.0, 0.0, 1.60653066]))


def test_straight_through_is_binary_with_a_sigmoids_slope() -> None:
    gate = with_logits(StraightThroughGate(3), 0.5, -0.3, 2.0)
    factor = gate(torch.arange(3))
    torch.testing.assert_close(factor.detach(), torch.tensor([1.0, 0.0, 1.0]))
    factor.sum().backward()
    slopes = [sigmoid(m) * (1 - sigmoid(m)) for m in (0.5, -0.3, 2.0)]
    torch.testing.assert_close(gate.logits.grad, torch.tensor(slopes))


def test_hard_concrete_is_zero_as_often_as_its_penalty_says() -> None:
    torch.manual_seed(0)
    gate = with_logits(HardConcreteGate(2), 9.0, 0.4).train()
    drawn = gate(torch.ones(200_000, dtype=torch.int64)).detach()
    chance = float(gate.penalty().detach())
    assert abs(float((drawn > 0).float().mean()) - chance) < 0.005
    assert 0.5 < chance < 0.95
    assert float(drawn.max()) == 1.0
    expected = min(1.0, max(0.0, sigmoid(0.4) * 1.2 - 0.1))
    assert gate.eval()(torch.ones(1, dtype=torch.int64)).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", GATES)
def test_a_closed_gate_is_zero_or_one_constant_and_learns_no_more(kind: type[ValueGate]) -> None:
    gate = with_logits(kind(5), -1.0, -0.5, 0.5, -0.01, 3.0).train()
    gate.close()
    factor = gate(torch.arange(5))
    assert not factor.requires_grad
    expected = torch.tensor([1.0, 0, 1, 0, 1]) * gate.open_factor
    torch.testing.assert_close(factor, expected)
    assert gate.kept().tolist() == [True, False, True, False, True]  # padding is kept whatever its logit


@pytest.mark.parametrize("kind", GATES)
def test_padding_is_not_penalised_and_values_absent_from_the_batch_are(kind: type[ValueGate]) -> None:
    gate = kind(6).train()
    (gate(torch.tensor([2])).sum() * 0 + gate.penalty()).backward()
    assert gate.logits.grad is not None
    assert float(gate.logits.grad[0]) == 0
    assert (gate.logits.grad[1:] > 0).all()


@pytest.mark.parametrize("kind", GATES)
def test_a_gate_with_its_state_loaded_is_the_same(kind: type[ValueGate]) -> None:
    gate = with_logits(kind(3), 0.1, -0.1, 0.3)
    gate.set_temperature(7.0)
    gate.close()
    other = kind(3)
    other.load_state_dict(gate.state_dict())
    torch.testing.assert_close(other.eval()(torch.arange(3)), gate.eval()(torch.arange(3)))
    torch.testing.assert_close(other.penalty(), gate.penalty())
