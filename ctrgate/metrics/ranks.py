"""How often two scores of the same rows put a pair of rows in opposite orders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["discordance"]


def discordance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The share of all pairs of rows that ``a`` orders one way and ``b`` the other; a tie is no order.

    Exact, in O(n log² n): the inversions of b in the order of a, where each inverted pair is counted at the highest bit
    in which the places of its two values differ.

    Shape:
        - a, b: ``(n,)`` of finite scores

    Example:
        >>> discordance(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]))  # one pair of three
        0.333...
    """
    if len(a) < 2:
        return 0.0
    _, ranks = np.unique(b[np.lexsort((b, a))], return_inverse=True)
    inverted = 0
    for bit in range(int(ranks.max()).bit_length()):
        group = ranks >> (bit + 1)
        order = np.argsort(group, kind="stable")
        is_high = (ranks[order] >> bit) & 1
        starts = np.concatenate([[True], np.diff(group[order]) > 0])
        before = np.cumsum(is_high) - is_high
        before -= np.repeat(before[starts], np.diff(np.append(np.flatnonzero(starts), len(order))))
        inverted += int(before[is_high == 0].sum())
    return inverted / (len(a) * (len(a) - 1) / 2)
