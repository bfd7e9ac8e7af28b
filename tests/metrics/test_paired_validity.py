"""Whether intervals and tests keep their promises on rows of correlated users, by simulation with a known truth.

A rate of misses or of false passes is accepted where it is not significantly above the nominal one: one-sided binomial
test at 99 %. The default run has fewer trials; the slow ones are 1,000.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import binom

from ctrgate.metrics.measured import Measured, non_inferiority, superiority
from ctrgate.metrics.paired import PairedRows, pair
from ctrgate.metrics.paired_auc import paired_auc, paired_grouped_auc
from ctrgate.metrics.paired_bootstrap import bootstrap_errors
from ctrgate.metrics.paired_means import cluster_sums, paired_calibration, paired_entropy, paired_log_loss

NORMAL = NormalDist()
SHARED_USER, OWN_USER, SHARED_ROW, OWN_ROW = 0.3, 0.6, 0.8, 0.6  # standard deviations of the scores' parts
BETWEEN = math.hypot(SHARED_USER, OWN_USER, SHARED_ROW, OWN_ROW)  # of any two rows
WITHIN = math.hypot(SHARED_ROW, OWN_ROW)  # of two rows of one user
AUC, MARGIN = 0.72, 0.01
TRIALS = [pytest.param(300, id="quick"), pytest.param(1000, id="full", marks=pytest.mark.slow)]


def shift_for(auc: float, spread: float) -> float:
    """How far clicks score above the rest for such an AUC: ``AUC = Phi(shift / (sqrt(2) spread))``."""
    return math.sqrt(2) * spread * NORMAL.inv_cdf(auc)


def draw(rng: np.random.Generator, *, shift_a: float, shift_b: float, num_users: int = 150) -> PairedRows:
    """Rows of users of very unequal size, whose click rates differ, and to whom each model is unjust in its own way."""
    sizes = 1 + rng.lognormal(1.5, 1.3, num_users).astype(int)  # mean 11; the largest of 150 has some 100 rows
    users = np.repeat(np.arange(num_users), sizes)
    clicked = rng.random(len(users)) < 1 / (1 + np.exp(1.2 - rng.normal(size=num_users)[users]))
    shared = SHARED_USER * rng.normal(size=num_users)[users] + SHARED_ROW * rng.normal(size=len(users))
    a, b = (
        shift * clicked
        - 1.2
        + shared
        + OWN_USER * rng.normal(size=num_users)[users]
        + OWN_ROW * rng.normal(size=len(users))
        for shift in (shift_a, shift_b)
    )
    return pair(clicked, a, b, groups=users)


def differences(pairs: PairedRows) -> dict[str, Measured]:
    sums, area, grouped = cluster_sums(pairs), paired_auc(pairs), paired_grouped_auc(pairs)
    assert grouped is not None
    return {
        "auc": area.difference,
        "auc of independent rows": area.independent_rows,
        "gauc": grouped.difference,
        "log loss": paired_log_loss(sums).difference,
        "normalized entropy": paired_entropy(sums).difference,
        "calibration": paired_calibration(sums).difference,
    }


def acceptable(count: int, trials: int, rate: float) -> bool:
    """Whether a count of errors is not significantly above its rate."""
    return count <= binom.ppf(0.99, trials, rate)


@pytest.mark.parametrize("users", [30, 150])
@pytest.mark.parametrize("trials", TRIALS)
def test_as_good_a_model_is_seldom_called_better_and_intervals_cover_no_difference(trials: int, users: int) -> None:
    rng, shift = np.random.default_rng(11), shift_for(AUC, BETWEEN)
    missed: Counter[str] = Counter()
    promoted: Counter[str] = Counter()
    for _ in range(trials):
        for name, difference in differences(draw(rng, shift_a=shift, shift_b=shift, num_users=users)).items():
            interval = difference.interval()
            missed[name] += not interval.low <= 0 <= interval.high
            promoted[name] += superiority(difference, larger_is_better="auc" in name, alpha=0.05).passed
    naive = "auc of independent rows"
    for name in ("auc", "gauc", "log loss", "normalized entropy", "calibration"):
        assert acceptable(missed[name], trials, 0.05), (name, missed)
        assert acceptable(promoted[name], trials, 0.05), (name, promoted)
    # What the users are for: plain DeLong errs far more often on the same rows.
    assert not acceptable(missed[naive], trials, 0.05)
    assert not acceptable(promoted[naive], trials, 0.05)


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize(("name", "spread"), [("auc", BETWEEN), ("gauc", WITHIN)])
def test_a_model_worse_by_the_margin_seldom_passes_and_intervals_cover_it(
    name: str, spread: float, trials: int
) -> None:
    rng = np.random.default_rng(12)
    shift_a, shift_b = shift_for(AUC, spread), shift_for(AUC - MARGIN, spread)
    missed = passed = 0
    values = []
    for _ in range(trials):
        difference = differences(draw(rng, shift_a=shift_a, shift_b=shift_b))[name]
        interval = difference.interval()
        missed += not interval.low <= -MARGIN <= interval.high
        passed += non_inferiority(difference, margin=MARGIN, larger_is_better=True, alpha=0.05).passed
        values.append(difference.value)
    assert acceptable(missed, trials, 0.05), missed
    assert acceptable(passed, trials, 0.05), passed
    assert passed > 0  # the test is no refusal of everything
    assert np.mean(values) == pytest.approx(-MARGIN, abs=4 * np.std(values) / math.sqrt(trials) + 2e-4)


@pytest.mark.slow
def test_intervals_of_resampled_users_cover_as_well() -> None:
    rng, trials = np.random.default_rng(13), 1000
    shift = shift_for(AUC, BETWEEN)
    missed: Counter[str] = Counter()
    for trial in range(trials):
        pairs = draw(rng, shift_a=shift, shift_b=shift)
        grouped, sums = paired_grouped_auc(pairs), cluster_sums(pairs)
        assert grouped is not None
        errors = bootstrap_errors(pairs, sums=sums, grouped=grouped, seed=trial, num_resamples=200)
        found = {"auc": paired_auc(pairs).difference, "gauc": grouped.difference}
        found |= {"log_loss": paired_log_loss(sums).difference}
        for name, difference in found.items():
            interval = replace(difference, standard_error=errors[name]).interval()
            missed[name] += not interval.low <= 0 <= interval.high
    assert all(acceptable(missed[name], trials, 0.05) for name in ("auc", "gauc", "log_loss")), missed


def test_a_test_passes_where_its_side_of_the_interval_does() -> None:
    difference = Measured(value=0.004, standard_error=0.0019, degrees=60)
    assert difference.interval().low > 0
    assert superiority(difference, larger_is_better=True).passed
    assert not superiority(difference, larger_is_better=True, alpha=0.01).passed
    assert not superiority(difference, larger_is_better=False).passed
    assert difference.interval().high < 0.01
    assert non_inferiority(difference, margin=0.01, larger_is_better=False).passed


def test_a_difference_without_an_error_promotes_nobody() -> None:
    unknown = Measured(value=0.2, standard_error=math.nan, degrees=0)
    sure = Measured(value=0.2, standard_error=0.0, degrees=9)
    equal = Measured(value=0.0, standard_error=0.0, degrees=9)
    for difference in (unknown, sure, equal):
        assert not superiority(difference, larger_is_better=True).passed
    assert not non_inferiority(unknown, margin=1.0, larger_is_better=True).passed
    assert non_inferiority(equal, margin=0.001, larger_is_better=True).passed
    assert not non_inferiority(equal, margin=0.0, larger_is_better=True).passed
