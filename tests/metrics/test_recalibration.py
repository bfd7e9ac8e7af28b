"""Curves fitted to what was seen, against scikit-learn, by simulation and where rows say little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from ctrgate.errors import DataError
from ctrgate.metrics.calibration import calibration_ratio, ece, log_loss, sigmoid
from ctrgate.metrics.pooled import pool
from ctrgate.metrics.recalibration import fit_isotonic, fit_platt


def clicks(logits: NDArray[Any], seed: int) -> NDArray[Any]:
    return (np.random.default_rng(seed).uniform(size=len(logits)) < sigmoid(logits)).astype(float)


def told(p: NDArray[Any]) -> NDArray[Any]:
    return np.log(p) - np.log1p(-p)


def test_platt_finds_the_slope_and_intercept_that_spoilt_the_scores() -> None:
    truth = np.random.default_rng(0).normal(-2, 1, size=200_000)
    slope, intercept = fit_platt(pool(clicks(truth, 1), 3 * truth + 4))
    assert slope == pytest.approx(1 / 3, rel=0.02)
    assert intercept == pytest.approx(-4 / 3, rel=0.02)


def test_platt_is_the_least_loss_of_his_targets_with_weights() -> None:
    random = np.random.default_rng(2)
    x, weights = random.normal(5, 40, size=80), random.uniform(0.1, 3, size=80)
    y = clicks(x / 30, 3)
    positives, negatives = weights[y == 1].sum(), weights[y == 0].sum()
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(at: Any) -> float:
        z = at[0] * x + at[1]
        return float(weights @ (np.logaddexp(0, z) - target * z))

    best = minimize(loss, [0.01, 0.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 5_000})
    np.testing.assert_allclose(fit_platt(pool(y, x, weights=weights)), best.x, rtol=1e-4, atol=1e-5)


def test_platt_stays_finite_where_scores_part_the_classes() -> None:
    slope, intercept = fit_platt(pool(np.array([0, 0, 1, 1]), np.array([-2.0, -1, 1, 2])))
    assert 0 < slope < 10
    assert abs(intercept) < 1e-6
    slope, _ = fit_platt(pool(np.array([0] * 50 + [1] * 50), np.linspace(-300, 300, 100)))
    assert 0 < slope < 10


def test_isotonic_is_scikit_learns_but_for_half_a_row_at_each_end() -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=400).round(1)
    y = clicks(x, 5)
    weights = random.uniform(0.5, 2, size=400)
    logits, p = fit_isotonic(pool(y, x, weights=weights))
    other = IsotonicRegression().fit(
        np.concatenate([x, [x.min(), x.max()]]), np.concatenate([y, [1, 0]]), np.concatenate([weights, [0.5, 0.5]])
    )
    np.testing.assert_allclose(np.interp(x, logits, p), other.predict(x), atol=1e-9)


def test_isotonic_rises_and_stays_off_0_and_1_even_on_a_handful_of_rows() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        x = random.normal(size=random.integers(2, 12)).round(1)
        y = (random.uniform(size=len(x)) < 0.5).astype(float)
        y[0], y[-1] = 0, 1
        logits, p = fit_isotonic(pool(y, x))
        assert np.all(np.diff(logits) > 0)
        assert np.all(np.diff(p) >= 0)
        assert 0 < p.min() <= p.max() < 1


def test_both_mend_other_rows_and_isotonic_mends_bends_that_platt_cannot() -> None:
    truth = np.random.default_rng(6).normal(-1, 1.5, size=200_000)
    spoilt = np.where(truth > -1, 3 * (truth + 1), 0.3 * (truth + 1)) + 0.5  # rises, with a bend
    y, half = clicks(truth, 7), np.arange(200_000) < 100_000
    fitted, other = pool(y[half], spoilt[half]), spoilt[~half]
    slope, intercept = fit_platt(fitted)
    knots = fit_isotonic(fitted)
    found = {
        name: pool(y[~half], logits)
        for name, logits in {
            "before": other,
            "platt": slope * other + intercept,
            "isotonic": told(np.interp(other, *knots)),
            "truth": truth[~half],
        }.items()
    }
    losses = {name: log_loss(of) for name, of in found.items()}
    assert losses["truth"] < losses["isotonic"] < losses["platt"] < losses["before"]
    assert losses["isotonic"] - losses["truth"] < 0.001
    assert abs(calibration_ratio(found["platt"]) - 1) < 0.02
    assert abs(calibration_ratio(found["isotonic"]) - 1) < 0.02
    assert ece(found["isotonic"]) < 0.01 < ece(found["platt"]) < ece(found["before"])


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(fit: Any, label: int) -> None:
    with pytest.raises(DataError, match=r"rows with and without a click; found .* Fit it on another split"):
        fit(pool(np.full(3, label), np.arange(3.0)))


def test_scores_that_fall_with_the_click_rate_are_refused_by_platt() -> None:
    truth = np.random.default_rng(0).normal(size=1_000)
    with pytest.raises(DataError, match=r"does not rise with the scores on these rows \(slope -"):
        fit_platt(pool(clicks(truth, 1), -truth))
    with pytest.raises(DataError, match="does not rise"):
        fit_platt(pool(np.array([0, 1]), np.zeros(2)))
