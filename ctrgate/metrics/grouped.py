"""AUC within groups (users, say), averaged by rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats, check_rows, check_scores

__all__ = ["GroupedAuc", "grouped_auc"]


@dataclass(frozen=True, kw_only=True)
class GroupedAuc:
    """Grouped AUC and what it rests on.

    Args:
        value: ``Σ rows_g AUC_g / Σ rows_g`` over the groups that have both classes; NaN if none has.
        num_groups: Groups used.
        num_rows: Rows in the groups used.

    Shape:
        - aucs: ``(num_groups,)``, in the order of the sorted group values
        - rows: ``(num_groups,)``, their weights: rows, or summed weights of rows
    """

    value: float
    num_groups: int
    num_rows: int
    aucs: Floats
    rows: Floats


def grouped_auc(
    labels: NDArray[Any], scores: NDArray[Any], groups: NDArray[Any], *, weights: NDArray[Any] | None = None
) -> GroupedAuc:
    """AUC of each group, tie-aware, averaged with the groups' rows as weights; groups of one class are left out.

    Two sorts, no loop over groups. DIN (KDD 2018, section 5.3) weighs by impressions in the same way.

    Shape:
        - labels, scores, weights: ``(n,)``; groups: ``(n,)`` integers or strings
    """
    groups = np.asarray(groups)
    if groups.shape != (len(check_scores(scores)),):
        raise DataError(f"groups must have one value for each of the {len(scores)} scores; shape is {groups.shape}")
    if weights is not None:
        groups = groups[np.asarray(weights) > 0]
    positive, values, row_weights = check_rows(labels, scores, weights=weights)
    row_weights = np.ones(len(values)) if row_weights is None else row_weights

    codes = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    ranks = _dense_ranks(values)
    keys = codes * (int(ranks.max()) + 1) + ranks  # sorts by group, then score
    order = np.argsort(keys)
    keys, codes, positive, row_weights = keys[order], codes[order], positive[order], row_weights[order]
    blocks = _starts(keys)  # rows of one group and one score
    block_positives = np.add.reduceat(row_weights * positive, blocks)
    block_negatives = np.add.reduceat(row_weights * ~positive, blocks)
    block_codes = codes[blocks]
    first = _starts(block_codes)  # the first block of each group

    before = np.cumsum(block_negatives) - block_negatives
    before -= before[first][block_codes]  # negatives of the same group with a lower score
    wins = np.add.reduceat(block_positives * (before + block_negatives / 2), first)
    positives, negatives = np.add.reduceat(block_positives, first), np.add.reduceat(block_negatives, first)
    used = (positives > 0) & (negatives > 0)
    aucs, rows = wins[used] / (positives * negatives)[used], (positives + negatives)[used]
    num_rows = int(np.bincount(codes, minlength=len(used))[used].sum())
    value = float(aucs @ rows / rows.sum()) if used.any() else math.nan
    return GroupedAuc(value=value, num_groups=int(used.sum()), num_rows=num_rows, aucs=aucs, rows=rows)


def _dense_ranks(values: Floats) -> NDArray[np.int64]:
    """0 for the smallest value, the same rank for equal ones."""
    order = np.argsort(values)
    ordered = values[order]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
    return ranks


def _starts(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
