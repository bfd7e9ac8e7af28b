"""Statistics of numbers, gathered per file and merged: moments, quantile sketches, and the scalings they give."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["SKETCH_POINTS", "Moments", "Scaling", "Transform", "compress", "quantiles", "total", "transformed"]

Transform = Literal["standard", "log", "minmax", "none"]
"""``(x - mean) / std``; ``sign(x) log(1 + |x|)``; ``(x - min) / (max - min)`` clipped to [0, 1]; ``x``."""

SKETCH_POINTS = 4096
"""Points of a quantile sketch: ranks are exact to 1 part in this number."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, order=True)
class Moments:
    """Count, mean, sum of squared deviations, least and greatest of some numbers."""

    count: int
    mean: float
    squares: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Moments:
        """The moments of at least one number, in two passes; -0.0 counts as 0.0, or equal parts would not be one."""
        values = values + 0.0
        mean = float(values.mean()) + 0.0
        squares = float(np.square(values - mean).sum())
        return cls(len(values), mean, squares, float(values.min()), float(values.max()))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub, LeVeque 1979)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
        )


def total(parts: Iterable[Moments]) -> Moments | None:
    """The sum of moments, None of none; sorted first, so that any order of the parts gives the same bits."""
    result: Moments | None = None
    for part in sorted(parts):
        result = part if result is None else result + part
    return result


def compress(weighted: pl.DataFrame) -> pl.DataFrame:
    """Keep at most ``SKETCH_POINTS`` of a sample's values: the greatest of each of as many parts of equal weight.

    A sketch of several samples is their sketches one below the other: the error of a rank stays under the total
    weight divided by ``SKETCH_POINTS``, whatever their number and order.

    Args:
        weighted: Columns ``value`` and ``weight`` (how often it was seen), values distinct.
    """
    if weighted.height <= SKETCH_POINTS:
        return weighted.sort("value")
    ranked = weighted.sort("value").with_columns(upto=pl.col("weight").cum_sum())
    part = (pl.col("upto") * SKETCH_POINTS - 1) // pl.col("weight").sum()
    return (
        ranked.group_by(part.alias("part"), maintain_order=True)
        .agg(pl.col("value").last(), pl.col("weight").sum())
        .drop("part")
    )


def quantiles(sketch: pl.DataFrame, *, count: int) -> tuple[float, ...]:
    """The rising boundaries that cut a sketch into ``count`` parts of equal weight; fewer where values repeat.

    The boundary of part i is the least value with at least ``i / count`` of the weight at or below it. The greatest
    value is no boundary: nothing seen would lie above it.
    """
    if sketch.height == 0:
        return ()
    ranked = sketch.group_by("value").agg(pl.col("weight").sum()).sort("value")
    values, upto = ranked["value"].to_numpy(), ranked["weight"].cum_sum().to_numpy()
    needed = [-(-place * int(upto[-1]) // count) for place in range(1, count)]
    found = values[np.searchsorted(upto, needed, side="left")]
    return tuple(float(value) for value in np.unique(found) if value < values[-1])


def transformed(values: pl.Expr, transform: Transform) -> pl.Expr:
    """The part of a transform that needs no statistics."""
    return values.sign() * values.abs().log1p() if transform == "log" else values


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A fitted transform: ``(t(x) - shift) / scale``, and what a missing number becomes.

    A constant number has scale 1. ``minmax`` is clipped to [0, 1], so that numbers outside the train range do not
    run away. A missing number becomes the train mean of the results, or the given fill value, transformed.

    Example:
        >>> scaling = Scaling.fit(Moments.of(np.array([0.0, 4.0])), transform="minmax", fill=None)
        >>> pl.select(scaling.apply(pl.lit(pl.Series([1.0, None, 9.0])))).to_series().to_list()
        [0.25, 0.5, 1.0]
    """

    transform: Transform
    shift: float
    scale: float
    missing: float

    @classmethod
    def fit(cls, moments: Moments | None, *, transform: Transform, fill: float | None) -> Scaling:
        """The scaling for a number with these moments after ``transformed``; None where it was always missing."""
        known = moments or Moments(1, 0.0, 0.0, 0.0, 0.0)
        shift, scale = 0.0, 1.0
        if transform == "standard":
            shift, scale = known.mean, math.sqrt(known.squares / known.count)
        elif transform == "minmax":
            shift, scale = known.low, known.high - known.low
        scale = scale if scale > 0 and math.isfinite(scale) else 1.0
        at = known.mean if fill is None else math.copysign(math.log1p(abs(fill)), fill) if transform == "log" else fill
        return cls(transform=transform, shift=shift, scale=scale, missing=(at - shift) / scale)

    def apply(self, values: pl.Expr) -> pl.Expr:
        """Numbers as float32 inputs, null filled; what float32 cannot hold is clipped to its range."""
        scaled = (transformed(values, self.transform) - self.shift) / self.scale
        low, high = (0.0, 1.0) if self.transform == "minmax" else (-_LARGEST, _LARGEST)
        return scaled.fill_null(self.missing).clip(low, high).cast(pl.Float32)
