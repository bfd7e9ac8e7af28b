"""Statistics of the weights that gates give to experts, over rows, gathered bit by bit in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ctrgate.metrics.gate_limits import UNUSED
from ctrgate.training.gate_segments import Floats, Places, Segment, SegmentMeans

__all__ = ["ExpertStatistics"]


class ExpertStatistics:
    """Of the weights that one gate gives to its K experts.

    Factors that are no shares of a row, of any sign and sum, are taken as ``|g_k| / sum_j |g_j|`` throughout, so that
    uses of experts can be compared; ``factors`` and ``magnitudes`` then are the means of ``g_k`` and ``|g_k|``.

    Args:
        num_experts: K.
        segments: By column.
        shares: Whether a row's weights are shares already.
    """

    def __init__(self, num_experts: int, *, segments: Mapping[str, Segment], shares: bool = True) -> None:
        zeros = np.zeros(num_experts)
        self.rows = 0
        self._shares, self._factors, self._magnitudes = shares, zeros, zeros
        self._weights, self._first, self._nonzero, self._largest = zeros, zeros, zeros, zeros
        self._entropy = 0.0
        self._by_segment = SegmentMeans(segments, width=num_experts)

    @property
    def mean(self) -> Floats:
        """The load: the mean weight of each expert, ``(K,)``."""
        load: Floats = self._weights / self.rows
        return load

    def add(self, weights: Floats, codes: Mapping[str, Places]) -> None:
        """Take up the weights of some rows, ``(n, K)``."""
        self.rows += len(weights)
        if not self._shares:
            sizes = np.abs(weights)
            self._factors = self._factors + weights.sum(axis=0)
            self._magnitudes = self._magnitudes + sizes.sum(axis=0)
            total = sizes.sum(axis=1, keepdims=True)
            weights = np.divide(sizes, total, out=np.zeros_like(sizes), where=total != 0)
        self._weights = self._weights + weights.sum(axis=0)
        self._first = self._first + np.bincount(weights.argmax(axis=1), minlength=len(self._first))
        self._nonzero = self._nonzero + (weights > 0).sum(axis=0)
        self._largest = np.maximum(self._largest, weights.max(axis=0))
        self._entropy -= float((weights * np.log(np.where(weights > 0, weights, 1.0))).sum())
        self._by_segment.add(weights, codes)

    def summary(self, fields: tuple[str, ...], segments: Mapping[str, Segment]) -> dict[str, Any]:  # noqa: ARG002
        """Plain values; shares are of rows, ``entropy`` is over that of equal weights, None for a single expert.

        ``unused`` lists the experts that no row used (see ``metrics.gate_limits``).
        """
        num_experts = len(self._weights)
        unbounded = {"factors": self._factors, "magnitudes": self._magnitudes} if not self._shares else {}
        return {
            "num_rows": self.rows,
            "num_experts": num_experts,
            **{name: (total / self.rows).tolist() for name, total in unbounded.items()},
            "load": self.mean.tolist(),
            "first": (self._first / self.rows).tolist(),
            "nonzero": (self._nonzero / self.rows).tolist(),
            "entropy": self._entropy / self.rows / math.log(num_experts) if num_experts > 1 else None,
            "unused": np.flatnonzero(self._largest < UNUSED / num_experts).tolist(),
            "segments": self._by_segment.summary(segments),
        }
