"""Differences of two models on the same rows against loops, hand-worked numbers and resampled users."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from ctrgate.errors import DataError
from ctrgate.metrics.auc import delong_variance
from ctrgate.metrics.grouped import grouped_auc
from ctrgate.metrics.measured import Measured, from_terms
from ctrgate.metrics.paired import PairedRows, pair
from ctrgate.metrics.paired_auc import paired_auc, paired_grouped_auc, placements
from ctrgate.metrics.paired_bootstrap import bootstrap_errors
from ctrgate.metrics.paired_means import cluster_sums, paired_calibration, paired_entropy, paired_log_loss

# Small integers as scores, so that ties are common.
rows = st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 5)), min_size=4)
two_of_each = rows.filter(lambda found: 2 <= sum(row[0] for row in found) <= len(found) - 2)


def sample(num_rows: int, *, num_users: int, seed: int = 0, weighted: bool = False) -> PairedRows:
    """Rows whose users shift labels and both scores, with ties."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, num_users, num_rows)
    shifts = rng.normal(size=(3, num_users))
    labels = rng.random(num_rows) < 1 / (1 + np.exp(1 - shifts[0][users]))
    a, b = (np.round(rng.normal(size=num_rows) + 0.8 * labels + shift[users] - 1, 1) for shift in shifts[1:])
    weights = rng.choice([0.0, 1.0, 4.0], num_rows) if weighted else None
    return pair(labels, a, b, groups=users * 5 - 2, weights=weights)


def columns(found: list[tuple[bool, int, int, int]]) -> tuple[np.ndarray, ...]:
    labels, a, b, users = (np.array(column) for column in zip(*found, strict=True))
    return labels, a.astype(float), b.astype(float), users


