"""Attention over fields against a loop over rows, heads and fields."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.layers.attention import FieldAttention


def naive(layer: FieldAttention, row: torch.Tensor, *, heads: int, scaled: bool) -> torch.Tensor:
    """``concat_h(softmax(q k / sqrt(D')) v)`` of one row, field by field."""
    query, key, value = layer.query(row), layer.key(row), layer.value(row)
    width = query.size(1) // heads
    mixed = torch.empty_like(query)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for field in range(len(row)):
            logits = [float((query[field, part] * key[other, part]).sum()) for other in range(len(row))]
            weights = [math.exp(logit / (math.sqrt(width) if scaled else 1)) for logit in logits]
            mixed[field, part] = sum(w * value[other, part] for other, w in enumerate(weights)) / sum(weights)
    return mixed


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("projection", ["linear", "relu"])
@pytest.mark.parametrize("layer_norm", ["none", "before", "after"])
def test_field_attention_is_its_formula(
    batch_size: int,
    heads: int,
    scaled: bool,
    projection: Literal["linear", "relu"],
    layer_norm: Literal["none", "before", "after"],
) -> None:
    torch.manual_seed(0)
    layer = FieldAttention(
        3, attention_dim=4, num_heads=heads, projection=projection, scaled=scaled, layer_norm=layer_norm
    )
    fields = torch.randn(batch_size, 5, 3)
    with torch.no_grad():
        mixed = torch.stack([naive(layer, row, heads=heads, scaled=scaled) + layer.residual(row) for row in fields])
        for found, expected in zip(layer(fields), mixed, strict=True):
            if layer_norm == "before":
                expected = _normalised(expected)
            expected = expected.relu()
            if layer_norm == "after":
                expected = _normalised(expected)
            torch.testing.assert_close(found, expected)


def _normalised(rows: torch.Tensor) -> torch.Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def test_with_zero_queries_every_field_gets_the_mean_value() -> None:
    layer = FieldAttention(3, attention_dim=4, num_heads=2, residual=False)
    nn.init.zeros_(layer.query.weight)
    fields = torch.randn(2, 5, 3)
    mean = layer.value(fields).mean(dim=1, keepdim=True).relu()
    torch.testing.assert_close(layer(fields), mean.expand(2, 5, 4))


def test_equal_widths_need_no_projected_residual_and_zero_values_leave_it() -> None:
    layer = FieldAttention(4, attention_dim=4)
    nn.init.zeros_(layer.value.weight)
    fields = torch.randn(2, 5, 4)
    assert torch.equal(layer(fields), fields.relu())


def test_the_order_of_the_fields_carries_over() -> None:
    layer, fields = FieldAttention(3, attention_dim=4, num_heads=2), torch.randn(2, 5, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(fields[:, order]), layer(fields)[:, order])
