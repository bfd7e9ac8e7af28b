"""Next-item metrics against hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctrgate.errors import DataError
from ctrgate.metrics.ranking import bootstrap_mean, ranking_summary, ranking_values


def test_hits_gains_and_reciprocal_ranks_within_the_cutoff() -> None:
    values = ranking_values(np.array([1, 3, 11, 0]), cutoff=10)
    assert values["hit_rate"].tolist() == [1, 1, 0, 0]
    assert values["ndcg"].tolist() == pytest.approx([1, 1 / math.log2(4), 0, 0])
    assert values["mrr"].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert ranking_values(np.array([1, 3]), cutoff=2)["hit_rate"].tolist() == [1, 0]


@pytest.mark.parametrize("ranks", [[-1], [math.nan], [[1]]])
def test_ranks_that_cannot_be_are_refused(ranks: list) -> None:
    with pytest.raises(DataError, match="ranks"):
        ranking_values(np.array(ranks), cutoff=1)


def test_a_summary_has_every_metric_at_every_cutoff() -> None:
    found = ranking_summary(np.array([1, 4, 0]), cutoffs=(1, 5))
    assert list(found) == [f"{name}@{k}" for k in (1, 5) for name in ("hit_rate", "ndcg", "mrr")]
    assert found["hit_rate@1"]["value"] == pytest.approx(1 / 3)
    assert found["hit_rate@5"]["value"] == pytest.approx(2 / 3)
    assert found["hit_rate@5"]["low"] < 2 / 3 < found["hit_rate@5"]["high"]


def test_an_interval_is_that_of_the_mean_and_knows_that_rows_of_one_user_are_alike() -> None:
    draws = np.random.default_rng(3).normal(size=1000)
    alone = bootstrap_mean(draws, seed=1)
    assert alone.value == pytest.approx(draws.mean())
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * draws.std() / math.sqrt(1000), rel=0.1)
    users = np.repeat(np.arange(1000), 4)
    together = bootstrap_mean(np.repeat(draws, 4), groups=users, seed=1)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    constant = bootstrap_mean(np.ones(50), seed=1)
    assert (constant.low, constant.high) == (1.0, 1.0)


def test_no_rows_have_no_mean() -> None:
    with pytest.raises(DataError, match="no rows"):
        bootstrap_mean(np.array([]), seed=0)
