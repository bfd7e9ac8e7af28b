"""Counts of hashes: exact while they fit, and right on the whole once they do not."""

from __future__ import annotations

import numpy as np
import pytest

from ctrgate.validation.tally import Tally


def test_repeats_and_effective_number_are_exact_while_all_fit() -> None:
    tally = Tally()
    tally.add(np.array([1, 2, 3, 1], dtype=np.uint64))
    tally.add(np.array([1, 3], dtype=np.uint64))
    assert tally.repeated_share == pytest.approx(3 / 6)
    assert tally.effective_number == pytest.approx(6**2 / (9 + 1 + 4))
    assert tally.repeated.tolist() == [1, 3]


def test_nothing_counted_is_nothing() -> None:
    assert Tally().repeated_share == Tally().effective_number == 0.0


def test_beyond_its_capacity_a_sample_of_the_hashes_tells_the_same() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(2**63, size=60_000, dtype=np.uint64)
    occurrences = np.concatenate([hashes, hashes[:20_000], hashes[:20_000]])
    exact, small = Tally(), Tally(capacity=4_000)
    for part in np.array_split(random.permutation(occurrences), 20):
        exact.add(part)
        small.add(part)
    assert exact.repeated_share == pytest.approx(0.4)
    assert small.repeated_share == pytest.approx(0.4, abs=0.03)
    assert small.effective_number == pytest.approx(exact.effective_number, rel=0.1)
