"""Histories encoded in pieces of like length."""

import pytest
import torch

from ctrgate.layers.by_length import encode_by_length
from ctrgate.layers.mamba import Mamba

LENGTHS = [3, 40, 0, 8, 9, 17, 16, 1, 33]


def histories() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.arange(40) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), 40, 4) * mask.unsqueeze(2), mask


def test_it_gives_what_the_encoder_gives_at_full_length_and_the_same_gradients() -> None:
    items, mask = histories()
    torch.manual_seed(1)
    mamba, slope = Mamba(4, state_dim=3), torch.randn(len(LENGTHS), 40, 4) * mask.unsqueeze(2)
    found = []
    for encode in (mamba, lambda x, mask: encode_by_length(mamba, x, mask)):
        mamba.zero_grad()
        x = items.clone().requires_grad_()
        queries = encode(x, mask) * mask.unsqueeze(2)
        queries.backward(slope)
        found.append([queries, x.grad, *(p.grad.clone() for p in mamba.parameters())])
    for whole, in_pieces in zip(*found, strict=True):
        torch.testing.assert_close(in_pieces, whole)


def test_no_row_is_computed_at_more_than_the_least_step_that_holds_it() -> None:
    items, mask = histories()
    seen: list[tuple[int, int]] = []

    def encoder(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert mask.sum(dim=1).max() <= mask.size(1) == x.size(1)
        seen.append((len(x), x.size(1)))
        return x

    torch.testing.assert_close(encode_by_length(encoder, items, mask), items, rtol=0, atol=0)
    assert seen == [(4, 8), (2, 16), (1, 32), (2, 40)]


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_and_a_traced_program_go_through_in_one_piece(rows: int) -> None:
    items, mask = (part[:rows] for part in histories())
    torch.testing.assert_close(encode_by_length(lambda x, _: x, items, mask), items, rtol=0, atol=0)
