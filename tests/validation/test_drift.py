"""Distances between distributions by hand-worked numbers, and the test that tells them from sampling noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from ctrgate.metrics.stability import EPSILON, psi
from ctrgate.validation.drift import homogeneity, jensen_shannon


def test_psi_equals_a_hand_worked_value() -> None:
    # (.25 - .5) ln(.25 / .5) + (.75 - .5) ln(.75 / .5) = .17329 + .10137
    assert psi([0.5, 0.5], [0.25, 0.75]) == pytest.approx(0.27465, abs=2e-4)
    assert psi([50, 50], [1, 3]) == psi([0.5, 0.5], [0.25, 0.75])  # counts do as well as shares


def test_an_empty_bin_gives_a_finite_psi() -> None:
    p, q = (1 + EPSILON) / (1 + 2 * EPSILON), (0.9 + EPSILON) / (1 + 2 * EPSILON)
    worked = (q - p) * math.log(q / p) + (p - q) * math.log((1 - q) / (1 - p))
    assert psi([1, 0], [0.9, 0.1]) == pytest.approx(worked)
    assert psi([0, 0], [0, 0]) == 0.0


def test_jensen_shannon_equals_a_hand_worked_value_in_bits() -> None:
    # m = (.75, .25): (log2(4/3) + (log2(2/3) + log2 2) / 2) / 2
    assert jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(0.311278, abs=1e-6)
    assert jensen_shannon([0.5, 0.5], [1, 0]) == jensen_shannon([1, 0], [0.5, 0.5])


def test_equal_distributions_are_at_distance_nothing_and_disjoint_ones_at_one_bit() -> None:
    assert psi([3, 1], [300, 100]) == jensen_shannon([3, 1], [300, 100]) == 0.0
    assert jensen_shannon([0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5]) == pytest.approx(1.0)


def test_the_test_is_pearsons() -> None:
    first, second = np.array([30, 50, 120]), np.array([60, 60, 80])
    known = chi2_contingency(np.stack([first, second]), correction=False).pvalue
    assert homogeneity(first, second, num_expected=200, num_found=200) == pytest.approx(known)
    # shares of a sample tell as much as its effective size, not its rows
    assert homogeneity(first, second, num_expected=20, num_found=20) > 0.1


def test_rare_bins_are_taken_as_one() -> None:
    first, second = [500, *[1] * 20, *[0] * 20], [500, *[0] * 20, *[1] * 20]
    assert homogeneity(first, second, num_expected=520, num_found=520) == pytest.approx(1.0)
    assert homogeneity([1], [1], num_expected=10, num_found=10) == 1.0
    assert homogeneity([1, 1], [1, 1], num_expected=0, num_found=10) == 1.0


def test_samples_of_one_distribution_are_told_apart_as_seldom_as_the_level_says() -> None:
    random = np.random.default_rng(0)
    shares = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.01, 0.01])
    pairs = [(random.multinomial(20_000, shares), random.multinomial(1_000, shares)) for _ in range(1_000)]
    alarms = sum(homogeneity(one, other, num_expected=20_000, num_found=1_000) < 0.05 for one, other in pairs)
    assert 25 <= alarms <= 75  # 50 expected, standard deviation 6.9
