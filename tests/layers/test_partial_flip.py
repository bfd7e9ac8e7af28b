"""The partial flip, row by row."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.partial_flip import partial_flip


def test_the_first_events_of_each_row_are_reversed_and_the_last_ones_stay() -> None:
    lengths = [6, 4, 3, 2, 1, 0]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    events = torch.arange(1, 7).expand(6, 6) * mask
    found = partial_flip(events, mask, num_kept=2)
    assert found.tolist() == [
        [4, 3, 2, 1, 5, 6],
        [2, 1, 3, 4, 0, 0],
        [1, 2, 3, 0, 0, 0],
        [1, 2, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("num_kept", [0, 1, 3, 9])
def test_vectors_move_whole_and_a_second_flip_undoes_the_first(num_kept: int) -> None:
    mask = torch.arange(7) < torch.tensor([7, 5, 0, 1])[:, None]
    events = torch.randn(4, 7, 3)
    found = partial_flip(events, mask, num_kept=num_kept)
    for row, length in enumerate([7, 5, 0, 1]):
        turned = max(length - num_kept, 0)
        expected = torch.cat([events[row, :turned].flip(0), events[row, turned:]])
        assert torch.equal(found[row], expected)
    assert torch.equal(partial_flip(found, mask, num_kept=num_kept), events)


def test_no_rows_are_rows_too() -> None:
    assert partial_flip(torch.randn(0, 4, 2), torch.ones(0, 4, dtype=torch.bool), num_kept=1).shape == (0, 4, 2)
