"""Grouped AUC and the bootstrap over groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ctrgate.errors import DataError
from ctrgate.metrics.bootstrap import bootstrap_auc, bootstrap_grouped_auc
from ctrgate.metrics.grouped import GroupedAuc, grouped_auc


def sample(num_rows: int, num_groups: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, num_groups, num_rows) * 7 - 3
    labels = rng.random(num_rows) < 0.3
    return labels, np.round(rng.normal(size=num_rows) + labels, 1), groups


@pytest.mark.parametrize("weighted", [False, True])
def test_grouped_auc_equals_a_loop_over_groups(weighted: bool) -> None:
    labels, scores, groups = sample(2000, 300)
    weights = np.random.default_rng(1).integers(0, 3, len(labels)).astype(float) if weighted else np.ones(len(labels))
    total, weight_used, num_rows, num_groups = 0.0, 0.0, 0, 0
    for group in np.unique(groups):
        inside = (groups == group) & (weights > 0)
        if len(np.unique(labels[inside])) == 2:
            area = roc_auc_score(labels[inside], scores[inside], sample_weight=weights[inside])
            total += weights[inside].sum() * area
            weight_used += weights[inside].sum()
            num_rows += int(inside.sum())
            num_groups += 1
    result = grouped_auc(labels, scores, groups, weights=weights if weighted else None)
    assert result.value == pytest.approx(total / weight_used, abs=1e-12)
    assert (result.num_groups, result.num_rows) == (num_groups, num_rows)
    assert num_groups < 300  # some group has one class, so leaving out is tested


def test_groups_may_be_strings_in_any_order() -> None:
    result = grouped_auc(
        np.array([1, 0, 0, 1, 1]), np.array([0.9, 0.1, 0.5, 0.5, 0.2]), np.array(["b", "a", "b", "a", "c"])
    )
    assert (result.value, result.num_groups, result.num_rows) == (1.0, 2, 4)


def test_an_offset_per_group_changes_auc_but_not_grouped_auc() -> None:
    labels, scores, groups = sample(2000, 50)
    result = grouped_auc(labels, scores + 100.0 * groups, groups)
    assert result.value == pytest.approx(grouped_auc(labels, scores, groups).value, abs=1e-12)


def test_groups_of_one_class_only_give_none() -> None:
    result = grouped_auc(np.array([1, 0]), np.array([0.0, 1.0]), np.array([1, 2]))
    assert math.isnan(result.value)
    assert (result.num_groups, result.num_rows) == (0, 0)
    assert bootstrap_grouped_auc(result, seed=0).to_json() == {"value": None, "low": None, "high": None}


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="one value for each of the 2 scores"):
        grouped_auc(np.array([1, 0]), np.array([0.0, 1.0]), np.array([1]))


def test_the_bootstrap_of_grouped_auc_has_the_spread_of_the_ratio_of_sums() -> None:
    labels, scores, groups = sample(6000, 400)
    result = grouped_auc(labels, scores, groups)
    interval = bootstrap_grouped_auc(result, seed=1, num_resamples=4000)
    # Linearised variance of a ratio of sums over independent groups.
    spread = math.sqrt(np.sum((result.rows * (result.aucs - result.value)) ** 2)) / result.rows.sum()
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(spread, rel=0.08)
    assert interval.low < result.value < interval.high


def test_the_bootstrap_of_grouped_auc_weighs_by_rows() -> None:
    # 100 large groups at 0.6, 100 small ones at 0.9: weighted by rows near 0.6, by groups 0.75.
    large = np.arange(200) < 100
    aucs, rows = np.where(large, 0.6, 0.9), np.where(large, 1000.0, 10.0)
    value = float(aucs @ rows / rows.sum())
    result = GroupedAuc(value=value, num_groups=200, num_rows=int(rows.sum()), aucs=aucs, rows=rows)
    interval = bootstrap_grouped_auc(result, seed=0)
    assert 0.6 < interval.low < value < interval.high < 0.61


def test_the_bootstrap_of_auc_sees_that_rows_of_a_user_go_together() -> None:
    # Each user has one label and one score, ten times over: as many independent rows as users.
    labels, scores, _ = sample(400, 1)
    users = np.repeat(np.arange(400), 10)
    together = bootstrap_auc(np.repeat(labels, 10), np.repeat(scores, 10), users, seed=0)
    alone = bootstrap_auc(labels, scores, np.arange(400), seed=0)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.2)
    assert together.value == pytest.approx(roc_auc_score(labels, scores))


def test_the_seed_decides_the_bootstrap() -> None:
    labels, scores, groups = sample(500, 60)
    first, again, other = (bootstrap_auc(labels, scores, groups, seed=seed, num_resamples=50) for seed in (1, 1, 2))
    assert first == again
    assert first != other
