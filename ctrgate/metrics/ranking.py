"""Next-item metrics from the rank of each row's true item, 1 being the best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats

__all__ = ["hit_rate", "mrr", "ndcg"]


def hit_rate(ranks: NDArray[Any], *, k: int) -> float:
    """Share of rows whose item is among the first k; with one true item, also recall."""
    return float(np.mean(_checked(ranks) <= k))


def ndcg(ranks: NDArray[Any], *, k: int) -> float:
    """Mean of ``1 / log2(1 + rank)`` within the first k, else 0: NDCG with one true item per row."""
    checked = _checked(ranks)
    return float(np.mean(np.where(checked <= k, 1 / np.log2(1 + checked), 0.0)))


def mrr(ranks: NDArray[Any], *, k: int) -> float:
    """Mean of ``1 / rank`` within the first k, else 0."""
    checked = _checked(ranks)
    return float(np.mean(np.where(checked <= k, 1 / checked, 0.0)))


def _checked(ranks: NDArray[Any]) -> Floats:
    checked = np.asarray(ranks, dtype=np.float64)
    if checked.ndim != 1 or len(checked) == 0 or not (checked >= 1).all():
        raise DataError(f"ranks must be one per row, at least one row, each 1 or more; got shape {checked.shape}")
    return checked
