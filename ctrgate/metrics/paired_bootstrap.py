"""All differences of two models at once by resampling users, as a check on the errors that formulas give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.intervals import percentile_interval
from ctrgate.metrics.paired import PairedRows
from ctrgate.metrics.paired_auc import PairedGroupedAuc
from ctrgate.metrics.paired_means import ClusterSums

__all__ = ["Resampled", "bootstrap_differences"]


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """A difference over resampled users.

    Args:
        low, high: The percentile interval.
        standard_error: The spread of the resampled values.
        num_resamples: Those in which the difference exists.
    """

    low: float
    high: float
    standard_error: float
    num_resamples: int

    def to_json(self) -> dict[str, float | None]:
        """Plain values, None for NaN."""
        return {name: None if math.isnan(part) else part for name, part in vars(self).items()}


def bootstrap_differences(
    rows: PairedRows,
    *,
    sums: ClusterSums,
    grouped: PairedGroupedAuc,
    seed: int,
    num_resamples: int = 200,
    level: float = 0.95,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Resampled]:
    """B less A in each metric, over users that come a Poisson(1) number of times each, with all their rows.

    Both models and all metrics see the same draws. Rows are sorted once per model; a resample is then O(n).

    Args:
        rows: With users.
        sums: ``cluster_sums(rows)``.
        grouped: ``paired_grouped_auc(rows)``.
        seed: Of the draws.
        num_resamples: How many; 200 know a standard error to some 5 %.
        level: Of the percentile interval.
        advance: Called after each resample.

    Returns:
        By metric: ``auc``, ``gauc``, ``log_loss``, ``normalized_entropy``, ``calibration_ratio``.
    """
    ordered_a, ordered_b = _Ordered(rows, rows.a), _Ordered(rows, rows.b)
    stacked, apart = sums.stacked(), grouped.rows * (grouped.aucs_b - grouped.aucs_a)
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(num_resamples):
        times = rng.poisson(1.0, size=rows.num_clusters).astype(np.uint8)
        values = _means(stacked @ times)
        values["auc"] = ordered_b.auc(times) - ordered_a.auc(times)
        drawn = times[grouped.codes].astype(np.float64)
        weight = drawn @ grouped.rows
        values["gauc"] = float(drawn @ apart / weight) if weight else math.nan
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        advance()
    return {name: _resampled(np.array(values), level=level) for name, values in found.items()}


class _Ordered:
    """Rows in the order of one model's scores, for the AUC of any draw of users."""

    def __init__(self, rows: PairedRows, scores: Floats) -> None:
        order = np.argsort(scores)
        ordered = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._starts = starts if len(starts) < len(order) else None
        del ordered
        self._codes: NDArray[np.int32] = np.asarray(rows.codes)[order]
        self._positive = rows.positive[order]
        self._weights = None if rows.weights is None else rows.weights[order]

    def auc(self, times: NDArray[np.uint8]) -> float:
        """AUC where each user's rows come so many times."""
        drawn = times[self._codes]
        if self._weights is None:
            positives: NDArray[np.int64] | Floats = np.where(self._positive, drawn, 0).astype(np.int64)
            negatives: NDArray[np.int64] | Floats = np.where(self._positive, 0, drawn).astype(np.int64)
        else:
            weight = drawn * self._weights
            positives, negatives = np.where(self._positive, weight, 0.0), np.where(self._positive, 0.0, weight)
        if self._starts is not None:
            positives, negatives = (np.add.reduceat(part, self._starts) for part in (positives, negatives))
        pairs = float(positives.sum()) * float(negatives.sum())
        if not pairs:
            return math.nan
        # 2 x (below + half of those tied), which stays whole for rows without weights
        below = 2 * np.cumsum(negatives) - negatives
        return float(np.dot(positives.astype(np.float64), below.astype(np.float64)) / 2 / pairs)


def _means(total: Floats) -> dict[str, float]:
    """The differences of the metrics that six sums tell."""
    rows, clicks, loss_a, loss_b, predicted_a, predicted_b = total.tolist()
    if not rows:
        return dict.fromkeys(("log_loss", "normalized_entropy", "calibration_ratio"), math.nan)
    loss, rate = (loss_b - loss_a) / rows, clicks / rows
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate) if 0 < rate < 1 else math.nan
    return {
        "log_loss": loss,
        "normalized_entropy": loss / entropy,
        "calibration_ratio": (predicted_b - predicted_a) / clicks if clicks else math.nan,
    }


def _resampled(values: Floats, *, level: float) -> Resampled:
    interval = percentile_interval(math.nan, resampled=values, level=level)
    known = values[~np.isnan(values)]
    error = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Resampled(low=interval.low, high=interval.high, standard_error=error, num_resamples=len(known))
