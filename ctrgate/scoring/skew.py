"""Whether scores are distributed as earlier ones of the same kind were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctrgate.errors import ConfigError
from ctrgate.metrics.stability import psi
from ctrgate.scoring.histogram import EDGES, Counts

__all__ = ["counts_of", "shift"]

_GROUPS = 10


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


def shift(expected: Sequence[int], found: Sequence[int]) -> float:
    """The population stability index of counts over groups of bins, a tenth of ``expected`` each.

    Without any difference, n and m rows that are drawn alike give about ``9 (1 / n + 1 / m)``.
    """
    below = np.cumsum(expected) - np.asarray(expected)
    groups = np.minimum(_GROUPS * below // max(sum(expected), 1), _GROUPS - 1)
    return psi(*(np.bincount(groups, weights=counts, minlength=_GROUPS) for counts in (expected, found)))
