"""Attention over a history against a loop over rows, heads and events."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import nn

from ctrgate.layers import causal_attention
from ctrgate.layers.causal_attention import CausalAttention, HistoryAttentionGate

Gate = Literal["none", "head", "element"]
LENGTHS = [5, 1, 0, 3]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def naive(layer: CausalAttention, x: torch.Tensor, q: torch.Tensor, *, heads: int, causal: bool) -> torch.Tensor:
    """One row without its padding, event by event."""
    queries, keys, values = (q @ layer.query.weight.T + layer.query.bias), x @ layer.key.weight.T, layer.value(x)
    width = x.size(1) // heads
    found = torch.zeros_like(x)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for event in range(len(x)):
            seen = range(event + 1) if causal else range(len(x))
            logits = [float(queries[event, part] @ keys[other, part]) / math.sqrt(width) for other in seen]
            total = sum(math.exp(logit) for logit in logits)
            for other, logit in zip(seen, logits, strict=True):
                found[event, part] += math.exp(logit) / total * values[other, part]
            if layer.gate is not None:
                lines = layer.gate.weight.weight
                lines = lines[head : head + 1] if len(lines) == heads != x.size(1) else lines[part]
                found[event, part] *= torch.sigmoid(lines @ q[event])
    return found @ layer.output.weight.T + layer.output.bias


def layer_of(**options: object) -> CausalAttention:
    torch.manual_seed(0)
    layer = CausalAttention(6, **options)
    for linear in (layer.query, layer.output):
        nn.init.normal_(linear.bias)
    return layer


@pytest.mark.parametrize("gate", ["none", "head", "element"])
@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("own_queries", [True, False])
def test_attention_over_a_history_is_its_formula_and_zero_at_padding(
    gate: Gate, heads: int, causal: bool, own_queries: bool
) -> None:
    layer = layer_of(num_heads=heads, gate=gate, causal=causal)
    x = torch.randn(4, 5, 6)
    queries = torch.randn(4, 5, 6) if own_queries else None
    with torch.no_grad():
        found = layer(x, MASK, queries)
        for row, length in enumerate(LENGTHS):
            events, asked = x[row, :length], (x if queries is None else queries)[row, :length]
            expected = naive(layer, events, asked, heads=heads, causal=causal)
            torch.testing.assert_close(found[row, :length], expected)
            assert not found[row, length:].any()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block", [2, 100])
def test_the_way_with_dropout_is_the_other_one_where_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch, causal: bool, block: int
) -> None:
    monkeypatch.setattr(causal_attention, "_BLOCK", block)
    layer = layer_of(num_heads=2, dropout=1e-6, causal=causal).train()  # rounded to zero
    plain = layer_of(num_heads=2, causal=causal)
    x = torch.randn(4, 5, 6)
    torch.testing.assert_close(layer(x, MASK), plain(x, MASK))
    pull = torch.randn(4, 5, 6)
    for one in (layer, plain):
        (one(x, MASK) * pull).sum().backward()
    for (name, p), q in zip(layer.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


@pytest.mark.parametrize("causal", [True, False])
def test_dropout_takes_weights_at_their_rate_and_keeps_the_mean(causal: bool) -> None:
    layer = CausalAttention(4, num_heads=1, dropout=0.3, causal=causal).train()
    for linear in (layer.key, layer.value, layer.output):
        nn.init.eye_(linear.weight)
    nn.init.zeros_(layer.query.weight)  # equal weights
    x, mask = torch.ones(20_000, 2, 4), torch.ones(20_000, 2, dtype=torch.bool)
    second = layer(x, mask)[:, 1, 0].detach()  # a half of each of two, either of which may be dropped
    shares = [float((second - kept / 2 / 0.7).abs().lt(1e-4).float().mean()) for kept in (0, 1, 2)]
    assert shares == pytest.approx([0.09, 0.42, 0.49], abs=0.015)
    assert torch.equal(layer.eval()(x, mask), torch.ones_like(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gate", ["none", "head", "element"])
@pytest.mark.parametrize("causal", [True, False])
def test_rows_without_any_event_are_zero_and_break_no_gradient(gate: Gate, causal: bool, training: bool) -> None:
    layer = layer_of(num_heads=2, dropout=0.2, gate=gate, causal=causal).train(training)
    x = torch.randn(4, 5, 6, requires_grad=True)
    found = layer(x, MASK)
    assert found.isfinite().all()
    assert not found[2].any()
    found.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_what_lies_in_the_padding_is_of_no_consequence(causal: bool, training: bool) -> None:
    layer = layer_of(num_heads=2, dropout=1e-6, causal=causal).train(training)
    x = torch.randn(4, 5, 6)
    other = torch.where(MASK.unsqueeze(2), x, torch.full_like(x, 50.0))
    torch.testing.assert_close(layer(x, MASK), layer(other, MASK))


def test_a_later_event_changes_no_earlier_value_unless_all_are_seen() -> None:
    x, mask = torch.randn(1, 5, 6), torch.ones(1, 5, dtype=torch.bool)
    changed = x.clone()
    changed[:, 3] += 1
    causal, seeing = layer_of(num_heads=2), layer_of(num_heads=2, causal=False)
    torch.testing.assert_close(causal(x, mask)[:, :3], causal(changed, mask)[:, :3], rtol=0, atol=0)
    assert not torch.allclose(causal(x, mask)[:, 3:], causal(changed, mask)[:, 3:])
    assert not torch.allclose(seeing(x, mask)[:, :3], seeing(changed, mask)[:, :3])


@pytest.mark.parametrize("gate", ["none", "head", "element"])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_exports_with_a_free_batch_size(gate: Gate, causal: bool) -> None:
    layer = layer_of(num_heads=2, dropout=0.2, gate=gate, causal=causal).eval()
    free = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(layer, (torch.randn(4, 5, 6), MASK), dynamic_shapes=(free, free)).module()
    for rows in (1, 3):
        x, mask = torch.randn(rows, 5, 6), MASK[-rows:]
        torch.testing.assert_close(program(x, mask), layer(x, mask))


@pytest.mark.parametrize("per", ["head", "element"])
def test_a_gate_without_weight_halves_what_enters_the_output_layer(per: Literal["head", "element"]) -> None:
    gated, plain = layer_of(num_heads=2, gate=per), layer_of(num_heads=2)
    assert gated.load_state_dict(plain.state_dict(), strict=False).missing_keys == ["gate.weight.weight"]
    nn.init.zeros_(gated.gate.weight.weight)
    x, bias = torch.randn(4, 5, 6), plain.output.bias
    expected = (plain(x, MASK) - bias) / 2 + bias
    torch.testing.assert_close(gated(x, MASK), expected * MASK.unsqueeze(2))


@pytest.mark.parametrize(("per", "count"), [("head", 2), ("element", 6)])
def test_a_gate_of_heads_has_one_factor_for_each(per: Literal["head", "element"], count: int) -> None:
    gate = HistoryAttentionGate(6, num_heads=2, per=per)
    assert [p.shape for p in gate.parameters()] == [(count, 6)]
    features, context = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    factor = gate.factor(context)
    assert factor.shape == (3, 4, count)
    wide = factor.repeat_interleave(6 // count, dim=2)
    torch.testing.assert_close(gate(features, context), features * wide)
