"""Whether scores are distributed as earlier ones of the same kind were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import ConfigError
from ctrgate.scoring.histogram import EDGES, Counts

__all__ = ["counts_of", "psi"]

_GROUPS = 10
_EPSILON = 1e-4
"""What every share is raised by, so that an empty group has a finite logarithm."""


def counts_of(folder: Path) -> Counts:
    """The counts of finished scores.

    Raises:
        ConfigError: Where there are none.
    """
    try:
        found = json.loads((folder / "_SUCCESS").read_text(encoding="utf-8"))["histogram"]
        if tuple(found["edges"]) != EDGES:
            raise ValueError("its bins are others")
        counts: Counts = found["logits"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"score.like: {folder} holds no finished scores of this version: {error}") from error
    return counts


def psi(expected: Sequence[int], found: Sequence[int]) -> float:
    """The population stability index ``Σ (q - p) ln(q / p)`` over groups of bins, a tenth of ``expected`` each.

    Without any difference, n and m rows that are drawn alike give about ``9 (1 / n + 1 / m)``.

    Example:
        >>> psi([50, 50], [50, 50])
        0.0
        >>> round(psi([50, 50], [25, 75]), 2)
        0.27
    """
    below = np.cumsum(expected) - np.asarray(expected)
    groups = np.minimum(_GROUPS * below // max(sum(expected), 1), _GROUPS - 1)
    p, q = (_shares(groups, counts) for counts in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def _shares(groups: NDArray[np.int64], counts: Sequence[int]) -> NDArray[np.float64]:
    of = np.bincount(groups, weights=counts, minlength=_GROUPS)
    return np.asarray(of / max(of.sum(), 1.0) + _EPSILON)
