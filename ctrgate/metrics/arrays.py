"""Rows handed to a metric, checked once: labels of 0 and 1, finite scores, weights that can be summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError

__all__ = ["MISSING", "Floats", "check_rows", "check_scores"]

Floats = NDArray[np.float64]
MISSING = "missing"
"""What rows without a value are called where rows are told apart by it."""


def check_rows(
    labels: NDArray[Any], scores: NDArray[Any], *, weights: NDArray[Any] | None = None
) -> tuple[NDArray[np.bool_], Floats, Floats | None]:
    """Labels as bool, scores and weights as float64; rows of weight zero are left out.

    Shape:
        - labels, scores, weights: ``(n,)``, n of at least 1

    Raises:
        DataError: No rows, unequal lengths, a label other than 0 and 1, a score or weight that is not finite, a
            negative weight, or no weight at all.
    """
    checked_scores = check_scores(scores)
    labels = np.asarray(labels)
    _check_length("labels", labels, len(checked_scores))
    positive = labels.astype(bool)
    _refuse("label", labels, bad=positive != labels, remedy="labels are 0 or 1; leave rows without a label out")
    if weights is None:
        return positive, checked_scores, None
    checked_weights = np.asarray(weights, dtype=np.float64)
    _check_length("weights", checked_weights, len(positive))
    bad = ~np.isfinite(checked_weights) | (checked_weights < 0)
    _refuse("weight", checked_weights, bad=bad, remedy="weights are finite and not negative")
    kept = checked_weights > 0
    if not kept.any():
        raise DataError(f"all {len(kept)} rows have weight 0; a metric needs some row with a weight")
    if kept.all():
        return positive, checked_scores, checked_weights
    return positive[kept], checked_scores[kept], checked_weights[kept]


def check_scores(scores: NDArray[Any]) -> Floats:
    """Scores as finite float64, ``(n,)`` with n of at least 1."""
    checked = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1 or len(checked) == 0:
        raise DataError(f"a metric needs scores in one dimension and at least one row; got shape {checked.shape}")
    _refuse("score", checked, bad=~np.isfinite(checked), remedy="a diverged model or a missing input gives such scores")
    return checked


def _check_length(name: str, values: NDArray[Any], length: int) -> None:
    if values.shape != (length,):
        raise DataError(f"{name} must have one value for each of the {length} scores; their shape is {values.shape}")


def _refuse(name: str, values: NDArray[Any], *, bad: NDArray[np.bool_], remedy: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"row {row} has {name} {values[row]} ({int(bad.sum())} such rows); {remedy}")
