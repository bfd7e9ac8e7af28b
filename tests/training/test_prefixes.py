"""Beginnings of histories against a loop over rows and events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrgate.contracts import Batch, Ids
from ctrgate.training.prefixes import prefixes

ITEM, GENRE = "history/item", "history/genre"
Example = tuple[tuple[int, ...], tuple[int, ...], int, float, int, int, float]
"""Items and genres before, the next item, the row's weight, group, number in its split, and number."""


def batch_of(histories: Sequence[Sequence[int]]) -> Batch:
    """Rows with these histories; everything else can be told from the row and the place."""
    num_rows = len(histories)
    row = torch.arange(num_rows)
    lengths = torch.tensor([len(history) for history in histories], dtype=torch.int64)
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    return Batch(
        num_rows=num_rows,
        ids={
            ITEM: Ids(values=items, lengths=lengths),
            GENRE: Ids(values=torch.arange(len(items)) + 1000, lengths=lengths),
            "item": Ids(values=row + 100),
            "user": Ids(values=row),
        },
        numbers=row.float().unsqueeze(1) / 2,
        weights=row + 0.5,
        groups=row * 10,
        rows=row + 7,
    )


def drawn(batch: Batch, *, count: int | None) -> Batch:
    return prefixes(batch, columns=(ITEM, GENRE), item=ITEM, target="item", count=count)


def examples(batch: Batch) -> list[Example]:
    """Each row of a batch of examples."""
    found = []
    end = 0
    lengths = batch.ids[ITEM].lengths
    assert torch.equal(lengths, batch.ids[GENRE].lengths)
    for row, length in enumerate(lengths.tolist()):
        start, end = end, end + length
        items, genres = (tuple(batch.ids[column].values[start:end].tolist()) for column in (ITEM, GENRE))
        rest = (batch.weights[row], batch.groups[row], batch.rows[row], batch.numbers[row, 0])
        found.append((items, genres, int(batch.ids["item"].values[row]), *(part.item() for part in rest)))
    assert end == batch.ids[ITEM].values.numel() == batch.ids[GENRE].values.numel()
    assert len(found) == batch.num_rows
    return found


def naive(histories: Sequence[Sequence[int]]) -> list[Example]:
    """All examples, row by row and event by event."""
    found, passed = [], 0
    for row, history in enumerate(histories):
        following = [*history, row + 100]
        genres = range(passed + 1000, passed + 1000 + len(history))
        for end in range(1, len(history) + 1):
            rest = (row + 0.5, row * 10, row + 7, row / 2)
            found.append((tuple(history[:end]), tuple(genres[:end]), following[end], *rest))
        passed += len(history)
    return found


HISTORIES = st.lists(st.lists(st.integers(2, 9), max_size=5), max_size=6)


@given(HISTORIES)
@settings(max_examples=60, deadline=None)
def test_all_beginnings_are_those_of_a_loop(histories: list[list[int]]) -> None:
    assert Counter(examples(drawn(batch_of(histories), count=None))) == Counter(naive(histories))


@given(HISTORIES, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_count_limits_each_row_without_repetition(histories: list[list[int]], count: int) -> None:
    found = examples(drawn(batch_of(histories), count=count))
    assert not Counter(found) - Counter(naive(histories))
    assert len(set(found)) == len(found)  # genres tell every place apart
    per_row = Counter(example[4] // 10 for example in found)
    assert per_row == Counter({row: min(count, len(items)) for row, items in enumerate(histories) if items})


def test_every_beginning_is_drawn_equally_often() -> None:
    torch.manual_seed(0)
    found = examples(drawn(batch_of([[2, 3, 4, 5]] * 4000), count=1))
    shares = Counter(len(example[0]) for example in found)
    assert sorted(shares) == [1, 2, 3, 4]
    assert all(abs(number - 1000) < 120 for number in shares.values())  # four standard deviations


@pytest.mark.parametrize("count", [None, 2])
@pytest.mark.parametrize("histories", [[], [[]], [[], [], []]])
def test_rows_without_a_history_give_no_example(histories: list[list[int]], count: int | None) -> None:
    found = drawn(batch_of(histories), count=count)
    assert examples(found) == []
    assert found.numbers.shape == (0, 1)


def test_torchs_seed_decides_what_is_drawn() -> None:
    batch = batch_of([[2, 3, 4, 5, 6, 7, 8]] * 5)
    parts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        parts.append(examples(drawn(batch, count=2)))
    assert parts[0] == parts[1] != parts[2]


def test_other_columns_are_left_out_and_what_is_missing_stays_missing() -> None:
    batch = batch_of([[2, 3]])
    bare = Batch(num_rows=1, ids=batch.ids, numbers=batch.numbers)
    found = drawn(bare, count=None)
    assert sorted(found.ids) == sorted([ITEM, GENRE, "item"])
    assert (found.weights, found.groups, found.rows) == (None, None, None)


def test_a_column_of_one_id_per_row_is_no_history() -> None:
    with pytest.raises(ValueError, match="user holds one id per row"):
        prefixes(batch_of([[2]]), columns=("user",), item="user", target="item", count=None)
