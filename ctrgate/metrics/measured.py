"""A value with the standard error that drawing other users would give it: its interval, and one-sided tests of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.intervals import Estimate

__all__ = ["Measured", "OneSided", "from_terms", "non_inferiority", "superiority"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric, or the difference of two, with its standard error; NaN where one does not exist.

    Args:
        value: The metric.
        standard_error: NaN where it is not known.
        degrees: Of freedom of that error, as ``from_terms`` finds them.
    """

    value: float
    standard_error: float
    degrees: float

    def interval(self, level: float = 0.95) -> Estimate:
        """``value ± t standard_error`` by Student's t, a little wider than a normal interval for few users.

        Example:
            >>> Measured(value=0.5, standard_error=0.1, degrees=4).interval().low
            0.22235548...
        """
        if not self.known:
            return Estimate(value=self.value, low=math.nan, high=math.nan)
        half = float(stdtrit(self.degrees, (1 + level) / 2)) * self.standard_error
        return Estimate(value=self.value, low=self.value - half, high=self.value + half)

    @property
    def known(self) -> bool:
        """Whether there is an interval: both numbers exist and rest on two users at least."""
        return math.isfinite(self.value) and math.isfinite(self.standard_error) and self.degrees >= 1

    def to_json(self, level: float = 0.95) -> dict[str, float | None]:
        """``value``, ``low``, ``high``, ``standard_error`` and ``degrees``; None for NaN."""
        error = self.standard_error if self.known else None
        return {**self.interval(level).to_json(), "standard_error": error, "degrees": self.degrees}

    @classmethod
    def from_json(cls, values: Mapping[str, float | None]) -> Measured:
        """The inverse of ``to_json``."""
        value, error, degrees = (values[name] for name in ("value", "standard_error", "degrees"))
        return cls(
            value=math.nan if value is None else value,
            standard_error=math.nan if error is None else error,
            degrees=math.nan if degrees is None else degrees,
        )


def from_terms(value: float, terms: Floats, *, num_users: int) -> Measured:
    """A value with the error of its linear terms: how far each user moves it, corrected for that user's own weight.

    ``var = Σ_u t_u²``. With t_u a user's residual over the total weight, divided by ``sqrt(1 - h_u)``, h_u the user's
    share of that weight, this is unbiased where rows are independent, and ``K/(K-1)`` times the plain sum where all
    users have the same weight (the correction CR2 of Bell and McCaffrey, Survey Methodology 2002).

    The degrees of freedom are Satterthwaite's, with the terms' own fourth moment: ``3 (Σ t²)² / Σ t⁴ - 3``, which is
    about K - 1 for K normal terms alike and less where a few users weigh most, at least 1 and at most
    ``num_users - 1``. Without it, intervals of users of very unequal size miss more often than they say.

    Args:
        value: The metric.
        terms: One per user (or row), corrected.
        num_users: As many as the value rests on; fewer than 2 give no error.

    Shape:
        - terms: ``(K,)``
    """
    if num_users < 2 or not np.isfinite(terms).all():
        return Measured(value=value, standard_error=math.nan, degrees=max(num_users - 1, 0))
    squares = terms**2
    variance, fourth = float(squares.sum()), float(squares @ squares)
    degrees = 3 * variance**2 / fourth - 3 if fourth else math.inf
    return Measured(value=value, standard_error=math.sqrt(variance), degrees=min(max(degrees, 1.0), num_users - 1.0))


@dataclass(frozen=True, kw_only=True)
class OneSided:
    """What a one-sided test says.

    Args:
        p_value: The chance of a difference at least this good where the hypothesis is just untrue; NaN if unknown.
        passed: Whether that chance is at most ``alpha``.
        alpha: The rate of false passes that was allowed.
    """

    p_value: float
    passed: bool
    alpha: float


def superiority(difference: Measured, *, larger_is_better: bool, alpha: float = 0.025) -> OneSided:
    """Whether B is better than A: the one-sided t test of ``difference = B - A`` against 0.

    With ``alpha`` of 0.025 it passes where the 95 % interval lies wholly on the good side of 0.

    Args:
        difference: Of a metric.
        larger_is_better: Which side is the good one: true for AUC, false for log loss.
        alpha: How often B may pass that is as good as A.
    """
    return non_inferiority(difference, margin=0.0, larger_is_better=larger_is_better, alpha=alpha)


def non_inferiority(difference: Measured, *, margin: float, larger_is_better: bool, alpha: float = 0.025) -> OneSided:
    """Whether B is worse than A by less than ``margin``: the one-sided t test against ``-margin``.

    Fails where the standard error is unknown. Where it is 0, B passes only if it equals A and the margin is above 0: a
    difference without any spread says nothing about new rows.

    Args:
        difference: B less A.
        margin: In the metric's unit, not negative.
        larger_is_better: Which side is the good one.
        alpha: How often B may pass that is worse by just the margin.

    Raises:
        DataError: A negative margin, or an alpha outside (0, 1).
    """
    if not (margin >= 0 and 0 < alpha < 1):
        raise DataError(f"a margin is at least 0 and alpha between 0 and 1; got {margin} and {alpha}")
    if not difference.known:
        return OneSided(p_value=math.nan, passed=False, alpha=alpha)
    gain = difference.value if larger_is_better else -difference.value
    if difference.standard_error == 0:
        p_value = 0.0 if gain == 0 and margin > 0 else 1.0
    else:
        p_value = float(stdtr(difference.degrees, -(gain + margin) / difference.standard_error))
    return OneSided(p_value=p_value, passed=p_value <= alpha, alpha=alpha)
