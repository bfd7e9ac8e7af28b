"""Pairs in opposite orders, against a loop over all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrgate.metrics.ranks import discordance


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), max_size=40))
def test_every_pair_that_is_turned_round_counts_once_and_a_tie_never(rows: list[tuple[int, int]]) -> None:
    turned = sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(rows, 2))
    pairs = max(1, len(rows) * (len(rows) - 1) // 2)
    a, b = (np.array([row[side] for row in rows], dtype=float) for side in (0, 1))
    assert discordance(a, b) == pytest.approx(turned / pairs)


def test_the_same_order_has_none_and_the_opposite_all() -> None:
    scores = np.random.default_rng(0).normal(size=1000)
    assert discordance(scores, np.exp(scores)) == 0.0
    assert discordance(scores, -scores) == 1.0
