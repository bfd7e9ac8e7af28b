"""Gates of the connection that skips a block: formulas, starts and the limits in which a block is passed or skipped."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ctrgate.layers.residual import Highway, ReZero


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (5, 2, 3)])
def test_a_rezero_adds_the_block_times_one_number(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    gate = ReZero()
    nn.init.constant_(gate.alpha, -0.7)
    inputs, block = torch.randn(shape), torch.randn(shape)
    expected = [x - 0.7 * f for x, f in zip(inputs.flatten().tolist(), block.flatten().tolist(), strict=True)]
    torch.testing.assert_close(gate(inputs, block), torch.tensor(expected).view(shape))


def test_a_new_rezero_changes_nothing() -> None:
    inputs = torch.randn(7, 3)
    assert torch.equal(ReZero()(inputs, torch.randn(7, 3) * 1e6), inputs)


def test_an_alpha_of_one_is_a_plain_skip_connection() -> None:
    gate, inputs, block = ReZero(), torch.randn(7, 3), torch.randn(7, 3)
    nn.init.ones_(gate.alpha)
    assert torch.equal(gate(inputs, block), inputs + block)


def test_in_the_first_step_alpha_learns_and_the_block_does_not() -> None:
    torch.manual_seed(0)
    gate, inputs, block = ReZero(), torch.randn(7, 3), torch.randn(7, 3, requires_grad=True)
    slope = torch.randn(7, 3)
    (gate(inputs, block) * slope).sum().backward()
    assert not block.grad.any()
    # dL / d alpha = sum of (dL / dy) F(x)
    expected = sum(s * f for s, f in zip(slope.flatten().tolist(), block.flatten().tolist(), strict=True))
    assert float(gate.alpha.grad) == pytest.approx(expected, rel=1e-4)


def test_l2_leaves_alpha_alone() -> None:
    assert set(ReZero.without_l2) == {name for name, _ in ReZero().named_parameters()}


@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (4, 2, 3)])
def test_a_highway_mixes_block_and_input_by_its_formula(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    gate = Highway(3)
    nn.init.normal_(gate.transform.weight)
    nn.init.normal_(gate.transform.bias)
    inputs, block = torch.randn(shape), torch.randn(shape)
    weight, bias = gate.transform.weight.tolist(), gate.transform.bias.tolist()
    expected = []
    for x, f in zip(inputs.view(-1, 3).tolist(), block.view(-1, 3).tolist(), strict=True):
        for d in range(3):
            t = 1 / (1 + math.exp(-sum(weight[d][j] * x[j] for j in range(3)) - bias[d]))
            expected.append(t * f[d] + (1 - t) * x[d])
    torch.testing.assert_close(gate(inputs, block), torch.tensor(expected).view(shape))


def test_a_highway_with_a_bias_of_minus_three_takes_a_twentieth_of_the_block() -> None:
    gate, inputs, block = Highway(3), torch.randn(7, 3), torch.randn(7, 3)
    nn.init.zeros_(gate.transform.weight)
    share = 1 / (1 + math.exp(3))
    assert share == pytest.approx(0.047, abs=5e-4)
    torch.testing.assert_close(gate(inputs, block), share * block + (1 - share) * inputs)


def test_a_new_highway_nearly_passes_its_input_on() -> None:
    torch.manual_seed(0)
    gate, inputs = Highway(20), torch.randn(200, 20)
    factor = gate.factor(inputs).detach()
    assert ((factor > 0.03) & (factor < 0.07)).all()
    assert float(factor.mean()) == pytest.approx(0.0474, abs=1e-3)


@pytest.mark.parametrize("bias_start", [-1.0, -4.0])
def test_a_highway_starts_with_its_bias_and_small_weights(bias_start: float) -> None:
    torch.manual_seed(0)
    gate = Highway(200, bias_start=bias_start)
    assert (gate.transform.bias == bias_start).all()
    assert float(gate.transform.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert (Highway(2).transform.bias == -3).all()


@pytest.mark.parametrize(("bias", "passes"), [(-200.0, "inputs"), (200.0, "block")])
def test_a_saturated_highway_passes_one_of_the_two_alone(bias: float, passes: str) -> None:
    gate = Highway(3, bias_start=bias)
    both = {"inputs": torch.randn(7, 3), "block": torch.randn(7, 3)}
    assert torch.equal(gate(**both), both[passes])


def test_a_highway_between_equals_changes_nothing() -> None:
    torch.manual_seed(0)
    gate, inputs = Highway(3), torch.randn(7, 3)
    nn.init.normal_(gate.transform.weight)
    torch.testing.assert_close(gate(inputs, inputs), inputs)
