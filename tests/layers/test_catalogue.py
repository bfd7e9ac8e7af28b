"""Ranks and best rows of a catalogue against loops over its rows."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrgate.layers import catalogue
from ctrgate.layers.catalogue import best_items, target_ranks


@dataclass(frozen=True)
class Case:
    """Small integers, so that scores are exact and ties common."""

    queries: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    first: int
    seen: list[list[int]] | None

    @property
    def jagged(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """``seen`` as ids and lengths."""
        if self.seen is None:
            return None
        ids = [item for row in self.seen for item in row]
        return torch.tensor(ids, dtype=torch.int64), torch.tensor([len(row) for row in self.seen], dtype=torch.int64)

    def scores(self, query: int) -> dict[int, float]:
        """Every candidate's score by its row, one by one."""
        seen = set() if self.seen is None else set(self.seen[query])
        places = [place for place in range(self.first, len(self.rows)) if place not in seen]
        return {place: float(sum(self.queries[query] * self.rows[place])) for place in places}

    def ranks(self) -> list[int]:
        """Each target's rank, by counting."""
        found = []
        for query, target in enumerate(self.targets.tolist()):
            scores = self.scores(query)
            others = [score for place, score in scores.items() if place != target]
            found.append(1 + sum(score >= scores[target] for score in others) if target in scores else 0)
        return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    first, num_rows, num_queries = 2, draw(st.integers(3, 9)), draw(st.integers(0, 5))
    row = st.integers(0, num_rows - 1)

    def matrix(height: int) -> torch.Tensor:
        line = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
        lines = draw(st.lists(line, min_size=height, max_size=height))
        return torch.tensor(lines, dtype=torch.float32).view(height, 2)

    targets = draw(st.lists(row, min_size=num_queries, max_size=num_queries))
    history = st.lists(row, max_size=6)  # with repetitions, padding and unknown
    seen = draw(st.none() | st.lists(history, min_size=num_queries, max_size=num_queries))
    return Case(
        queries=matrix(num_queries),
        rows=matrix(num_rows),
        targets=torch.tensor(targets, dtype=torch.int64),
        first=first,
        seen=seen,
    )


@given(cases(), st.sampled_from([1, 5, 14, 1 << 24]))
@settings(max_examples=150, deadline=None)
def test_ranks_and_best_rows_are_those_of_a_loop_in_pieces_or_whole(case: Case, cells: int) -> None:
    with mock.patch.object(catalogue, "_CELLS_AT_ONCE", cells):
        ranks = target_ranks(case.queries, case.rows, case.targets, first=case.first, seen=case.jagged)
        values, ids = best_items(case.queries, case.rows, first=case.first, count=4, seen=case.jagged)
    assert ranks.tolist() == case.ranks()
    width = min(4, len(case.rows) - case.first)
    assert values.shape == ids.shape == (len(case.queries), width)
    for query in range(len(case.queries)):
        scores = case.scores(query)
        best = sorted(scores, key=lambda place: (-scores[place], place))[:width]
        assert ids[query, : len(best)].tolist() == best
        assert values[query].tolist() == [scores[place] for place in best] + [-torch.inf] * (width - len(best))


ROWS = torch.tensor([[9.0], [9.0], [3.0], [1.0], [2.0], [2.0]])
QUERIES = torch.ones(4, 1)


def test_equal_scores_come_before_the_target() -> None:
    assert target_ranks(QUERIES, ROWS, torch.tensor([2, 3, 4, 5]), first=2).tolist() == [1, 4, 3, 3]
    alike = target_ranks(torch.zeros(4, 1), ROWS, torch.tensor([2, 3, 4, 5]), first=2)
    assert alike.tolist() == [4] * 4  # a model that scores all alike has nothing of it


def test_targets_that_are_no_candidates_rank_0_however_they_score() -> None:
    assert target_ranks(QUERIES, ROWS, torch.tensor([0, 1, 2, 1]), first=2).tolist() == [0, 0, 1, 0]


def test_what_was_seen_neither_ranks_nor_counts() -> None:
    seen = torch.tensor([2, 2, 4, 0, 1, 3, 3]), torch.tensor([3, 2, 0, 2])
    ranks = target_ranks(QUERIES, ROWS, torch.tensor([5, 5, 5, 3]), first=2, seen=seen)
    assert ranks.tolist() == [1, 3, 3, 0]
    values, ids = best_items(QUERIES, ROWS, first=2, count=3, seen=seen)
    assert ids[[0, 1, 3]].tolist() == [[5, 3, 2], [2, 4, 5], [2, 4, 5]]
    assert values[0].tolist() == [2, 1, -torch.inf]


def test_scores_of_autocast_are_compared_in_fp32() -> None:
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.001]])
    query = torch.ones(1, 1, dtype=torch.bfloat16)
    assert target_ranks(query, rows, torch.tensor([3]), first=2).tolist() == [1]  # bfloat16 would see a tie
    assert best_items(query, rows, first=2, count=1)[0].dtype == torch.float32


@pytest.mark.parametrize("seen", [None, (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))])
def test_no_query_gives_no_rank(seen: tuple[torch.Tensor, torch.Tensor] | None) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    ranks = target_ranks(QUERIES[:0], ROWS, none, first=2, seen=seen)
    assert ranks.shape == (0,)
    assert ranks.dtype == torch.int64
    values, ids = best_items(QUERIES[:0], ROWS, first=2, count=3, seen=seen)
    assert values.shape == ids.shape == (0, 3)
