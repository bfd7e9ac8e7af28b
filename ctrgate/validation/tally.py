"""How often each of many hashes occurs, in bounded memory: exact up to a size, then of a sample of the hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tally"]

Hashes = NDArray[np.uint64]
_CAPACITY = 1 << 22
_PENDING = 1 << 18


class Tally:
    """Counts by hash.

    Once there are more distinct hashes than fit, only those are kept whose lowest bits are zero, one bit more each time
    (adaptive sampling, Flajolet 1990): all occurrences of a hash are kept or none, so shares stay unbiased.

    Args:
        capacity: Most distinct hashes kept.

    Example:
        >>> tally = Tally()
        >>> tally.add(np.array([4, 8, 4], dtype=np.uint64))
        >>> tally.repeated_share, tally.effective_number
        (0.3333333333333333, 1.8)
    """

    def __init__(self, *, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._hashes: Hashes = np.empty(0, dtype=np.uint64)
        self._counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._pending: list[Hashes] = []
        self._waiting = 0
        self._bits = 0

    def add(self, hashes: Hashes) -> None:
        """Count some hashes."""
        kept = hashes[self._sampled(hashes)]
        self._pending.append(kept)
        self._waiting += len(kept)
        if self._waiting > max(_PENDING, len(self._hashes)):
            self._settle()

    @property
    def repeated_share(self) -> float:
        """Share of the occurrences that repeat an earlier one; 0 of none."""
        self._settle()
        total = int(self._counts.sum())
        return (total - len(self._counts)) / total if total else 0.0

    @property
    def effective_number(self) -> float:
        """``(Σ n)² / Σ n²`` over the hashes, Kish's (1965) effective number of groups of unequal size; 0 of none."""
        self._settle()
        counts = self._counts.astype(np.float64)
        return float(counts.sum() ** 2 / (counts**2).sum() * 2**self._bits) if len(counts) else 0.0

    @property
    def repeated(self) -> Hashes:
        """The hashes kept that occur more than once, in rising order."""
        self._settle()
        return self._hashes[self._counts > 1]

    def _settle(self) -> None:
        if not self._pending:
            return
        new, counts = np.unique(np.concatenate(self._pending), return_counts=True)
        hashes, places = np.unique(np.concatenate([self._hashes, new]), return_inverse=True)
        summed = np.bincount(places, weights=np.concatenate([self._counts, counts]), minlength=len(hashes))
        self._hashes, self._counts = hashes, summed.astype(np.int64)
        self._pending, self._waiting = [], 0
        while len(self._hashes) > self._capacity:
            self._bits += 1
            kept = self._sampled(self._hashes)
            self._hashes, self._counts = self._hashes[kept], self._counts[kept]

    def _sampled(self, hashes: Hashes) -> NDArray[np.bool_]:
        return np.asarray((hashes & np.uint64((1 << self._bits) - 1)) == 0)
