"""How high targets are ranked: hit rate, NDCG and MRR at a cutoff, with intervals that resample users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.intervals import Estimate, percentile_interval

__all__ = ["bootstrap_mean", "ranking_summary", "ranking_values"]

_CELLS_AT_ONCE = 4_000_000


def ranking_values(ranks: NDArray[Any], *, cutoff: int) -> dict[str, Floats]:
    """Per row ``hit_rate = [r <= K]``, ``ndcg = [r <= K] / log2(r + 1)`` and ``mrr = [r <= K] / r`` of its one target.

    With one target per row the ideal gain is 1, and recall at K is the hit rate.

    Args:
        ranks: Each target's place from 1; 0 for a target that is no candidate, which is a miss.
        cutoff: K.

    Shape:
        - ranks: ``(n,)``; returns three times ``(n,)``

    Example:
        >>> {name: values.round(3).tolist() for name, values in ranking_values(np.array([1, 3, 0]), cutoff=10).items()}
        {'hit_rate': [1.0, 1.0, 0.0], 'ndcg': [1.0, 0.5, 0.0], 'mrr': [1.0, 0.333, 0.0]}
    """
    places = np.asarray(ranks, dtype=np.float64)
    if places.ndim != 1 or not (places >= 0).all():
        raise DataError("ranks must be one per row, from 1, or 0 for a target that is no candidate")
    hit = (places >= 1) & (places <= cutoff)
    place = np.where(hit, places, 1.0)
    return {"hit_rate": hit.astype(np.float64), "ndcg": hit / np.log2(place + 1), "mrr": hit / place}


def ranking_summary(
    ranks: NDArray[Any], *, cutoffs: Sequence[int], groups: NDArray[Any] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Each metric at each cutoff (``ndcg@10``), averaged over rows, with its interval over users.

    Args:
        ranks: As in ``ranking_values``.
        cutoffs: Each K.
        groups: The user of each row; None takes every row for a user of its own.
        seed: Of the resampling.
    """
    found: dict[str, Any] = {}
    for cutoff in cutoffs:
        for name, values in ranking_values(ranks, cutoff=cutoff).items():
            found[f"{name}@{cutoff}"] = bootstrap_mean(values, groups=groups, seed=seed).to_json()
    return found


def bootstrap_mean(
    values: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    seed: int,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """The mean over rows, with a percentile interval from groups that come a Poisson(1) number of times each.

    Of the differences of two models on the same rows, this is the paired interval of their difference.

    Shape:
        - values: ``(n,)``; groups: ``(n,)`` integers or strings, or None
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise DataError("there are no rows to average")
    codes = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    rows = np.bincount(codes).astype(np.float64)
    sums = np.bincount(codes, weights=values)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // len(rows))
    parts = []
    for begin in range(0, num_resamples, step):
        times = rng.poisson(1.0, size=(min(step, num_resamples - begin), len(rows)))
        total = times @ rows
        parts.append(np.divide(times @ sums, total, out=np.full(len(total), np.nan), where=total > 0))
    return percentile_interval(float(values.mean()), resampled=np.concatenate(parts), level=level)
