"""How differently two models spread their scores over the same rows."""

from __future__ import annotations

import numpy as np

from ctrgate.metrics.arrays import Floats

__all__ = ["population_stability"]


def population_stability(a: Floats, b: Floats, *, num_bins: int = 10) -> float:
    """The population stability index of B's scores against A's: ``Σ (q - p) ln(q / p)`` over bins.

    Bins are A's quantiles; where A's scores tie there are fewer. Shares are counted with half a row added to each bin,
    so that an empty one does not make it infinite. 0 where both spread alike; above 0.25 is often called a large shift.

    Shape:
        - a, b: ``(n,)`` of any monotone score, n of at least 1
    """
    edges = np.unique(np.quantile(a, np.linspace(0, 1, num_bins + 1)[1:-1]))
    shares = []
    for scores in (a, b):
        counts = np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    p, q = shares
    return float((q - p) @ np.log(q / p))
