"""Intervals by resampling whole groups (users), for rows of one user are not independent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats, check_rows
from ctrgate.metrics.auc import auc
from ctrgate.metrics.grouped import GroupedAuc
from ctrgate.metrics.intervals import Estimate, percentile_interval

__all__ = ["bootstrap_auc", "bootstrap_grouped_auc"]

_CELLS_AT_ONCE = 4_000_000


def bootstrap_auc(
    labels: NDArray[Any],
    scores: NDArray[Any],
    groups: NDArray[Any],
    *,
    seed: int,
    num_resamples: int = 200,
    level: float = 0.95,
) -> Estimate:
    """AUC over all rows, with a percentile interval from resampled groups.

    Each resample counts every group a Poisson(1) number of times, which for more than some 50 groups is as good as
    drawing them with replacement. One sort in all, then O(n) per resample.

    Shape:
        - labels, scores: ``(n,)``; groups: ``(n,)`` integers or strings
    """
    positive, values, _ = check_rows(labels, scores)
    groups = np.asarray(groups)
    if groups.shape != values.shape:
        raise DataError(f"groups must have one value for each of the {len(values)} scores; shape is {groups.shape}")
    order = np.argsort(values)
    positive, ordered = positive[order], values[order]
    names, codes = np.unique(groups[order], return_inverse=True)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    rng = np.random.default_rng(seed)
    resampled = np.empty(num_resamples)
    for index in range(num_resamples):
        times = rng.poisson(1.0, size=len(names)).astype(np.float64)[codes]
        positives = np.add.reduceat(times * positive, starts)
        negatives = np.add.reduceat(times, starts) - positives
        pairs = positives.sum() * negatives.sum()
        resampled[index] = positives @ (np.cumsum(negatives) - negatives / 2) / pairs if pairs else np.nan
    return percentile_interval(auc(positive, ordered), resampled=resampled, level=level)


def bootstrap_grouped_auc(
    grouped: GroupedAuc, *, seed: int, num_resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Grouped AUC with a percentile interval from groups resampled by Poisson(1) counts; O(groups) per resample."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // max(grouped.num_groups, 1))
    parts: list[Floats] = []
    for begin in range(0, num_resamples, step):
        rows = rng.poisson(1.0, size=(min(step, num_resamples - begin), grouped.num_groups)) * grouped.rows
        total = rows.sum(axis=1)
        parts.append(np.divide(rows @ grouped.aucs, total, out=np.full(len(total), np.nan), where=total > 0))
    return percentile_interval(grouped.value, resampled=np.concatenate(parts), level=level)
