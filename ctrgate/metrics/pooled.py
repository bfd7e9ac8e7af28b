"""Rows pooled by distinct score: sorted once, then AUC, its variance, ROC, log loss and calibration read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.arrays import Floats, check_rows

__all__ = ["PooledRows", "pool"]


@dataclass(frozen=True, kw_only=True)
class PooledRows:
    """K distinct scores, ascending, and what lies on each.

    Args:
        num_positives: Rows with label 1 and a weight above 0.
        num_negatives: Rows with label 0 and a weight above 0.

    Shape:
        - scores: ``(K,)``
        - positives, negatives: ``(K,)`` summed weights of the rows with label 1 and 0 (counts where unweighted)
        - positive_squares, negative_squares: ``(K,)`` summed squared weights, for variances
    """

    scores: Floats
    positives: Floats
    negatives: Floats
    positive_squares: Floats
    negative_squares: Floats
    num_positives: int
    num_negatives: int

    @property
    def one_class(self) -> bool:
        """Whether all rows have the same label, so that no AUC exists."""
        return self.num_positives == 0 or self.num_negatives == 0


def pool(labels: NDArray[Any], scores: NDArray[Any], *, weights: NDArray[Any] | None = None) -> PooledRows:
    """Sort rows by score and sum those that tie; O(n log n).

    Scores are taken as they are, in float64: hand over logits, since probabilities rounded to float32 tie falsely.

    Shape:
        - labels, scores, weights: ``(n,)``
    """
    positive, values, row_weights = check_rows(labels, scores, weights=weights)
    if row_weights is None:
        values, positive = _merged(positive, values)
        starts = _starts(values)
        ends = np.append(starts[1:], len(values))
        positives = np.diff(np.cumsum(positive)[ends - 1], prepend=0).astype(np.float64)
        negatives = (ends - starts) - positives
        squares = positives, negatives
    else:
        order = np.argsort(values)
        values, positive, row_weights = values[order], positive[order], row_weights[order]
        starts = _starts(values)

        def summed(parts: Floats) -> Floats:
            return np.add.reduceat(parts, starts)

        positives, negatives = summed(row_weights * positive), summed(row_weights * ~positive)
        squares = summed(row_weights**2 * positive), summed(row_weights**2 * ~positive)
    num_positives = int(np.count_nonzero(positive))
    return PooledRows(
        scores=values[starts],
        positives=positives,
        negatives=negatives,
        positive_squares=squares[0],
        negative_squares=squares[1],
        num_positives=num_positives,
        num_negatives=len(values) - num_positives,
    )


def _merged(positive: NDArray[np.bool_], values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores in ascending order with their labels: each class sorted for itself, then both merged.

    Sorting numbers is many times faster than sorting their places, and merging two runs goes through memory in order.
    """
    both = np.concatenate([np.sort(values[~positive]), np.sort(values[positive])])
    order = np.argsort(both, kind="stable")
    return both[order], order >= len(values) - np.count_nonzero(positive)


def _starts(values: Floats) -> NDArray[np.intp]:
    """Where each distinct one of sorted scores begins."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
