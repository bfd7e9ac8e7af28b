"""Units that gate themselves: formulas, starts and the limits in which they are plain layers and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import nn
from torch.nn import functional

from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear, SpatialGate

Glu = Literal["glu", "swiglu", "geglu"]
Expanded = Literal["xgelu", "xsilu", "xatlu"]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def normal(x: float) -> float:
    """The normal distribution function."""
    return (1 + math.erf(x / math.sqrt(2))) / 2


PHI: dict[str, Callable[[float], float]] = {
    "glu": sigmoid,
    "swiglu": lambda x: x * sigmoid(x),
    "geglu": lambda x: x * normal(x),
}
OWN_GATE: dict[str, Callable[[float], float]] = {
    "xgelu": normal,
    "xsilu": sigmoid,
    "xatlu": lambda x: (math.atan(x) + math.pi / 2) / math.pi,
}


def linear(layer: nn.Linear, row: list[float]) -> list[float]:
    """``W x + b`` of one row, one output at a time."""
    lines = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in lines]


@pytest.mark.parametrize("kind", PHI)
@pytest.mark.parametrize("shape", [(1, 4), (5, 4), (5, 2, 4)])
def test_a_gated_linear_layer_is_its_formula(kind: Glu, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = GatedLinear(4, 3, kind=kind)
    nn.init.normal_(layer.value.bias)
    nn.init.normal_(layer.gate.bias)
    inputs = torch.randn(shape)
    expected = [
        value * PHI[kind](logit)
        for row in inputs.view(-1, 4).tolist()
        for value, logit in zip(linear(layer.value, row), linear(layer.gate, row), strict=True)
    ]
    torch.testing.assert_close(layer(inputs), torch.tensor(expected).view(*shape[:-1], 3))


def test_a_gated_linear_layer_is_swiglu_unless_told_otherwise() -> None:
    layer, inputs = GatedLinear(4, 3), torch.randn(5, 4)
    torch.testing.assert_close(layer(inputs), layer.value(inputs) * functional.silu(layer.gate(inputs)))


@pytest.mark.parametrize("kind", PHI)
def test_with_a_gate_of_one_a_gated_linear_layer_is_the_plain_one(kind: Glu) -> None:
    low, high = 0.0, 50.0
    for _ in range(100):  # phi rises for positive x: halve the interval until phi is one
        middle = (low + high) / 2
        low, high = (low, middle) if PHI[kind](middle) >= 1 else (middle, high)
    layer, inputs = GatedLinear(4, 3, kind=kind), torch.randn(5, 4)
    nn.init.normal_(layer.value.bias)
    nn.init.zeros_(layer.gate.weight)
    nn.init.constant_(layer.gate.bias, high)
    torch.testing.assert_close(layer(inputs), inputs @ layer.value.weight.T + layer.value.bias)


@pytest.mark.parametrize("kind", PHI)
def test_both_halves_of_a_gated_linear_layer_start_xavier_normal_with_zero_bias(kind: Glu) -> None:
    torch.manual_seed(0)
    layer = GatedLinear(300, 500, kind=kind)
    for half in (layer.value, layer.gate):
        assert float(half.weight.detach().std()) == pytest.approx((2 / 800) ** 0.5, rel=0.02)
        assert not half.bias.any()
    assert not torch.equal(layer.value.weight, layer.gate.weight)


def test_a_gated_linear_layer_costs_two_linear_ones() -> None:
    assert sum(p.numel() for p in GatedLinear(4, 3).parameters()) == 2 * (4 * 3 + 3)


@pytest.mark.parametrize("kind", OWN_GATE)
@pytest.mark.parametrize("alpha", [-0.2, 0.0, 0.3, 1.5])
def test_an_expanded_activation_is_its_formula(kind: Expanded, alpha: float) -> None:
    activation = ExpandedActivation(kind)
    nn.init.constant_(activation.alpha, alpha)
    inputs = torch.linspace(-6, 6, 49).view(7, 7)
    expected = [x * (OWN_GATE[kind](x) * (1 + 2 * alpha) - alpha) for x in inputs.flatten().tolist()]
    torch.testing.assert_close(activation(inputs), torch.tensor(expected).view(7, 7))


@pytest.mark.parametrize(("kind", "plain"), [("xgelu", functional.gelu), ("xsilu", functional.silu)])
def test_a_new_expanded_activation_is_the_plain_one(
    kind: Expanded, plain: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    inputs = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(ExpandedActivation(kind)(inputs), plain(inputs))


@pytest.mark.parametrize("kind", OWN_GATE)
def test_the_factor_of_an_expanded_activation_leaves_zero_to_one_by_alpha(kind: Expanded) -> None:
    activation = ExpandedActivation(kind)
    nn.init.constant_(activation.alpha, 0.25)
    low, middle, high = activation.factor(torch.tensor([-1e6, 0.0, 1e6])).tolist()
    assert (low, middle, high) == pytest.approx((-0.25, 0.5, 1.25), abs=1e-5)


@pytest.mark.parametrize("kind", OWN_GATE)
def test_alpha_learns_from_the_first_step(kind: Expanded) -> None:
    activation, inputs = ExpandedActivation(kind), torch.tensor([-1.0, 0.5, 2.0])
    activation(inputs).sum().backward()
    # dy / d alpha = x (2 g(x) - 1)
    expected = sum(x * (2 * OWN_GATE[kind](x) - 1) for x in inputs.tolist())
    assert float(activation.alpha.grad) == pytest.approx(expected, rel=1e-5)


def test_l2_leaves_alpha_alone() -> None:
    assert set(ExpandedActivation.without_l2) == {name for name, _ in ExpandedActivation().named_parameters()}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_spatial_gate_is_its_formula(batch_size: int) -> None:
    torch.manual_seed(0)
    gate = SpatialGate(3, 8)
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    features = torch.randn(batch_size, 3, 8)
    scale, shift = gate.norm.weight.tolist(), gate.norm.bias.tolist()
    mix, bias = gate.mix.weight.tolist(), gate.mix.bias.tolist()
    expected = torch.empty(batch_size, 3, 4)
    for b, row in enumerate(features.tolist()):
        normed = []
        for field in row:
            second = field[4:]
            mean = sum(second) / 4
            spread = math.sqrt(sum((v - mean) ** 2 for v in second) / 4 + 1e-5)
            normed.append([(v - mean) / spread * a + s for v, a, s in zip(second, scale, shift, strict=True)])
        for f in range(3):
            for n in range(4):
                expected[b, f, n] = row[f][n] * (sum(mix[f][k] * normed[k][n] for k in range(3)) + bias[f])
    torch.testing.assert_close(gate(features), expected)


def test_a_new_spatial_gate_passes_the_first_half_on() -> None:
    torch.manual_seed(0)
    features = torch.randn(5, 4, 6)
    torch.testing.assert_close(SpatialGate(4, 6)(features), features[:, :, :3], rtol=1e-4, atol=0)


def test_a_spatial_gate_starts_with_tiny_weights_and_a_bias_of_one() -> None:
    torch.manual_seed(0)
    gate = SpatialGate(200, 6)
    assert float(gate.mix.weight.detach().std()) == pytest.approx(1e-6, rel=0.02)
    assert (gate.mix.bias == 1).all()


def test_a_spatial_gate_hears_other_fields_and_no_other_coordinate() -> None:
    torch.manual_seed(0)
    gate, features = SpatialGate(3, 8), torch.randn(1, 3, 8)
    nn.init.normal_(gate.mix.weight)
    nn.init.zeros_(gate.norm.weight)
    gate.norm.bias.data = torch.tensor([1.0, 0.0, 0.0, 0.0])  # LN(v) is this for every field: only coordinate 0 speaks
    factor = gate.factor(features).detach()
    torch.testing.assert_close(factor[0, :, 0], gate.mix.weight.detach().sum(dim=1) + 1)
    assert (factor[0, :, 1:] == 1).all()
