"""Curves from log odds to click rates that were seen: Platt's logistic one and the isotonic one, fitted exactly."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import isotonic_regression

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.calibration import sigmoid
from ctrgate.metrics.pooled import PooledRows

__all__ = ["fit_isotonic", "fit_platt"]

_STEPS = 100
_PSEUDO = 0.5
"""The weight of the click that is added below all scores, and of the row without one that is added above."""


def fit_platt(pooled: PooledRows) -> tuple[float, float]:
    """Slope a and intercept b of ``p = sigmoid(a x + b)`` with the least log loss; a above 0.

    Targets are Platt's (Advances in Large Margin Classifiers, 1999): ``(N+ + 1) / (N+ + 2)`` for positives and
    ``1 / (N- + 2)`` for negatives, N being summed weights, so that a and b stay finite where scores part the classes.
    Newton's method with halved steps; the loss is convex.

    Raises:
        DataError: One class, or scores that do not rise with the click rate.
    """
    _check(pooled)
    num_positives, num_negatives = pooled.positives.sum(), pooled.negatives.sum()
    weight = pooled.positives + pooled.negatives
    of_positive, of_negative = (num_positives + 1) / (num_positives + 2), 1 / (num_negatives + 2)
    clicks = pooled.positives * of_positive + pooled.negatives * of_negative
    middle, scale = _moments(pooled.scores, weight)
    x = (pooled.scores - middle) / scale

    def loss(at: Floats) -> float:
        z = at[0] * x + at[1]
        return float(weight @ (np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0)) - clicks @ z)

    at = np.array([0.0, math.log(clicks.sum() / (weight.sum() - clicks.sum()))])
    now = loss(at)
    for _ in range(_STEPS):
        p = sigmoid(at[0] * x + at[1])
        gradient = np.array([(weight * p - clicks) @ x, (weight * p - clicks).sum()])
        curvature = weight * p * (1 - p)
        cross = curvature @ x
        hessian = np.array([[curvature @ x**2, cross], [cross, curvature.sum()]])
        step = np.linalg.solve(hessian + 1e-12 * np.trace(hessian) * np.eye(2), gradient)
        share, following = 1.0, loss(at - step)
        while following > now and share > 1e-9:
            share /= 2
            following = loss(at - share * step)
        if following >= now - 1e-15 * abs(now):
            break
        at, now = at - share * step, following
    if not at[0] > 0:
        raise DataError(
            f"the click rate does not rise with the scores on these rows (slope {at[0] / scale:.3g}), so that no curve "
            "mends them; look at the model, or calibrate on more rows"
        )
    return float(at[0] / scale), float(at[1] - at[0] * middle / scale)


def fit_isotonic(pooled: PooledRows) -> tuple[Floats, Floats]:
    """The rising curve with the least squared error, which has the least log loss too, as knots; straight in between.

    Blocks of scores that pool adjacent violators each have the click rate seen in them. A block gives a knot at its
    lowest and one at its highest score. Half a click below all scores and half a row without one above keep every rate
    off 0 and 1, as otherwise a single click would cost infinitely much log loss.

    Returns:
        The knots' scores, strictly rising, and their click rates, which do not fall.

    Raises:
        DataError: One class.
    """
    _check(pooled)
    weight, clicks = pooled.positives + pooled.negatives, pooled.positives.copy()
    weight[0] += _PSEUDO
    clicks[0] += _PSEUDO
    weight[-1] += _PSEUDO
    found = isotonic_regression(clicks / weight, weights=weight)
    starts, ends = found.blocks[:-1], found.blocks[1:] - 1
    places = np.unique(np.concatenate([starts, ends]))
    return pooled.scores[places], np.asarray(found.x, dtype=np.float64)[places]


def _check(pooled: PooledRows) -> None:
    if pooled.one_class:
        raise DataError(
            f"calibration needs rows with and without a click; found {pooled.num_positives:,} with and "
            f"{pooled.num_negatives:,} without. Fit it on another split"
        )


def _moments(scores: Floats, weight: Floats) -> tuple[float, float]:
    middle = float(np.average(scores, weights=weight))
    scale = math.sqrt(float(np.average((scores - middle) ** 2, weights=weight)))
    return middle, scale or 1.0
