"""The MLP's order of parts and its start."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.layers.batch_norm import BatchNorm, Relu
from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear
from ctrgate.layers.jagged import mean_divisor
from ctrgate.layers.mlp import Mlp
from ctrgate.layers.projections import NumberProjection, VectorProjection


def test_a_block_is_linear_norm_activation_dropout_and_the_output_plain() -> None:
    mlp = Mlp(4, hidden_dims=(8, 3), output_dim=2, dropout=(0.1, 0.0), batch_norm=True)
    kinds = [type(part) for part in mlp.blocks]
    block = [nn.Linear, BatchNorm, Relu]
    assert kinds == [*block, nn.Dropout, *block, nn.Linear]
    assert mlp.out_dim == 2


def test_an_mlp_equals_its_matrices() -> None:
    mlp = Mlp(4, hidden_dims=(8,), output_dim=1)
    inputs = torch.randn(5, 4)
    first, last = mlp.blocks[0], mlp.blocks[-1]
    expected = (inputs @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(mlp(inputs), expected)


def test_linear_layers_start_xavier_normal_with_zero_bias() -> None:
    torch.manual_seed(0)
    layer = Mlp(300, hidden_dims=(500,)).blocks[0]
    assert float(layer.weight.detach().std()) == pytest.approx((2 / 800) ** 0.5, rel=0.02)
    assert not layer.bias.any()


def test_a_number_is_its_vector_scaled_and_zero_stays_zero() -> None:
    projection = NumberProjection(3)
    result = projection(torch.tensor([[2.0], [0.0]]))
    torch.testing.assert_close(result, torch.stack([2 * projection.weight[0], torch.zeros(3)]))
    assert VectorProjection(5, 3)(torch.randn(2, 5)).shape == (2, 3)


def test_the_divisor_of_an_empty_bag_is_one() -> None:
    lengths = torch.tensor([2, 0, 1])
    assert mean_divisor(lengths, None)[:, 0].tolist() == [2, 1, 1]
    assert mean_divisor(lengths, torch.tensor([0.5, 0.25, 3.0]))[:, 0].tolist() == [0.75, 1, 3]


@pytest.mark.parametrize("activation", ["relu", "glu"])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_factor_multiplies_the_inputs_whether_it_is_of_each_row_or_of_all(
    rows: int, activation: Literal["relu", "glu"]
) -> None:
    torch.manual_seed(0)
    mlp = Mlp(4, hidden_dims=(8, 3), activation=activation, batch_norm=True)
    inputs, factor = torch.randn(5, 4, requires_grad=True), torch.rand(rows, 4, requires_grad=True)
    moved = [inputs, factor, *mlp.parameters()]
    found, expected = mlp(inputs, factor), mlp(inputs * factor)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(output.square().sum(), moved, allow_unused=True) for output in (found, expected))
    for name, ours, theirs in zip(["inputs", "factor", *dict(mlp.named_parameters())], *gradients, strict=True):
        assert (ours is None) == (theirs is None) == (name in mlp.untrained()), name
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_untrained_are_the_biases_before_a_norm_and_no_others() -> None:
    normed = Mlp(4, hidden_dims=(8, 3), output_dim=2, batch_norm=True)
    assert set(normed.untrained()) == {"blocks.0.bias", "blocks.3.bias"}
    assert Mlp(4, hidden_dims=(8, 3), output_dim=2).untrained() == {}


@pytest.mark.parametrize("unit", ["glu", "swiglu", "geglu"])
def test_a_gated_unit_stands_for_linear_and_activation_before_the_norm(unit: Literal["glu", "swiglu", "geglu"]) -> None:
    mlp = Mlp(4, hidden_dims=(8, 3), output_dim=2, activation=unit, dropout=(0.1, 0.0), batch_norm=True)
    block = [GatedLinear, BatchNorm]
    assert [type(part) for part in mlp.blocks] == [*block, nn.Dropout, *block, nn.Linear]
    assert [tuple(p.shape) for p in mlp.blocks[3].parameters()] == [(3, 8), (3,), (3, 8), (3,)]
    assert mlp(torch.randn(5, 4)).shape == (5, 2)


@pytest.mark.parametrize("unit", ["glu", "swiglu", "geglu"])
def test_an_mlp_of_gated_units_is_its_formula(unit: Literal["glu", "swiglu", "geglu"]) -> None:
    torch.manual_seed(0)
    phi = {
        "glu": lambda x: 1 / (1 + math.exp(-x)),
        "swiglu": lambda x: x / (1 + math.exp(-x)),
        "geglu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    }[unit]
    mlp = Mlp(4, hidden_dims=(3, 2), output_dim=1, activation=unit)
    for parameter in mlp.parameters():
        nn.init.normal_(parameter)
    *units, last = mlp.blocks
    inputs = torch.randn(5, 4)
    for row, found in zip(inputs.tolist(), mlp(inputs).tolist(), strict=True):
        for layer in units:
            row = [v * phi(g) for v, g in zip(_linear(layer.value, row), _linear(layer.gate, row), strict=True)]
        assert found == pytest.approx(_linear(last, row), rel=1e-4)


def _linear(layer: nn.Linear, row: list[float]) -> list[float]:
    lines = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in lines]


@pytest.mark.parametrize("activation", ["xgelu", "xsilu", "xatlu"])
def test_an_expanded_activation_follows_the_norm_and_every_block_has_its_own_alpha(
    activation: Literal["xgelu", "xsilu", "xatlu"],
) -> None:
    mlp = Mlp(4, hidden_dims=(8, 3), activation=activation, batch_norm=True)
    block = [nn.Linear, BatchNorm, ExpandedActivation]
    assert [type(part) for part in mlp.blocks] == block * 2
    first, second = mlp.blocks[2], mlp.blocks[5]
    assert first.alpha is not second.alpha
    nn.init.constant_(first.alpha, 0.5)
    # activations of alpha 0.5 and 0 differ by 0.5 (2 g - 1) x; here x = -1
    gate = {"xgelu": 0.15865525, "xsilu": 0.26894142, "xatlu": 0.25}[activation]
    minus_one = torch.tensor([-1.0])
    assert float((first(minus_one) - second(minus_one)).detach()) == pytest.approx(-0.5 * (2 * gate - 1), rel=1e-5)


@pytest.mark.parametrize(("expanded", "plain"), [("xgelu", "gelu"), ("xsilu", "silu")])
def test_a_new_mlp_of_expanded_activations_is_the_plain_one(
    expanded: Literal["xgelu", "xsilu"], plain: Literal["gelu", "silu"]
) -> None:
    mlps = []
    for activation in (expanded, plain):
        torch.manual_seed(0)
        mlps.append(Mlp(4, hidden_dims=(8, 3), output_dim=1, activation=activation))
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(mlps[0](inputs), mlps[1](inputs))
