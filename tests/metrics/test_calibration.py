"""Log loss, normalised entropy, calibration and reliability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from ctrgate.metrics.calibration import calibration_ratio, ece, log_loss, normalized_entropy, reliability, sigmoid
from ctrgate.metrics.pooled import pool


def sample(num_rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1, num_rows)
    return rng.random(num_rows) < 1 / (1 + np.exp(-logits)), logits


def test_log_loss_equals_scikit_learns_with_and_without_weights() -> None:
    labels, logits = sample(500)
    weights = np.random.default_rng(1).random(len(labels))
    for given_weights in (None, weights):
        expected = sklearn_log_loss(labels, sigmoid(logits), sample_weight=given_weights)
        assert log_loss(pool(labels, logits, weights=given_weights)) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_extreme_logits_is_their_size() -> None:
    assert log_loss(pool(np.array([1]), np.array([-2000.0]))) == 2000.0
    assert log_loss(pool(np.array([0]), np.array([2000.0]))) == 2000.0
    assert log_loss(pool(np.array([1]), np.array([2000.0]))) == 0.0


def test_answering_the_click_rate_has_a_normalised_entropy_of_one() -> None:
    labels = np.arange(10) < 3
    assert normalized_entropy(pool(labels, np.full(10, math.log(3 / 7)))) == pytest.approx(1.0, abs=1e-12)
    assert normalized_entropy(pool(labels, np.where(labels, 3.0, -3.0))) < 0.2
    assert math.isnan(normalized_entropy(pool(np.zeros(3), np.zeros(3))))


def test_the_calibration_ratio_is_clicks_promised_over_clicks_seen() -> None:
    assert calibration_ratio(pool(np.array([1, 0, 0, 0]), np.zeros(4))) == 2.0
    assert calibration_ratio(pool(np.array([1, 0]), np.zeros(2), weights=np.array([1.0, 3.0]))) == 2.0
    assert math.isnan(calibration_ratio(pool(np.zeros(2), np.zeros(2))))


def test_ece_equals_a_loop_over_bins_of_equal_size() -> None:
    labels, logits = sample(1000)
    order = np.argsort(logits)
    gaps = [
        abs(sigmoid(logits[part]).mean() - labels[part].mean()) * len(part) / 1000 for part in np.array_split(order, 20)
    ]
    assert ece(pool(labels, logits), num_bins=20) == pytest.approx(sum(gaps), abs=1e-12)


def test_ece_of_calibrated_logits_is_small_and_of_shifted_ones_is_the_shift() -> None:
    labels, logits = sample(200_000)
    assert ece(pool(labels, logits)) < 0.006
    shifted = float(np.mean(sigmoid(logits + 1)) - labels.mean())
    assert ece(pool(labels, logits + 1)) == pytest.approx(shifted, abs=0.002)


@given(st.permutations(range(40)))
def test_the_order_of_tied_rows_does_not_matter(order: list[int]) -> None:
    labels, logits = np.arange(40) % 3 == 0, np.repeat([-1.0, 0.0, 1.0, 2.0], 10)
    assert ece(pool(labels[order], logits[order]), num_bins=7) == ece(pool(labels, logits), num_bins=7)


def test_tied_rows_go_where_their_middle_lies() -> None:
    logits = np.repeat([-1.0, 0.0, 1.0], [1, 8, 1])
    assert reliability(pool(logits > 0, logits), num_bins=2)["rows"] == [1.0, 9.0]


def test_one_score_gives_one_bin() -> None:
    curve = reliability(pool(np.array([1, 0, 0, 0]), np.zeros(4)))
    assert (curve["predicted"], curve["observed"], curve["rows"]) == ([0.5], [0.25], [4.0])
    # Wilson's interval for 1 of 4, by hand.
    assert curve["low"][0] == pytest.approx(0.0456, abs=1e-4)
    assert curve["high"][0] == pytest.approx(0.6994, abs=1e-4)


def test_the_reliability_curve_holds_every_row_and_covers_the_truth() -> None:
    labels, logits = sample(50_000)
    curve = reliability(pool(labels, logits), num_bins=40)
    assert sum(curve["rows"]) == 50_000
    assert max(curve["rows"]) == min(curve["rows"]) == 1250
    inside = (np.array(curve["low"]) <= curve["predicted"]) & (np.array(curve["predicted"]) <= curve["high"])
    assert inside.mean() > 0.8
