"""Rows that two models have scored, checked once, with the users that they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats, check_rows, check_scores

__all__ = ["PairedRows", "pair"]


@dataclass(frozen=True, kw_only=True)
class PairedRows:
    """n rows with the scores of two models, in K clusters: users, or every row by itself.

    Args:
        num_clusters: K.

    Shape:
        - positive: ``(n,)`` bool; a, b: ``(n,)`` scores (log odds)
        - weights: ``(n,)``, all above 0, or None for 1
        - codes: ``(n,)``, each row's cluster from 0 to K - 1, every one of which has a row; None where rows are
          independent, so that K = n
    """

    positive: NDArray[np.bool_]
    a: Floats
    b: Floats
    weights: Floats | None
    codes: NDArray[np.int32] | None
    num_clusters: int

    def __len__(self) -> int:
        return len(self.positive)

    def take(self, rows: NDArray[np.int64]) -> PairedRows:
        """The rows at some places, at least one; clusters without rows are gone."""
        taken = replace(
            self,
            positive=self.positive[rows],
            a=self.a[rows],
            b=self.b[rows],
            weights=None if self.weights is None else self.weights[rows],
            num_clusters=len(rows),
        )
        if self.codes is None:
            return taken
        codes = self.codes[rows]
        present = np.zeros(self.num_clusters, dtype=np.bool_)
        present[codes] = True
        numbers = np.cumsum(present, dtype=np.int32) - np.int32(1)
        return replace(taken, codes=numbers[codes], num_clusters=int(numbers[-1]) + 1)

    def by_cluster(self, values: Floats | NDArray[np.bool_]) -> Floats:
        """A value per row, weighted and summed by cluster: ``(n,)`` to ``(K,)``."""
        weighted = values if self.weights is None else values * self.weights
        if self.codes is None:
            return np.asarray(weighted, dtype=np.float64)
        return np.bincount(self.codes, weights=weighted, minlength=self.num_clusters).astype(np.float64, copy=False)


def pair(
    labels: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    weights: NDArray[Any] | None = None,
) -> PairedRows:
    """Check rows and number their users; rows of weight zero are left out.

    Args:
        labels: 0 or 1.
        a: What model A says, as log odds.
        b: What model B says of the same rows.
        groups: The user of each row, integers or strings; None takes rows for independent.
        weights: Sampling weights.

    Shape:
        - all: ``(n,)``

    Raises:
        DataError: As ``check_rows`` does, and where an array has another length.
    """
    scores_b = check_scores(b)
    positive, scores_a, checked = check_rows(labels, a, weights=weights)
    kept = None if weights is None else np.asarray(weights) > 0
    if scores_b.shape != np.shape(a):
        raise DataError(f"model A has scored {len(np.asarray(a))} rows, model B {len(scores_b)}; they must be the same")
    codes, num_clusters = None, len(positive)
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != scores_b.shape:
            raise DataError(f"groups must have one value for each of the {len(scores_b)} rows; shape is {groups.shape}")
        names, inverse = np.unique(groups if kept is None else groups[kept], return_inverse=True)
        codes, num_clusters = inverse.astype(np.int32), len(names)
    return PairedRows(
        positive=positive,
        a=scores_a,
        b=scores_b if kept is None else scores_b[kept],
        weights=checked,
        codes=codes,
        num_clusters=num_clusters,
    )
