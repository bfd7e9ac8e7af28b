"""How far two distributions lie apart, as the population stability index has it; also for scores of two models."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ctrgate.metrics.arrays import Floats

__all__ = ["EPSILON", "population_stability", "psi", "smoothed"]

EPSILON = 1e-4
"""What every share is raised by, so that an empty bin has a finite logarithm."""


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


def population_stability(a: Floats, b: Floats, *, num_bins: int = 10) -> float:
    """The index of B's scores against A's, over bins that are A's quantiles; where A's scores tie there are fewer.

    0 where both spread alike.

    Shape:
        - a, b: ``(n,)`` of any monotone score, n of at least 1
    """
    edges = np.unique(np.quantile(a, np.linspace(0, 1, num_bins + 1)[1:-1]))
    bins = (np.searchsorted(edges, scores, side="right") for scores in (a, b))
    return psi(*(np.bincount(of, minlength=len(edges) + 1) for of in bins))
