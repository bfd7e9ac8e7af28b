"""FinalNet's layers against their formulas."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.layers.batch_norm import BatchNorm, Relu
from ctrgate.layers.factorized import FactorizedLinear, FactorizedMlp


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("residual", ["concat", "sum"])
def test_a_factorized_layer_multiplies_its_halves(batch_size: int, residual: Literal["concat", "sum"]) -> None:
    torch.manual_seed(0)
    layer = FactorizedLinear(3, 4, residual=residual)
    nn.init.normal_(layer.linear.bias)
    inputs = torch.randn(batch_size, 3)
    weight, bias = layer.linear.weight.tolist(), layer.linear.bias.tolist()
    expected = []
    for row in inputs.tolist():
        hidden = [sum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in zip(weight, bias, strict=True)]
        half = len(hidden) // 2
        second, first = hidden[:half], hidden[half:]
        products = [a * b for a, b in zip(first, second, strict=True)]
        joined = second + products if residual == "concat" else [a + b for a, b in zip(second, products, strict=True)]
        expected.append(joined)
    torch.testing.assert_close(layer(inputs), torch.tensor(expected))


@pytest.mark.parametrize(("residual", "count"), [("concat", 4 * 3 + 4), ("sum", 2 * (4 * 3 + 4))])
def test_concat_costs_a_linear_layer_and_sum_twice_that(residual: Literal["concat", "sum"], count: int) -> None:
    assert sum(p.numel() for p in FactorizedLinear(3, 4, residual=residual).parameters()) == count


def test_an_odd_width_has_no_halves() -> None:
    with pytest.raises(ValueError, match="width 5 has no halves"):
        FactorizedLinear(3, 5)
    assert FactorizedLinear(3, 5, residual="sum")(torch.ones(2, 3)).shape == (2, 5)


def test_with_a_first_half_of_zero_a_layer_is_linear_in_its_second() -> None:
    layer = FactorizedLinear(3, 4, residual="sum")
    nn.init.zeros_(layer.linear.weight[4:])
    inputs = torch.randn(5, 3)
    torch.testing.assert_close(layer(inputs), inputs @ layer.linear.weight[:4].T)


def test_a_block_is_factorized_norm_activation_dropout() -> None:
    mlp = FactorizedMlp(3, hidden_dims=(4, 2), dropout=0.1)
    block = [FactorizedLinear, BatchNorm, Relu, nn.Dropout]
    assert [type(part) for part in mlp.blocks] == block * 2
    assert mlp.out_dim == 2
    assert mlp.eval()(torch.randn(1, 3)).shape == (1, 2)
