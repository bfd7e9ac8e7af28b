"""How logits are distributed, as counts over fixed bins that add up over parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "Counts", "added", "counts"]

Counts = Mapping[str, Sequence[int]]
"""By label, the rows in each bin."""
EDGES: tuple[float, ...] = tuple(number / 4 for number in range(-40, 41))
"""Between bins, from -10 to 10 in quarters: bin 0 lies below the first, the last bin above the last."""


def counts(logits: NDArray[np.floating]) -> list[int]:
    """The values in each of the ``len(EDGES) + 1`` bins; NaN is in none.

    Example:
        >>> found = counts(np.array([-11.0, 0.0, 0.2, 10.0]))
        >>> found[0], found[41], found[-1]
        (1, 2, 1)
    """
    bins = np.searchsorted(EDGES, logits[~np.isnan(logits)], side="right")
    result: list[int] = np.bincount(bins, minlength=len(EDGES) + 1).tolist()
    return result


def added(parts: Iterable[Counts]) -> dict[str, list[int]]:
    """The counts of all parts together."""
    total: dict[str, list[int]] = {}
    for part in parts:
        for label, of in part.items():
            known = total.get(label, [0] * len(of))
            total[label] = [a + b for a, b in zip(known, of, strict=True)]
    return total
