"""Means by segment: of the values of a segment column those with most rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.metrics.arrays import MISSING

__all__ = ["MAX_SEGMENTS", "Floats", "Places", "Segment", "SegmentMeans", "membership"]

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
MAX_SEGMENTS = 8


class Segment:
    """One segment column: the values with most rows, and each row's place among them, or one beyond."""

    def __init__(self, values: NDArray[Any]) -> None:
        texts = np.array([MISSING if value is None else str(value) for value in values], dtype=str)
        names, places, counts = np.unique(texts, return_inverse=True, return_counts=True)
        kept = np.argsort(-counts, kind="stable")[:MAX_SEGMENTS]
        self.names = [str(names[place]) for place in kept]
        self.num_values = len(names)
        codes = np.full(len(names), len(kept), dtype=np.intp)
        codes[kept] = np.arange(len(kept))
        self.codes = codes[places]


class SegmentMeans:
    """Means of some values by segment."""

    def __init__(self, segments: Mapping[str, Segment], *, width: int) -> None:
        self._sums = {name: np.zeros((len(of.names), width)) for name, of in segments.items()}
        self._counts = {name: np.zeros(len(of.names), dtype=np.int64) for name, of in segments.items()}

    def add(self, values: Floats, codes: Mapping[str, Places]) -> None:
        """Take up values ``(n, W)``; without codes nothing."""
        for name, of_rows in codes.items():
            chosen = np.arange(len(self._sums[name]))[:, None] == of_rows
            self._sums[name] += chosen.astype(np.float64) @ values
            self._counts[name] += chosen.sum(axis=1)

    def summary(self, segments: Mapping[str, Segment]) -> dict[str, Any]:
        """Per column its number of values and the lines of those kept; none where no value was given by row."""
        return {
            name: {
                "num_values": segments[name].num_values,
                "lines": [
                    {"value": value, "num_rows": int(count), "means": (total / count).tolist()}
                    for value, count, total in zip(segments[name].names, counts, self._sums[name], strict=True)
                    if count
                ],
            }
            for name, counts in self._counts.items()
            if counts.any()
        }


def membership(owners: Places) -> Floats:
    """``(C, F)``, 1 where the coordinate is the field's."""
    return np.equal(owners[:, None], np.arange(owners.max(initial=-1) + 1)).astype(np.float64)
