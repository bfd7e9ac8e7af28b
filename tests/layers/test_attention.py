"""Attention over fields against a loop over rows, heads and fields."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.layers.attention import AttentionGate, FieldAttention


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


def naive_gate(gate: AttentionGate, row: torch.Tensor, *, heads: int, width: int, per: str) -> torch.Tensor:
    """``sigmoid(G x)`` of one row, ``(H, F, D')``, one field, head and coordinate at a time."""
    lines, factor = gate.weight.weight.tolist(), torch.empty(heads, len(row), width)
    for head in range(heads):
        for field, values in enumerate(row.tolist()):
            for d in range(width):
                line = lines[head if per == "head" else head * width + d]
                factor[head, field, d] = 1 / (1 + math.exp(-sum(g * x for g, x in zip(line, values, strict=True))))
    return factor


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("per", ["head", "element"])
def test_an_attention_gate_is_its_formula(batch_size: int, heads: int, per: Literal["head", "element"]) -> None:
    torch.manual_seed(0)
    gate = AttentionGate(4, num_heads=heads, head_dim=3, per=per)
    features, fields = torch.randn(batch_size, heads, 5, 3), torch.randn(batch_size, 5, 4)
    for b in range(batch_size):
        factor = naive_gate(gate, fields[b], heads=heads, width=3, per=per)
        torch.testing.assert_close(gate(features, fields)[b], features[b] * factor)
    assert gate.factor(fields).shape == (batch_size, heads, 5, 1 if per == "head" else 3)


@pytest.mark.parametrize("per", ["head", "element"])
def test_an_attention_gate_without_weight_halves(per: Literal["head", "element"]) -> None:
    gate, features = AttentionGate(4, num_heads=2, head_dim=3, per=per), torch.randn(7, 2, 5, 3)
    nn.init.zeros_(gate.weight.weight)
    assert torch.equal(gate(features, torch.randn(7, 5, 4)), features / 2)


@pytest.mark.parametrize(("per", "count"), [("head", 400), ("element", 1200)])
def test_an_attention_gate_starts_xavier_normal_and_has_no_bias(per: Literal["head", "element"], count: int) -> None:
    torch.manual_seed(0)
    gate = AttentionGate(200, num_heads=400, head_dim=3, per=per)
    assert [p.shape for p in gate.parameters()] == [(count, 200)]
    assert float(gate.weight.weight.detach().std()) == pytest.approx((2 / (200 + count)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("per", ["head", "element"])
def test_gated_field_attention_gates_what_attention_found_and_not_the_residual(
    batch_size: int, heads: int, per: Literal["head", "element"]
) -> None:
    torch.manual_seed(0)
    layer = FieldAttention(3, attention_dim=4, num_heads=heads, gate=per)
    fields, width = torch.randn(batch_size, 5, 3), 4 // heads
    with torch.no_grad():
        for found, row in zip(layer(fields), fields, strict=True):
            factor = naive_gate(layer.gate, row, heads=heads, width=width, per=per)
            mixed = naive(layer, row, heads=heads, scaled=True)
            for head in range(heads):
                mixed[:, head * width : (head + 1) * width] *= factor[head]
            torch.testing.assert_close(found, (mixed + layer.residual(row)).relu())


@pytest.mark.parametrize("per", ["head", "element"])
def test_field_attention_with_an_open_gate_is_the_ungated_one(per: Literal["head", "element"]) -> None:
    gated, plain = (
        FieldAttention(4, attention_dim=4, num_heads=2, gate=per),
        FieldAttention(4, attention_dim=4, num_heads=2),
    )
    left = gated.load_state_dict(plain.state_dict(), strict=False)
    assert (left.missing_keys, left.unexpected_keys) == (["gate.weight.weight"], [])
    nn.init.constant_(gated.gate.weight.weight, 100.0)
    fields = torch.rand(2, 5, 4) + 1  # positive, so that every logit is large
    assert torch.equal(gated(fields), plain(fields))
