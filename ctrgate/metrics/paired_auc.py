"""The difference of two AUCs on the same rows: DeLong's variance, for independent rows or with rows summed by user."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.grouped import grouped_auc
from ctrgate.metrics.measured import Measured, from_terms
from ctrgate.metrics.paired import PairedRows

__all__ = ["PairedAuc", "PairedGroupedAuc", "paired_auc", "paired_grouped_auc", "placements"]


@dataclass(frozen=True, kw_only=True)
class PairedAuc:
    """AUC of A and of B, and B less A; errors know of users where the rows have them.

    Args:
        independent_rows: The difference with plain DeLong's error, which takes every row for a user of its own.
        num_users: With a positive or with a negative, whichever are fewer; rows, where there are no users.
    """

    a: Measured
    b: Measured
    difference: Measured
    independent_rows: Measured
    num_users: int


@dataclass(frozen=True, kw_only=True)
class PairedGroupedAuc:
    """AUC within users, averaged by rows, of A and of B, and B less A.

    Args:
        num_groups: Users with both classes, the only ones that count.
        num_rows: Their rows.

    Shape:
        - codes: ``(num_groups,)``, their numbers among the clusters
        - rows, aucs_a, aucs_b: ``(num_groups,)``, their summed weights and AUCs
    """

    a: Measured
    b: Measured
    difference: Measured
    num_groups: int
    num_rows: int
    codes: NDArray[np.int64]
    rows: Floats
    aucs_a: Floats
    aucs_b: Floats


def paired_auc(rows: PairedRows) -> PairedAuc:
    """AUC of both models and of their difference in O(n log n), ties counting one half.

    DeLong et al. (Biometrics 1988) write AUC as the mean of one component per positive (the share of negatives below
    it) and as that of one per negative (the share of positives above it). The difference of two models has the
    differences of their components, which is what pairing is. For rows that come in users, components are summed by
    user first (Obuchowski, Biometrics 1997): with ``P_u`` and ``N_u`` the sums over a user's positives and negatives of
    ``component - mean``, each over its class's total weight, and p_u and n_u the user's shares of those weights,

    ``var = Σ (P_u / sqrt(1 - p_u) + N_u / sqrt(1 - n_u))²``

    Obuchowski has the counts of users, ``I/(I-1)``, for the roots; shares do the same for users of equal size and
    better for unequal ones, see ``from_terms``. With users of one row each this is DeLong's variance. NaN with one
    class; no error unless two users have a positive and two a negative.
    """
    first, second = placements(rows, rows.a), placements(rows, rows.b)
    (measured_a, num_users), (measured_b, _) = _measured(rows, first), _measured(rows, second)
    second -= first
    difference, _ = _measured(rows, second)
    plain = _measured(rows, second, independent=True)[0] if rows.codes is not None else difference
    return PairedAuc(a=measured_a, b=measured_b, difference=difference, independent_rows=plain, num_users=num_users)


def placements(rows: PairedRows, scores: Floats) -> Floats:
    """DeLong's components: for a positive, the weighted share of negatives below it; for a negative, that of positives
    above it; ties count one half. NaN for a class that has no other to be compared with.

    Shape:
        - scores: ``(n,)``; returns: ``(n,)``
    """
    order = np.argsort(scores)
    ordered, positive = scores[order], rows.positive[order]
    weight = np.ones(len(order)) if rows.weights is None else rows.weights[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    del ordered
    lengths = np.diff(np.append(starts, len(order)))
    result = np.empty(len(order))
    for is_positive in (True, False):
        mine = positive if is_positive else ~positive
        other = np.where(mine, 0.0, weight)
        total = other.sum()
        tied = np.add.reduceat(other, starts)
        below = np.cumsum(tied) - tied / 2
        share = (below if is_positive else total - below) / total if total else np.full(len(starts), np.nan)
        result[order[mine]] = np.repeat(share, lengths)[mine]
    return result


def paired_grouped_auc(rows: PairedRows) -> PairedGroupedAuc | None:
    """Grouped AUC of both models and of their difference; None where rows have no users.

    ``D = Σ r_u (B_u - A_u) / Σ r_u`` over users with both classes, r their rows; users are independent, so that
    ``var = Σ (r_u (B_u - A_u - D) / Σ r)² / (1 - r_u / Σ r)``.
    """
    if rows.codes is None:
        return None
    found_a = grouped_auc(rows.positive, rows.a, rows.codes, weights=rows.weights)
    found_b = grouped_auc(rows.positive, rows.b, rows.codes, weights=rows.weights)
    weight = found_a.rows
    both = (rows.by_cluster(rows.positive) > 0) & (rows.by_cluster(~rows.positive) > 0)

    def measured(aucs: Floats) -> Measured:
        if not len(aucs):
            return Measured(value=math.nan, standard_error=math.nan, degrees=0)
        value = float(aucs @ weight / weight.sum())
        share = weight / weight.sum()
        with np.errstate(divide="ignore", invalid="ignore"):  # a user alone has no error
            terms = share * (aucs - value) / np.sqrt(1 - share)
        return from_terms(value, terms, num_users=len(aucs))

    return PairedGroupedAuc(
        a=measured(found_a.aucs),
        b=measured(found_b.aucs),
        difference=measured(found_b.aucs - found_a.aucs),
        num_groups=found_a.num_groups,
        num_rows=found_a.num_rows,
        codes=np.flatnonzero(both),
        rows=weight,
        aucs_a=found_a.aucs,
        aucs_b=found_b.aucs,
    )


def _measured(rows: PairedRows, components: Floats, *, independent: bool = False) -> tuple[Measured, int]:
    """The mean of components over a class with its error from both; and the users of the class that has fewer."""
    codes = None if independent else rows.codes
    num_clusters = len(rows) if codes is None else rows.num_clusters
    terms, counts, value = np.zeros(num_clusters), [], math.nan
    for is_positive in (False, True):  # the value is the positives' mean, which that of the negatives equals
        mine = np.flatnonzero(rows.positive == is_positive)
        if not len(mine):
            return Measured(value=math.nan, standard_error=math.nan, degrees=0), 0
        share = np.full(len(mine), 1 / len(mine)) if rows.weights is None else rows.weights[mine]
        if rows.weights is not None:
            share = share / share.sum()
        value = float(components[mine] @ share)
        part = (components[mine] - value) * share
        with np.errstate(divide="ignore", invalid="ignore"):  # all of a class in one user: no error
            if codes is None:
                counts.append(len(mine))
                terms[mine] += part / np.sqrt(1 - share)
            else:
                owners = codes[mine]
                counts.append(int(np.count_nonzero(np.bincount(owners, minlength=num_clusters))))
                shares = np.bincount(owners, weights=share, minlength=num_clusters)
                root = np.sqrt(np.maximum(1 - shares, 0.0))  # shares of a single user may sum to a little over 1
                terms += np.bincount(owners, weights=part, minlength=num_clusters) / root
    return from_terms(value, terms, num_users=min(counts)), min(counts)
