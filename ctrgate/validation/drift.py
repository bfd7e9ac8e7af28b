"""How far two distributions over the same bins lie apart, and whether sampling noise explains it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

__all__ = ["EPSILON", "homogeneity", "jensen_shannon", "psi", "smoothed"]

Floats = NDArray[np.float64]

EPSILON = 1e-4
"""What every share is raised by, so that an empty bin has a finite logarithm."""
_LEAST_EXPECTED = 5.0


def smoothed(shares: ArrayLike) -> Floats:
    """``(p + ε) / (1 + k ε)`` for k bins, after scaling to a sum of 1; all bins equal where there is nothing.

    Shape:
        - shares: ``(k,)``, 0 or more; returns: ``(k,)``
    """
    parts = np.asarray(shares, dtype=np.float64)
    total = parts.sum()
    parts = parts / total if total > 0 else np.full(len(parts), 1 / max(len(parts), 1))
    return np.asarray((parts + EPSILON) / (1 + len(parts) * EPSILON))


def psi(expected: ArrayLike, found: ArrayLike) -> float:
    """The population stability index ``Σ (q - p) ln(q / p)`` of smoothed shares p (expected) and q (found).

    It is Jeffreys' divergence ``KL(p‖q) + KL(q‖p)`` (Jeffreys 1946), in nats; credit scoring took it up as an index of
    stability (Siddiqi, Credit Risk Scorecards, 2006) with .1 read as a small shift and .25 as a large one.

    Example:
        >>> round(psi([0.5, 0.5], [0.25, 0.75]), 4)
        0.2745
    """
    p, q = smoothed(expected), smoothed(found)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(expected: ArrayLike, found: ArrayLike) -> float:
    """The Jensen-Shannon divergence in bits, 0 to 1: ``(KL(p‖m) + KL(q‖m)) / 2`` with ``m = (p + q) / 2`` (Lin 1991).

    It takes empty bins as they are, so nothing is smoothed.

    Example:
        >>> jensen_shannon([1, 0], [0, 1])
        1.0
    """
    p, q = (np.asarray(shares, dtype=np.float64) for shares in (expected, found))
    if p.sum() <= 0 or q.sum() <= 0:
        return 0.0
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    parts = [float((part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum()) for part in (p, q)]
    return min(1.0, max(0.0, sum(parts) / 2))


def homogeneity(expected: ArrayLike, found: ArrayLike, *, num_expected: float, num_found: float) -> float:
    """The p-value of Pearson's test that two samples come from one distribution over bins.

    ``X² = n m / (n + m) Σ (p - q)² / π`` with ``π = (m p + n q) / (m + n)`` and k - 1 degrees of freedom. Bins with
    fewer than 5 expected of the smaller sample are taken as one, because the approximation by χ² needs that.

    Args:
        expected: Shares p of the reference.
        found: Shares q of the day.
        num_expected: m, how many independent draws the reference stands for.
        num_found: n, the same of the day.

    Returns:
        1 where one of them is empty or a single bin is left.
    """
    p, q = (np.asarray(shares, dtype=np.float64) for shares in (expected, found))
    if min(num_expected, num_found) <= 0 or p.sum() <= 0 or q.sum() <= 0:
        return 1.0
    p, q = p / p.sum(), q / q.sum()
    both = (num_expected * p + num_found * q) / (num_expected + num_found)
    p, q, both = _merged(p, q, both, rare=both * min(num_expected, num_found) < _LEAST_EXPECTED)
    if len(both) < 2:
        return 1.0
    scale = num_expected * num_found / (num_expected + num_found)
    return float(chdtrc(len(both) - 1, scale * ((p - q) ** 2 / both).sum()))


def _merged(*shares: Floats, rare: NDArray[Any]) -> list[Floats]:
    """The bins that are not rare, and the rare ones as one."""
    if not rare.any():
        return list(shares)
    joined = [np.append(part[~rare], part[rare].sum()) for part in shares]
    return [part if joined[-1][-1] > 0 else part[:-1] for part in joined]
