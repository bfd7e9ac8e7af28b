"""How far two distributions over the same bins lie apart, and whether sampling noise explains it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

__all__ = ["homogeneity", "jensen_shannon"]

Floats = NDArray[np.float64]

_LEAST_EXPECTED = 5.0


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
