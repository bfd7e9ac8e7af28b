"""Area under the ROC curve: exact, aware of ties, with DeLong's interval; and the curve itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.intervals import Estimate, normal_interval
from ctrgate.metrics.pooled import PooledRows, pool

__all__ = ["auc", "delong", "delong_variance", "roc_curve"]


def auc(labels: NDArray[Any], scores: NDArray[Any], *, weights: NDArray[Any] | None = None) -> float:
    """The chance that a positive row scores above a negative one, a tie counting one half; NaN with one class.

    Example:
        >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
        0.875
    """
    return auc_of(pool(labels, scores, weights=weights))


def delong(
    labels: NDArray[Any], scores: NDArray[Any], *, weights: NDArray[Any] | None = None, level: float = 0.95
) -> Estimate:
    """AUC with the normal interval of DeLong et al. (1988); rows are taken as independent.

    For rows that come in users, ``bootstrap.bootstrap_auc`` resamples the users. A perfect ranking has variance 0 and
    so an interval of no width, which says nothing about new rows.

    Args:
        labels: 0 or 1.
        scores: Any monotone score; logits in float64 are best.
        weights: Sampling weights; only their ratios count (all weights times 2 change nothing).
        level: Coverage of the interval.
    """
    pooled = pool(labels, scores, weights=weights)
    return delong_of(pooled, level=level)


def delong_variance(labels: NDArray[Any], scores: NDArray[Any], *, weights: NDArray[Any] | None = None) -> float:
    """The variance of AUC after DeLong et al. (1988), eq. 5, in O(n log n); NaN unless each class has two rows.

    ``S10 / m + S01 / n``, where S10 is the variance over positives of the share of negatives below each, S01 the same
    the other way round. With weights, each part is ``m / (m-1) Σ w² (V - AUC)² / (Σ w)²``.
    """
    return delong_variance_of(pool(labels, scores, weights=weights))


def auc_of(pooled: PooledRows) -> float:
    """AUC of rows already pooled."""
    if pooled.one_class:
        return math.nan
    below = np.cumsum(pooled.negatives) - pooled.negatives / 2
    return float((pooled.positives @ below) / (pooled.positives.sum() * pooled.negatives.sum()))


def delong_of(pooled: PooledRows, *, level: float = 0.95) -> Estimate:
    """AUC of rows already pooled, with DeLong's interval; the interval is NaN unless each class has two rows."""
    value, variance = auc_of(pooled), delong_variance_of(pooled)
    if math.isnan(variance):
        return Estimate(value=value, low=math.nan, high=math.nan)
    return normal_interval(value, variance=variance, level=level)


def delong_variance_of(pooled: PooledRows) -> float:
    """DeLong's variance of rows already pooled."""
    if min(pooled.num_positives, pooled.num_negatives) < 2:
        return math.nan
    area = auc_of(pooled)
    total_positives, total_negatives = pooled.positives.sum(), pooled.negatives.sum()
    below = (np.cumsum(pooled.negatives) - pooled.negatives / 2) / total_negatives
    above = 1 - (np.cumsum(pooled.positives) - pooled.positives / 2) / total_positives
    of_positives = pooled.positive_squares @ (below - area) ** 2 / total_positives**2
    of_negatives = pooled.negative_squares @ (above - area) ** 2 / total_negatives**2
    m, n = pooled.num_positives, pooled.num_negatives
    return float(of_positives * m / (m - 1) + of_negatives * n / (n - 1))


def roc_curve(pooled: PooledRows, *, max_points: int = 200) -> dict[str, list[float]]:
    """The ROC curve from (0, 0) to (1, 1), thinned to about ``max_points`` points that are even along it.

    Returns:
        ``false_positive_rate`` and ``true_positive_rate``, of equal length; empty with one class.
    """
    if pooled.one_class:
        return {"false_positive_rate": [], "true_positive_rate": []}
    false_rate = np.append(0.0, np.cumsum(pooled.negatives[::-1]) / pooled.negatives.sum())
    true_rate = np.append(0.0, np.cumsum(pooled.positives[::-1]) / pooled.positives.sum())
    along = false_rate + true_rate
    kept = np.unique(np.append(np.searchsorted(along, np.linspace(0, 2, max_points)), len(along) - 1))
    kept = kept[kept < len(along)]
    false_rate[-1] = true_rate[-1] = 1.0
    return {"false_positive_rate": false_rate[kept].tolist(), "true_positive_rate": true_rate[kept].tolist()}
