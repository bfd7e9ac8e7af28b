"""Cross layers against loops, and where one becomes the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ctrgate.layers.cross import CrossNet, GatedCross, MatrixCross, VectorCross

BATCHES = pytest.mark.parametrize("batch_size", [1, 4])


def rows(batch_size: int, *, dim: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(batch_size, dim), torch.randn(batch_size, dim)


def matrix_of(layer: nn.Module) -> torch.Tensor:
    """A square layer's matrix, multiplied out where it has a rank."""
    if isinstance(layer, nn.Sequential):
        return layer[1].weight.detach() @ layer[0].weight.detach()
    return layer.weight.detach()


@BATCHES
def test_a_vector_cross_is_its_formula(batch_size: int) -> None:
    inputs, current = rows(batch_size)
    layer = VectorCross(3)
    nn.init.normal_(layer.bias)
    expected = torch.empty_like(inputs)
    for b in range(batch_size):
        scale = float(layer.weight.weight[0].detach() @ current[b])
        for d in range(3):
            expected[b, d] = float(inputs[b, d]) * scale + float(layer.bias.detach()[d]) + float(current[b, d])
    torch.testing.assert_close(layer(inputs, current), expected)


@BATCHES
@pytest.mark.parametrize("rank", [None, 2])
def test_a_matrix_cross_is_its_formula(batch_size: int, rank: int | None) -> None:
    inputs, current = rows(batch_size)
    layer = MatrixCross(3, rank=rank)
    bias = (layer.weight[1] if rank else layer.weight).bias
    nn.init.normal_(bias)
    matrix, expected = matrix_of(layer.weight), torch.empty_like(inputs)
    for b in range(batch_size):
        for d in range(3):
            inner = sum(float(matrix[d, j]) * float(current[b, j]) for j in range(3)) + float(bias.detach()[d])
            expected[b, d] = float(inputs[b, d]) * inner + float(current[b, d])
    torch.testing.assert_close(layer(inputs, current), expected)


@BATCHES
@pytest.mark.parametrize("rank", [None, 2])
def test_a_gated_cross_is_its_formula(batch_size: int, rank: int | None) -> None:
    inputs, current = rows(batch_size)
    layer = GatedCross(3, rank=rank)
    matrix, gate, expected = matrix_of(layer.weight), matrix_of(layer.gate.weight), torch.empty_like(inputs)
    for b in range(batch_size):
        for d in range(3):
            crossed = sum(float(matrix[d, j]) * float(current[b, j]) for j in range(3)) + float(layer.bias.detach()[d])
            logit = sum(float(gate[d, j]) * float(current[b, j]) for j in range(3))
            factor = 1 / (1 + math.exp(-logit))
            expected[b, d] = float(inputs[b, d]) * crossed * factor + float(current[b, d])
    torch.testing.assert_close(layer(inputs, current), expected)


def test_a_gate_forced_to_one_leaves_dcn_v2s_layer() -> None:
    class Open(nn.Module):
        def forward(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            return features.expand_as(context)

    inputs, current = rows(5)
    gated, plain = GatedCross(3), MatrixCross(3)
    gated.gate = Open()
    plain.weight.load_state_dict({"weight": gated.weight.weight, "bias": gated.bias})
    assert torch.equal(gated(inputs, current), plain(inputs, current))


def test_zero_gate_weights_halve_the_new_products() -> None:
    inputs, current = rows(5)
    layer = GatedCross(3)
    nn.init.zeros_(layer.gate.weight.weight)
    products = inputs * (layer.weight(current) + layer.bias)
    torch.testing.assert_close(layer(inputs, current), products / 2 + current)


def test_without_weight_and_bias_a_gated_cross_is_the_identity() -> None:
    inputs, current = rows(5)
    layer = GatedCross(3, bias_start="zero")
    nn.init.zeros_(layer.weight.weight)
    assert torch.equal(layer(inputs, current), current)


def test_the_bias_starts_uniform_in_zero_to_one_unless_told_otherwise() -> None:
    torch.manual_seed(0)
    bias = GatedCross(2000).bias.detach()
    assert ((bias >= 0) & (bias < 1)).all()
    assert float(bias.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(bias.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.02)
    assert not GatedCross(20, bias_start="zero").bias.any()


def test_every_layer_of_a_cross_net_sees_the_input_again() -> None:
    inputs, _ = rows(4)
    first, second = VectorCross(3), VectorCross(3)
    torch.testing.assert_close(CrossNet([first, second])(inputs), second(inputs, first(inputs, inputs)))


def test_a_cross_net_reaches_one_order_more_with_each_layer() -> None:
    net = CrossNet(MatrixCross(1) for _ in range(3))
    for layer in net.layers:
        nn.init.ones_(layer.weight.weight)
    # c' = x c + c = c (1 + x), so that three layers on x give x (1 + x)^3
    inputs = torch.tensor([[2.0], [-3.0]])
    torch.testing.assert_close(net(inputs), inputs * (1 + inputs) ** 3)