def naive(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """DeLong's components by comparing each row with each row of the other class."""
    result = np.empty(len(labels))
    for row, (label, score) in enumerate(zip(labels, scores, strict=True)):
        won = total = 0.0
        for other, (other_label, other_score) in enumerate(zip(labels, scores, strict=True)):
            if other_label != label:
                ahead = score > other_score if label else score < other_score
                won += weights[other] * (1.0 if ahead else 0.5 if score == other_score else 0.0)
                total += weights[other]
        result[row] = won / total
    return result


@pytest.mark.parametrize("weighted", [False, True])
def test_components_equal_those_of_a_loop_over_all_pairs(weighted: bool) -> None:
    pairs = sample(150, num_users=20, weighted=weighted)
    weights = np.ones(len(pairs)) if pairs.weights is None else pairs.weights
    np.testing.assert_allclose(placements(pairs, pairs.a), naive(pairs.positive, pairs.a, weights), atol=1e-14)


@settings(deadline=None, max_examples=50)
@given(two_of_each)
def test_with_users_of_one_row_the_error_is_that_of_paired_delong(found: list[tuple[bool, int, int, int]]) -> None:
    labels, a, b, _ = columns(found)
    ones = np.ones(len(labels))
    apart = naive(labels, b, ones) - naive(labels, a, ones)
    m, n = labels.sum(), (~labels).sum()
    expected = math.sqrt(apart[labels].var(ddof=1) / m + apart[~labels].var(ddof=1) / n)
    alone = paired_auc(pair(labels, a, b)).difference
    users = paired_auc(pair(labels, a, b, groups=np.arange(len(labels)))).difference
    for difference in (alone, users):
        assert difference.value == pytest.approx(roc_auc_score(labels, b) - roc_auc_score(labels, a), abs=1e-14)
        assert difference.standard_error == pytest.approx(expected, abs=1e-12)
        assert 1 <= difference.degrees <= min(m, n) - 1


@settings(deadline=None, max_examples=50)
@given(two_of_each)
def test_with_users_the_error_is_that_of_components_summed_by_user(found: list[tuple[bool, int, int, int]]) -> None:
    labels, a, b, users = columns(found)
    ones = np.ones(len(labels))
    apart = naive(labels, b, ones) - naive(labels, a, ones)
    mean, m, n = apart[labels].mean(), labels.sum(), (~labels).sum()
    names = np.unique(users)
    of_positives = np.array([(apart[labels & (users == user)] - mean).sum() / m for user in names])
    of_negatives = np.array([(apart[~labels & (users == user)] - mean).sum() / n for user in names])
    with_positive, with_negative = (len(np.unique(users[mine])) for mine in (labels, ~labels))
    difference = paired_auc(pair(labels, a, b, groups=users)).difference
    if min(with_positive, with_negative) < 2:
        assert math.isnan(difference.standard_error)
        return
    p, n = (np.array([(labels[users == user] == label).sum() for user in names]) for label in (True, False))
    expected = of_positives / np.sqrt(1 - p / p.sum()) + of_negatives / np.sqrt(1 - n / n.sum())
    assert difference.standard_error == pytest.approx(math.sqrt((expected**2).sum()), rel=1e-9, abs=1e-12)


def test_a_difference_worked_by_hand() -> None:
    # A ranks as 2 > 1 wins: positives 3, 1 above negatives 2, 0: (1 + 1 + 1 + 0) / 4; B ranks all right.
    labels, a, b = np.array([1, 0, 1, 0]), np.array([3.0, 2.0, 1.0, 0.0]), np.array([3.0, 1.0, 2.0, 0.0])
    found = paired_auc(pair(labels, a, b))
    assert (found.a.value, found.b.value, found.difference.value) == (0.75, 1.0, 0.25)
    # Components apart: positives 0 and 1/2, negatives 1/2 and 0; each class adds (1/16 + 1/16) / 2.
    assert found.difference.standard_error == pytest.approx(math.sqrt(1 / 8))
    assert found.b.standard_error == 0


def test_repeating_every_row_in_its_user_changes_no_interval_but_plain_delong_s() -> None:
    pairs = sample(600, num_users=600)
    twice = np.repeat(np.arange(600), 4)
    repeated = pair(pairs.positive[twice], pairs.a[twice], pairs.b[twice], groups=np.asarray(pairs.codes)[twice])
    once, more = paired_auc(pairs), paired_auc(repeated)
    assert more.difference.value == pytest.approx(once.difference.value, abs=1e-14)
    assert more.difference.standard_error == pytest.approx(once.difference.standard_error, rel=1e-12)
    ratio = once.independent_rows.standard_error / more.independent_rows.standard_error
    assert ratio == pytest.approx(2, rel=0.01)


def test_the_error_of_a_mean_over_independent_rows_is_the_textbook_one() -> None:
    pairs = sample(50, num_users=50)
    alone = pair(pairs.positive, pairs.a, pairs.b)
    losses = np.log1p(np.exp(np.where(alone.positive, -alone.a, alone.a)))
    found = paired_log_loss(cluster_sums(alone)).a
    assert found.standard_error == pytest.approx(losses.std(ddof=1) / math.sqrt(50), rel=1e-12)


def test_few_users_that_weigh_most_leave_few_degrees_of_freedom() -> None:
    assert from_terms(0.0, np.ones(10), num_users=10).degrees == 9  # 3 x 10² / 10 - 3, but never over users less one
    unequal = np.array([*[1.0] * 9, 3.0])  # 3 x 18² / 90 - 3
    assert from_terms(0.0, unequal, num_users=10).degrees == pytest.approx(7.8)
    assert from_terms(0.0, np.array([5.0, *[0.1] * 99]), num_users=100).degrees == 1
    assert from_terms(0.0, np.zeros(10), num_users=10).degrees == 9


def test_one_model_s_error_is_delongs_and_weights_count_as_there() -> None:
    pairs = sample(800, num_users=50, weighted=True)
    alone = pair(pairs.positive, pairs.a, pairs.b, weights=pairs.weights)
    expected = delong_variance(pairs.positive, pairs.a, weights=pairs.weights)
    assert paired_auc(alone).a.standard_error == pytest.approx(math.sqrt(expected), rel=0.01)


def test_equal_models_differ_by_nothing_at_all() -> None:
    pairs = sample(500, num_users=40)
    same = pair(pairs.positive, pairs.a, pairs.a, groups=pairs.codes)
    grouped, sums = paired_grouped_auc(same), cluster_sums(same)
    assert grouped is not None
    means = [of(sums).difference for of in (paired_log_loss, paired_entropy, paired_calibration)]
    for difference in (paired_auc(same).difference, grouped.difference, *means):
        assert (difference.value, difference.standard_error) == (0, 0)


def test_one_class_has_no_difference_and_one_user_no_error() -> None:
    found = paired_auc(pair(np.ones(3), np.arange(3.0), np.arange(3.0)))
    assert found.difference.to_json() == {
        "value": None,
        "low": None,
        "high": None,
        "standard_error": None,
        "degrees": 0,
    }
    one = pair(np.array([1, 0, 1, 0]), np.arange(4.0), np.arange(4.0)[::-1], groups=np.zeros(4))
    grouped = paired_grouped_auc(one)
    assert paired_auc(one).difference.value == pytest.approx(0.5)
    assert math.isnan(paired_auc(one).difference.standard_error)
    assert grouped is not None
    assert grouped.difference.interval().to_json()["low"] is None


def test_the_difference_of_grouped_auc_is_that_of_a_loop_over_users() -> None:
    pairs = sample(900, num_users=120, weighted=True)
    found = paired_grouped_auc(pairs)
    assert found is not None
    assert pairs.codes is not None
    assert pairs.weights is not None
    apart, weight, codes = [], [], []
    for code in range(pairs.num_clusters):
        mine = pairs.codes == code
        if len(np.unique(pairs.positive[mine])) == 2:
            a, b = (
                roc_auc_score(pairs.positive[mine], scores[mine], sample_weight=pairs.weights[mine])
                for scores in (pairs.a, pairs.b)
            )
            apart.append(b - a)
            weight.append(pairs.weights[mine].sum())
            codes.append(code)
    d, r = np.array(apart), np.array(weight)
    value = (d @ r) / r.sum()
    error = math.sqrt(((r / r.sum() * (d - value)) ** 2 / (1 - r / r.sum())).sum())
    assert found.difference.value == pytest.approx(value, abs=1e-13)
    assert found.difference.standard_error == pytest.approx(error, rel=1e-10)
    assert found.codes.tolist() == codes
    assert len(codes) < pairs.num_clusters  # users of one class are left out
    assert found.b.value == grouped_auc(pairs.positive, pairs.b, pairs.codes, weights=pairs.weights).value


def test_means_equal_scikit_learns_and_hand_worked_ones() -> None:
    pairs = sample(700, num_users=60, weighted=True)
    sums = cluster_sums(pairs)
    p = {name: 1 / (1 + np.exp(-scores)) for name, scores in (("a", pairs.a), ("b", pairs.b))}
    for name in ("a", "b"):
        expected = log_loss(pairs.positive, p[name], sample_weight=pairs.weights)
        assert getattr(paired_log_loss(sums), name).value == pytest.approx(expected, rel=1e-12)
    # Two users; of A all p = 1/2, of B p = 3/4 for clicks and 1/4 for others.
    third = math.log(3)
    small = pair(
        np.array([1, 0, 0, 1]), np.zeros(4), third * np.array([1.0, -1.0, -1.0, 1.0]), groups=np.array([1, 1, 1, 2])
    )
    sums = cluster_sums(small)
    gain = math.log(0.75) - math.log(0.5)
    assert paired_log_loss(sums).difference.value == pytest.approx(-gain)
    assert paired_log_loss(sums).difference.standard_error == pytest.approx(0, abs=1e-15)  # each row gains the same
    assert paired_entropy(sums).difference.value == pytest.approx(-gain / math.log(2))
    # At a click rate of 1/2 the entropy does not move, so the error is that of the loss over ln 2.
    assert paired_entropy(sums).difference.standard_error == pytest.approx(0, abs=1e-15)
    calibration = paired_calibration(sums)
    assert (calibration.a.value, calibration.b.value) == (pytest.approx(1), pytest.approx(1))
    # Promised less seen by user, over 2 clicks: of A 1.5 - 1 and 0.5 - 1; each has half of the clicks.
    assert calibration.a.standard_error == pytest.approx(math.sqrt((0.25**2 + 0.25**2) / (1 - 1 / 2)))


def test_errors_of_all_metrics_are_those_that_resampled_users_have() -> None:
    pairs = sample(4000, num_users=250)
    sums, grouped = cluster_sums(pairs), paired_grouped_auc(pairs)
    assert grouped is not None
    drawn = bootstrap_errors(pairs, sums=sums, grouped=grouped, seed=1, num_resamples=2000)
    found: dict[str, Measured] = {
        "auc": paired_auc(pairs).difference,
        "gauc": grouped.difference,
        "log_loss": paired_log_loss(sums).difference,
        "normalized_entropy": paired_entropy(sums).difference,
        "calibration_ratio": paired_calibration(sums).difference,
    }
    assert drawn.keys() == found.keys()
    for name, difference in found.items():
        assert difference.standard_error == pytest.approx(drawn[name], rel=0.08)  # 4 of its own errors


@pytest.mark.parametrize("weighted", [False, True])
def test_the_bootstrap_s_auc_is_that_of_rows_repeated_as_often_as_their_user_is_drawn(weighted: bool) -> None:
    pairs = sample(300, num_users=30, weighted=weighted)
    sums, grouped = cluster_sums(pairs), paired_grouped_auc(pairs)
    assert grouped is not None
    drawn = bootstrap_errors(pairs, sums=sums, grouped=grouped, seed=3, num_resamples=9)
    rng = np.random.default_rng(3)
    values: dict[str, list[float]] = {"auc": [], "log_loss": []}
    for _ in range(9):
        times = rng.poisson(1.0, size=pairs.num_clusters)
        weight = times[np.asarray(pairs.codes)] * (1 if pairs.weights is None else pairs.weights)
        for name, of in (("auc", roc_auc_score), ("log_loss", log_loss)):
            a, b = (
                of(pairs.positive, 1 / (1 + np.exp(-scores)), sample_weight=weight) for scores in (pairs.a, pairs.b)
            )
            values[name].append(b - a)
    for name, apart in values.items():
        assert drawn[name] == pytest.approx(np.std(apart, ddof=1), rel=1e-9)


def test_taken_rows_have_only_their_own_users() -> None:
    pairs = sample(200, num_users=40)
    taken = pairs.take(np.arange(0, 200, 7))
    users = np.asarray(pairs.codes)[::7]
    assert taken.num_clusters == len(np.unique(users))
    np.testing.assert_array_equal(taken.codes, np.unique(users, return_inverse=True)[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b": np.zeros(2)}, "model A has scored 3 rows, model B 2"),
        ({"b": np.array([0, math.nan, 1])}, "row 1 has score nan"),
        ({"groups": np.zeros(2)}, "one value for each of the 3 rows"),
        ({"labels": np.array([0, 2, 1])}, "row 1 has label 2"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(changed: dict[str, Any], message: str) -> None:
    given_rows = {"labels": np.array([0, 1, 1]), "a": np.zeros(3), "b": np.ones(3), "groups": np.arange(3)} | changed
    with pytest.raises(DataError, match=message):
        pair(given_rows.pop("labels"), given_rows.pop("a"), given_rows.pop("b"), **given_rows)
