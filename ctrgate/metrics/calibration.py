"""Whether probabilities mean what they say: log loss, normalised entropy, calibration ratio, ECE, reliability."""

from __future__ import annotations

import math

import numpy as np

from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.intervals import share_interval
from ctrgate.metrics.pooled import PooledRows

__all__ = ["calibration_ratio", "ece", "log_loss", "normalized_entropy", "reliability", "sigmoid"]


def sigmoid(logits: Floats) -> Floats:
    """``1 / (1 + exp(-x))`` without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def log_loss(pooled: PooledRows) -> float:
    """Mean of ``-ln p`` over positives and ``-ln(1 - p)`` over negatives, in nats; finite for any logit."""
    total = pooled.positives.sum() + pooled.negatives.sum()
    softplus = np.log1p(np.exp(-np.abs(pooled.scores)))
    of_positives = pooled.positives @ (softplus + np.maximum(-pooled.scores, 0.0))
    of_negatives = pooled.negatives @ (softplus + np.maximum(pooled.scores, 0.0))
    return float((of_positives + of_negatives) / total)


def normalized_entropy(pooled: PooledRows) -> float:
    """Log loss over that of always answering these rows' own click rate (He et al., ADKDD 2014, eq. 3).

    Below 1 is better than knowing the rate alone; NaN with one class.
    """
    if pooled.one_class:
        return math.nan
    positives, negatives = pooled.positives.sum(), pooled.negatives.sum()
    rate = positives / (positives + negatives)
    return log_loss(pooled) / float(-rate * np.log(rate) - (1 - rate) * np.log1p(-rate))


def calibration_ratio(pooled: PooledRows) -> float:
    """Clicks predicted over clicks seen, ``Σ p / Σ y``: 1.1 promises a tenth too many; NaN without a positive."""
    if pooled.num_positives == 0:
        return math.nan
    predicted = sigmoid(pooled.scores) @ (pooled.positives + pooled.negatives)
    return float(predicted / pooled.positives.sum())


def ece(pooled: PooledRows, *, num_bins: int = 20) -> float:
    """Expected calibration error: ``Σ_b weight_b |mean p - mean y|`` over bins of equal weight.

    Rows of equal score stay in one bin, so the value does not depend on their order; where scores tie there are fewer
    bins.
    """
    rows, positives, predicted = _bins(pooled, num_bins=num_bins)
    return float(np.abs(predicted - positives).sum() / rows.sum())


def reliability(pooled: PooledRows, *, num_bins: int = 20) -> dict[str, list[float]]:
    """Predicted against seen click rate in bins of equal weight, with Wilson's 95 % interval.

    Returns:
        ``predicted``, ``observed``, ``low``, ``high`` and ``rows`` (summed weight), by bin from low to high scores.
        Under weights the interval treats summed weight as rows.
    """
    rows, positives, predicted = _bins(pooled, num_bins=num_bins)
    low, high = share_interval(positives / rows, num_rows=rows)
    curve = {"predicted": predicted / rows, "observed": positives / rows, "low": low, "high": high, "rows": rows}
    return {name: values.tolist() for name, values in curve.items()}


def _bins(pooled: PooledRows, *, num_bins: int) -> tuple[Floats, Floats, Floats]:
    """Weight, weight of positives and summed probability by bin; no bin is empty."""
    weight = pooled.positives + pooled.negatives
    middle = np.cumsum(weight) - weight / 2  # a score's rows go where their middle lies
    bins = np.floor(middle * (num_bins / weight.sum())).astype(np.int64)
    starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    parts = (weight, pooled.positives, weight * sigmoid(pooled.scores))
    rows, positives, predicted = (np.add.reduceat(part, starts) for part in parts)
    return rows, positives, predicted
