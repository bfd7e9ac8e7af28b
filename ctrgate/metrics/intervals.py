"""A value with its interval, from a standard error, from resampled values, or for a share of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ctrgate.metrics.arrays import Floats

__all__ = ["Estimate", "normal_interval", "percentile_interval", "share_interval"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value between the ends of its interval; NaN where it does not exist."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Plain values, None for NaN."""
        return {name: None if math.isnan(part) else part for name, part in vars(self).items()}


def normal_interval(value: float, *, variance: float, level: float = 0.95) -> Estimate:
    """``value ± z sqrt(variance)``, cut to [0, 1]; for metrics that live there."""
    half = _z(level) * math.sqrt(variance)
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def percentile_interval(value: float, *, resampled: Floats, level: float = 0.95) -> Estimate:
    """The percentile interval of a bootstrap; resamples in which the value does not exist (NaN) are left out."""
    known = resampled[~np.isnan(resampled)]
    if len(known) == 0:
        return Estimate(value=value, low=math.nan, high=math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def share_interval(share: Floats, *, num_rows: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval for shares of rows; holds its level for rare clicks, where a normal one does not.

    Shape:
        - share, num_rows: ``(k,)``; returns: lows and highs, ``(k,)`` each
    """
    z = _z(level)
    middle = (share + z**2 / (2 * num_rows)) / (1 + z**2 / num_rows)
    half = z / (1 + z**2 / num_rows) * np.sqrt(share * (1 - share) / num_rows + z**2 / (4 * num_rows**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
