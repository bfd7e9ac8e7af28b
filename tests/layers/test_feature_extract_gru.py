"""FE-GRU against its formulas, one event at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ctrgate.layers.feature_extract_gru import FeatureExtractGRU


def naive(layer: FeatureExtractGRU, events: Tensor) -> Tensor:
    """One row without padding."""
    kernel, bias = layer.conv.conv.weight, layer.conv.conv.bias
    of_input, of_state = layer.gru.weight_ih_l0, layer.gru.weight_hh_l0
    state, found = torch.zeros(events.size(1)), []
    for place in range(len(events)):
        around = [event for event in range(place - 1, place + 2) if 0 <= event < len(events)]
        x = bias + sum(kernel[:, :, event - place + 1] @ events[event] for event in around)
        reset, update, new = (of_input @ x).chunk(3)
        kept_reset, kept_update, kept_new = (of_state @ state).chunk(3)
        update = torch.sigmoid(update + kept_update)
        new = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
        state = (1 - update) * new + update * state
        found.append(state)
    return torch.stack(found)


def test_a_feature_extract_gru_is_its_formulas_and_sees_no_padding() -> None:
    torch.manual_seed(0)
    layer, events, lengths = FeatureExtractGRU(4), torch.randn(3, 6, 4), [6, 1, 3]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = layer(events, mask)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, :length], naive(layer, events[row, :length]))


def test_empty_histories_and_no_rows_are_finite() -> None:
    layer = FeatureExtractGRU(4)
    found = layer(torch.randn(2, 5, 4), torch.zeros(2, 5, dtype=torch.bool))
    assert found.shape == (2, 5, 4)
    assert found.isfinite().all()
    assert layer(torch.randn(0, 5, 4), torch.zeros(0, 5, dtype=torch.bool)).shape == (0, 5, 4)
