"""Mamba against its formulas, one event at a time: start, causality and padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.mamba import Mamba
from ctrgate.models.network import Network


def naive(layer: Mamba, events: Tensor, *, conv_width: int, state_dim: int) -> Tensor:
    """One row without padding."""
    channels, rates = layer.D.numel(), -torch.exp(layer.A_log)
    kernel, bias = layer.conv.conv.weight[:, 0], layer.conv.conv.bias
    rank = layer.dt_proj.in_features
    entered = [layer.in_proj.weight @ event for event in events]
    state, found = torch.zeros(channels, state_dim), []
    for place, now in enumerate(entered):
        convolved = bias.clone()
        for back in range(min(conv_width, place + 1)):
            convolved = convolved + kernel[:, conv_width - 1 - back] * entered[place - back][:channels]
        u = convolved * torch.sigmoid(convolved)
        selected = layer.x_proj.weight @ u
        taken, read = selected[rank : rank + state_dim], selected[rank + state_dim :]
        delta = torch.log(1 + torch.exp(layer.dt_proj.weight @ selected[:rank] + layer.dt_proj.bias))
        state = torch.exp(delta[:, None] * rates) * state + (delta * u)[:, None] * taken[None]
        y = (state * read).sum(dim=1) + layer.D * u
        gate = now[channels:]
        found.append(layer.out_proj.weight @ (y * gate * torch.sigmoid(gate)))
    return torch.stack(found) if found else torch.zeros(0, events.size(1))


def lengths_mask(lengths: list[int], num_events: int) -> Tensor:
    return torch.arange(num_events) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize(
    ("dim", "sizes"),
    [(4, {"state_dim": 3, "conv_width": 2, "expand": 3}), (20, {"state_dim": 16, "conv_width": 4})],
)
def test_mamba_is_its_formulas_and_an_empty_history_gives_zero(dim: int, sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    layer, lengths = Mamba(dim, **sizes), [9, 1, 0, 4]
    with torch.no_grad():
        layer.A_log += torch.randn_like(layer.A_log)
        layer.D += torch.randn_like(layer.D)
    events = torch.randn(4, 9, dim)
    found = layer(events, lengths_mask(lengths, 9))
    for row, length in enumerate(lengths):
        expected = naive(layer, events[row, :length], conv_width=sizes["conv_width"], state_dim=sizes["state_dim"])
        torch.testing.assert_close(found[row, :length], expected)
        assert not found[row, length:].any()


def test_a_later_event_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    layer, events, mask = Mamba(4), torch.randn(2, 12, 4), torch.ones(2, 12, dtype=torch.bool)
    before = layer(events, mask)
    changed = events.clone()
    changed[:, 7] += 1.0
    after = layer(changed, mask)
    torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0, atol=0)
    assert (after[:, 7:] != before[:, 7:]).any(dim=2).all()


def test_what_lies_in_the_padding_is_of_no_consequence_nor_is_its_side() -> None:
    torch.manual_seed(0)
    layer, events = Mamba(4), torch.randn(2, 9, 4)
    mask = lengths_mask([5, 9], 9)
    expected = layer(events, mask)
    torch.testing.assert_close(layer(torch.where(mask.unsqueeze(2), events, 1e6), mask), expected)
    turned, turned_mask = events[:1].roll(4, dims=1), mask[:1].roll(4, dims=1)
    torch.testing.assert_close(layer(turned, turned_mask)[:, 4:], expected[:1, :5])


def test_mamba_starts_as_the_paper_says_and_l2_leaves_rates_and_skip_alone() -> None:
    torch.manual_seed(0)
    layer = Mamba(64, state_dim=5)
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 6.0).expand(128, 5))
    assert (layer.D == 1).all()
    steps = nn.functional.softplus(layer.dt_proj.bias.detach())
    assert 0.001 <= float(steps.min()) < 0.002
    assert 0.05 < float(steps.max()) <= 0.1001
    assert float(steps.log().mean()) == pytest.approx(math.log(0.01), abs=0.4)
    assert float(layer.dt_proj.weight.detach().abs().max()) <= 0.5  # 4 inputs
    assert set(Mamba.without_l2) == {"A_log", "D"}
    assert Network.spared_by_l2(nn.Sequential(layer)) == {"0.A_log", "0.D"}


def test_the_published_size() -> None:
    """D = 64, N = 32, width 4, expand 2: the layer of Mamba4Rec, counted by hand from its matrices."""
    layer = Mamba(64, state_dim=32)
    expected = 64 * 256 + (128 * 4 + 128) + 128 * (4 + 64) + (4 * 128 + 128) + 128 * 32 + 128 + 128 * 64
    assert sum(p.numel() for p in layer.parameters()) == expected


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_empty_histories_give_finite_numbers_and_gradients(num_rows: int) -> None:
    layer = Mamba(4)
    events = torch.randn(num_rows, 5, 4, requires_grad=True)
    layer(events, torch.zeros(num_rows, 5, dtype=torch.bool)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [events, *layer.parameters()])


def test_bf16_autocast_is_finite_and_near() -> None:
    torch.manual_seed(0)
    layer, events, mask = Mamba(8), torch.randn(3, 20, 8), torch.ones(3, 20, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = layer(events, mask)
    torch.testing.assert_close(near.float(), layer(events, mask), atol=0.02, rtol=0.05)
