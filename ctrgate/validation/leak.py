"""How well a single column ranks the labels, told by halves of the rows that teach each other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.auc import auc_of, delong_variance_of
from ctrgate.metrics.intervals import Estimate, normal_interval
from ctrgate.metrics.pooled import PooledRows

__all__ = ["single_auc"]

_LEAST = 10  # rows of each class in each half


def single_auc(counts: NDArray[np.int64], *, level: float) -> Estimate | None:
    """The AUC of "the positive share of the row's bin", each half of the rows scored by the shares of the other.

    So a column of pure noise has .5 however many bins it falls into. The two halves' AUCs are averaged, and so are
    DeLong's variances (divided by 2, as the halves share no row).

    Args:
        counts: Rows by half, class (0, 1) and bin.
        level: Coverage of the interval.

    Returns:
        None where a half has fewer than ten rows of a class.

    Shape:
        - counts: ``(2, 2, B)``
    """
    if counts.shape[-1] == 0 or counts.sum(axis=2).min() < _LEAST:
        return None
    halves = [_pooled(counts[half], scores=_scores(counts[1 - half])) for half in (0, 1)]
    value = sum(auc_of(half) for half in halves) / 2
    variance = sum(delong_variance_of(half) for half in halves) / 4
    return None if math.isnan(variance) else normal_interval(value, variance=variance, level=level)


def _scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each bin's share of positives, drawn to that of all by one row's weight."""
    negatives, positives = counts
    overall = positives.sum() / counts.sum()
    return np.asarray((positives + overall) / (negatives + positives + 1))


def _pooled(counts: NDArray[np.int64], *, scores: NDArray[np.float64]) -> PooledRows:
    distinct, places = np.unique(scores, return_inverse=True)
    negatives, positives = (
        np.bincount(places, weights=part, minlength=len(distinct)).astype(np.float64) for part in counts
    )
    return PooledRows(
        scores=distinct,
        positives=positives,
        negatives=negatives,
        positive_squares=positives,
        negative_squares=negatives,
        num_positives=int(counts[1].sum()),
        num_negatives=int(counts[0].sum()),
    )
