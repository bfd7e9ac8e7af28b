"""Statistics of gates' factors over rows, gathered bit by bit in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ctrgate.layers.gated_units import ExpandedActivation
from ctrgate.metrics.gate_limits import DEAD, NEAR_ZERO, SATURATED
from ctrgate.training.gate_segments import Floats, Places, Segment, SegmentMeans, membership

__all__ = ["FactorStatistics", "SequenceStatistics"]


class FactorStatistics:
    """Of the factors of one gate, by coordinate.

    ``mean`` and ``std`` are over rows; ``low`` and ``high`` count rows near the ends of a bounded factor, ``near_zero``
    those of an unbounded one; ``largest`` is the largest magnitude. Each is of shape ``(C,)``.

    Args:
        gate: The module.
        num_coordinates: C.
        owners: Per coordinate its field's number, ``(C,)``; None where coordinates belong to no field.
        segments: By column.
    """

    def __init__(
        self, gate: nn.Module, num_coordinates: int, *, owners: Places | None, segments: Mapping[str, Segment]
    ) -> None:
        self.bounds = getattr(gate, "bounds", None)
        self.neutral = 1.0 if self.bounds is None else sum(self.bounds) / 2
        self.rows = 0
        zeros = np.zeros(num_coordinates)
        self.mean, self._deviation = zeros, zeros
        self.low, self.high, self.near_zero, self.largest = zeros, zeros, zeros, zeros
        self._alpha = float(gate.alpha.detach()) if isinstance(gate, ExpandedActivation) else None
        self._owners = owners
        self._of_field = membership(np.zeros(num_coordinates, dtype=np.intp) if owners is None else owners)
        self._by_segment = SegmentMeans(segments, width=self._of_field.shape[1])

    @property
    def std(self) -> Floats:
        """Over rows, ``(C,)``."""
        return np.sqrt(self._deviation / self.rows)

    def add(self, factor: Floats, codes: Mapping[str, Places]) -> None:
        """Take up the factors of some rows, ``(n, C)``."""
        rows, mean = len(factor), factor.mean(axis=0)
        total = self.rows + rows
        # Two sets of rows become one (Chan et al., 1979): exact where a difference of large sums would not be.
        shift = mean - self.mean
        between = np.square(shift) * (self.rows * rows / total)
        self._deviation = self._deviation + np.square(factor - mean).sum(axis=0) + between
        self.mean = self.mean + shift * (rows / total)
        self.rows = total
        self.largest = np.maximum(self.largest, np.abs(factor).max(axis=0))
        if self.bounds is None:
            self.near_zero = self.near_zero + (np.abs(factor) < NEAR_ZERO).sum(axis=0)
        else:
            start, end = self.bounds
            share = (factor - start) / (end - start)
            self.low = self.low + (share < SATURATED).sum(axis=0)
            self.high = self.high + (share > 1 - SATURATED).sum(axis=0)
        self._by_segment.add(self.by_field(factor), codes)

    def by_field(self, values: Floats) -> Floats:
        """Means over each field's coordinates: ``(..., C)`` to ``(..., F)``; to ``(..., 1)`` where there are none."""
        result: Floats = values @ (self._of_field / self._of_field.sum(axis=0))
        return result

    def summary(self, fields: tuple[str, ...], segments: Mapping[str, Segment]) -> dict[str, Any]:
        """Plain values: of the whole gate, by field, by segment."""
        result: dict[str, Any] = {"bounds": self.bounds, "neutral": self.neutral, "num_rows": self.rows}
        result |= self._described(np.ones(len(self.mean), dtype=bool))
        if self._alpha is not None:
            result["alpha"] = self._alpha
        if self._owners is not None:
            result["fields"] = [
                {"field": name, **self._described(self._owners == number)} for number, name in enumerate(fields)
            ]
        return result | {"segments": self._by_segment.summary(segments)}

    def _described(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Some coordinates together; ``std`` is the root of the mean variance over rows, ``between`` is of the means.

        What counts as dead, saturated or near zero is in ``metrics.gate_limits``. ``saturated`` is None for an
        unbounded factor, ``near_zero`` for a bounded one.
        """
        bounded = self.bounds is not None
        low, high, near_zero = (float(of[chosen].mean()) / self.rows for of in (self.low, self.high, self.near_zero))
        return {
            "num_coordinates": int(chosen.sum()),
            "mean": float(self.mean[chosen].mean()),
            "std": math.sqrt(float(self._deviation[chosen].mean()) / self.rows),
            "between": float(self.mean[chosen].std()),
            "low": low if bounded else None,
            "high": high if bounded else None,
            "saturated": low + high if bounded else None,
            "near_zero": None if bounded else near_zero,
            "dead": int((self.largest[chosen] < DEAD * self.neutral).sum()),
        }


class SequenceStatistics(FactorStatistics):
    """Of the factors of a gate upon histories: its rows are events, and ``places`` means by events to the end.

    Args:
        gate: The module.
        num_coordinates: C, factors of one event.
    """

    BINS = (0, 1, 2, 3, 5, 10, 20, 50, 100)
    """Where bins of places begin; the last event's place is 0."""

    def __init__(self, gate: nn.Module, num_coordinates: int) -> None:
        super().__init__(gate, num_coordinates, owners=None, segments={})
        self._sums, self._squares = np.zeros(len(self.BINS)), np.zeros(len(self.BINS))
        self._counts = np.zeros(len(self.BINS), dtype=np.int64)

    def add_events(self, factor: Floats, places: Places) -> None:
        """Take up the factors of some events ``(n, C)``, each with its place counted from the end of its history."""
        self.add(factor, {})
        bins, means = np.searchsorted(self.BINS, places, side="right") - 1, factor.mean(axis=1)
        self._sums += np.bincount(bins, weights=means, minlength=len(self.BINS))
        self._squares += np.bincount(bins, weights=np.square(means), minlength=len(self.BINS))
        self._counts += np.bincount(bins, minlength=len(self.BINS))

    def summary(self, fields: tuple[str, ...], segments: Mapping[str, Segment]) -> dict[str, Any]:
        """As of any gate, and ``places``: per bin its first and last place, events, mean factor and its deviation."""
        lines = []
        for number, (start, count) in enumerate(zip(self.BINS, self._counts, strict=True)):
            if count:
                mean = self._sums[number] / count
                deviation = math.sqrt(max(0.0, self._squares[number] / count - mean**2))
                end = self.BINS[number + 1] - 1 if number + 1 < len(self.BINS) else None
                line = {"from": start, "to": end, "num_events": int(count), "mean": mean, "std": deviation}
                lines.append(line)
        return super().summary(fields, segments) | {"places": lines}
