"""Convolutions over events against a loop over rows, events and taps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ctrgate.layers.convolution import GatedConvolution, HistoryConvolution

LENGTHS = [5, 1, 0, 3]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def naive(conv: HistoryConvolution, row: torch.Tensor, *, causal: bool, depthwise: bool) -> torch.Tensor:
    """One history without its padding: torch's kernels have the oldest event first."""
    kernel, bias = conv.conv.weight, conv.conv.bias
    width = kernel.size(2)
    found = []
    for event in range(len(row)):
        total = bias.clone()
        for tap in range(width):
            seen = event + tap - (width - 1 if causal else width // 2)
            if 0 <= seen < len(row):
                total += kernel[:, 0, tap] * row[seen] if depthwise else kernel[:, :, tap] @ row[seen]
        found.append(total)
    return torch.stack(found) if found else row


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("width", [1, 3, 7])
def test_a_convolution_over_events_is_its_formula_and_sees_no_padding(
    causal: bool, depthwise: bool, width: int
) -> None:
    torch.manual_seed(0)
    conv = HistoryConvolution(3, conv_width=width, causal=causal, depthwise=depthwise)
    x = torch.randn(4, 5, 3)
    with torch.no_grad():
        found = conv(x, MASK)
        for row, length in enumerate(LENGTHS):
            expected = naive(conv, x[row, :length], causal=causal, depthwise=depthwise)
            torch.testing.assert_close(found[row, :length], expected)
            assert not found[row, length:].any()


def test_a_causal_convolution_may_have_an_even_width() -> None:
    conv, x = HistoryConvolution(3, conv_width=4), torch.randn(4, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, MASK)[0], naive(conv, x[0], causal=True, depthwise=False))


@pytest.mark.parametrize("causal", [True, False])
def test_a_gated_convolution_is_its_formula(causal: bool) -> None:
    torch.manual_seed(0)
    gated = GatedConvolution(3, causal=causal)
    x = torch.randn(4, 5, 3)
    with torch.no_grad():
        found = gated(x, MASK)
        for row, length in enumerate(LENGTHS):
            value, logit = (
                naive(part, x[row, :length], causal=causal, depthwise=False) for part in (gated.value, gated.gate)
            )
            torch.testing.assert_close(found[row, :length], value / (1 + torch.exp(-logit)))
            assert not found[row, length:].any()


def test_a_gated_convolution_with_an_open_gate_is_the_plain_one() -> None:
    gated, x = GatedConvolution(3), torch.randn(4, 5, 3)
    nn.init.zeros_(gated.gate.conv.weight)
    nn.init.constant_(gated.gate.conv.bias, 100.0)
    assert torch.equal(gated(x, MASK), gated.value(x, MASK))


@pytest.mark.parametrize(("causal", "sees"), [(True, False), (False, True)])
def test_only_a_centred_convolution_looks_ahead(causal: bool, sees: bool) -> None:
    gated, x, mask = GatedConvolution(3, causal=causal), torch.randn(1, 5, 3), MASK[:1]
    changed = x.clone()
    changed[:, 3] += 1
    assert torch.allclose(gated(x, mask)[:, :3], gated(changed, mask)[:, :3]) is not sees
    assert not torch.allclose(gated(x, mask)[:, 3], gated(changed, mask)[:, 3])


def test_a_gated_convolution_exports_with_a_free_batch_size() -> None:
    gated, free = GatedConvolution(3), {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(gated, (torch.randn(4, 5, 3), MASK), dynamic_shapes=(free, free)).module()
    x = torch.randn(1, 5, 3)
    torch.testing.assert_close(program(x, MASK[3:]), gated(x, MASK[3:]))
