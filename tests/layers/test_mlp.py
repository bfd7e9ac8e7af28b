"""The MLP's order of parts and its start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ctrgate.layers.jagged import mean_divisor
from ctrgate.layers.mlp import Mlp
from ctrgate.layers.projections import NumberProjection, VectorProjection


def test_a_block_is_linear_norm_activation_dropout_and_the_output_plain() -> None:
    mlp = Mlp(4, hidden_dims=(8, 3), output_dim=2, dropout=(0.1, 0.0), batch_norm=True)
    kinds = [type(part) for part in mlp.blocks]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
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
