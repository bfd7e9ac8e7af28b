"""AUC, DeLong's variance and the ROC curve against scikit-learn, naive forms and properties."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ctrgate.errors import DataError
from ctrgate.metrics.auc import auc, delong, delong_variance, roc_curve
from ctrgate.metrics.pooled import pool

# Small integers as scores, so that ties are common.
rows = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60)
two_classes = rows.filter(lambda pairs: 0 < sum(label for label, _ in pairs) < len(pairs))


def sample(num_rows: int, *, seed: int = 0, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(num_rows) < 0.3).astype(np.int64)
    return labels, np.round(rng.normal(size=num_rows) + labels, decimals)


def naive_components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components by comparing each positive with each negative."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_equals_scikit_learns_with_and_without_weights(decimals: int) -> None:
    labels, scores = sample(3000, decimals=decimals)
    weights = np.random.default_rng(1).integers(0, 4, len(labels)).astype(np.float64)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-13)
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert auc(labels, scores, weights=weights) == pytest.approx(expected, abs=1e-13)


def test_a_weight_of_three_is_a_row_three_times() -> None:
    labels, scores = sample(400)
    times = np.random.default_rng(1).integers(0, 4, len(labels))
    repeated = auc(np.repeat(labels, times), np.repeat(scores, times))
    assert auc(labels, scores, weights=times) == pytest.approx(repeated, abs=1e-14)


@given(two_classes)
def test_auc_is_the_share_of_pairs_won(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    assert auc(labels, scores) == pytest.approx(naive_components(labels, scores)[0].mean(), abs=1e-14)


@given(two_classes)
def test_a_monotone_transform_changes_nothing_and_flipped_labels_give_the_rest(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    value = auc(labels, scores)
    assert auc(labels, np.exp(scores / 3) - 7) == value
    assert auc(~labels, scores) == pytest.approx(1 - value, abs=1e-14)
    assert auc(labels, -scores) == pytest.approx(1 - value, abs=1e-14)


def test_equal_scores_give_one_half_and_nearby_float64_logits_do_not_tie() -> None:
    assert auc(np.array([1, 0, 1, 0]), np.full(4, 0.7)) == 0.5
    assert auc(np.array([0, 1]), np.array([1.0, 1.0 + 1e-15])) == 1.0


@settings(deadline=None)
@given(two_classes.filter(lambda pairs: 2 <= sum(label for label, _ in pairs) <= len(pairs) - 2))
def test_delongs_variance_equals_the_naive_form(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    of_positives, of_negatives = naive_components(labels, scores)
    expected = of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    assert delong_variance(labels, scores) == pytest.approx(expected, abs=1e-14)


def test_the_weighted_variance_is_that_of_a_bootstrap_and_ignores_the_scale_of_the_weights() -> None:
    labels, scores = sample(1500)
    rng = np.random.default_rng(2)
    weights = rng.choice([1.0, 5.0], size=len(labels))
    resampled = []
    for _ in range(600):
        picked = rng.integers(0, len(labels), len(labels))
        resampled.append(roc_auc_score(labels[picked], scores[picked], sample_weight=weights[picked]))
    variance = delong_variance(labels, scores, weights=weights)
    assert variance == pytest.approx(np.var(resampled, ddof=1), rel=0.2)  # 600 resamples: 6 % standard error
    assert variance > 1.2 * delong_variance(labels, scores)
    assert delong_variance(labels, scores, weights=weights * 7) == pytest.approx(variance, rel=1e-12)


def test_the_interval_covers_the_true_auc_as_often_as_it_says() -> None:
    # Normal scores one apart: the true AUC is Phi(1 / sqrt 2).
    truth = 0.5 * (1 + math.erf(0.5))
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        labels = rng.random(300) < 0.3
        interval = delong(labels, rng.normal(size=300) + labels)
        covered += interval.low <= truth <= interval.high
    assert 0.925 <= covered / 1000 <= 0.97  # 0.95 give or take 3 standard errors


def test_one_class_has_no_auc_and_a_single_positive_no_interval() -> None:
    assert math.isnan(auc(np.ones(3), np.arange(3)))
    estimate = delong(np.array([1, 0, 0]), np.array([2.0, 1.0, 3.0]))
    assert estimate.to_json() == {"value": 0.5, "low": None, "high": None}


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "message"),
    [
        ([], [], None, "at least one row"),
        ([0, 2, 1], [0.1, 0.2, 0.3], None, "row 1 has label 2"),
        ([0, math.nan], [0.1, 0.2], None, "row 1 has label nan"),
        ([0, 1], [0.1, math.inf], None, "row 1 has score inf"),
        ([0, 1], [0.1], None, "one value for each of the 1 scores"),
        ([0, 1], [0.1, 0.2], [1.0, -1.0], "row 1 has weight -1.0"),
        ([0, 1], [0.1, 0.2], [0.0, 0.0], "all 2 rows have weight 0"),
    ],
)
def test_unusable_rows_are_named(labels: list, scores: list, weights: list | None, message: str) -> None:
    given_weights = None if weights is None else np.array(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=message):
            auc(np.array(labels), np.array(scores), weights=given_weights)


def test_the_roc_curve_has_auc_below_it() -> None:
    labels, scores = sample(20_000, decimals=6)
    curve = roc_curve(pool(labels, scores), max_points=400)
    x, y = np.array(curve["false_positive_rate"]), np.array(curve["true_positive_rate"])
    assert len(x) <= 401
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(auc(labels, scores), abs=1e-4)


def test_the_roc_curve_of_ties_is_the_hand_drawn_one() -> None:
    curve = roc_curve(pool(np.array([1, 0, 1, 0]), np.array([2.0, 2.0, 1.0, 0.0])))
    assert curve == {"false_positive_rate": [0, 0.5, 0.5, 1], "true_positive_rate": [0, 0.5, 1, 1]}
    assert roc_curve(pool(np.ones(2), np.arange(2))) == {"false_positive_rate": [], "true_positive_rate": []}
