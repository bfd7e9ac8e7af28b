"""How far what an artifact says lies from what the checkpoint says, for each form in which it can be computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.config import settings
from ctrgate.metrics.auc import auc
from ctrgate.metrics.ranks import discordance
from ctrgate.ranges import Positive

__all__ = ["Parity", "differences", "largest_difference", "measured"]


@settings
class Parity:
    """One form against the checkpoint in float32, on rows of ``split``.

    A difference is ``|a - b| / max(1, |b|)`` of logits a and the checkpoint's b, for a model that ranks items of the
    scores of items.
    """

    cpu_flags: tuple[str, ...] = ()
    """What the form needs of a processor."""
    torch: str = ""
    """The version of torch without which it cannot be opened; empty where any will do."""
    tolerance: Positive
    """The largest difference that was allowed, on these rows and on the golden ones."""
    golden: float
    """The largest difference on the golden rows."""
    split: str
    """Where the rows are from."""
    rows: int
    """How many they are."""
    largest: float
    """The largest difference on them."""
    typical: float
    """The median."""
    disagreement: float
    """The share of pairs of rows (of items, for a model that ranks them) that are ordered the other way."""
    auc_loss: Mapping[str, float]
    """The checkpoint's AUC less the form's, by label, where both classes are among the rows."""


def measured(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    golden: float,
    tolerance: float,
    split: str,
    rows: int,
    cpu_flags: tuple[str, ...] = (),
    torch: str = "",
    labels: Mapping[str, NDArray[Any]],
) -> Parity:
    """One form's parity, from finite logits.

    Args:
        found: What it says, a column for each ranking.
        expected: What the checkpoint says.
        golden: The largest difference on the golden rows.
        tolerance: What is allowed.
        split: Where the rows are from.
        rows: How many they are.
        cpu_flags: What the form needs.
        torch: The version that it needs.
        labels: Of the first columns, in their order; NaN where a row has none.

    Shape:
        - found, expected: ``(n, L)``, of rows by label, or of items by row; labels: ``(n,)`` each
    """
    apart = differences(found, expected)
    orders = [discordance(expected[:, each], found[:, each]) for each in range(found.shape[1])]
    losses = {}
    for column, (name, values) in enumerate(labels.items()):
        known = ~np.isnan(values)
        if 0 < values[known].sum() < known.sum():
            theirs, ours = (auc(values[known], of[known, column]) for of in (expected, found))
            losses[name] = theirs - ours
    return Parity(
        cpu_flags=cpu_flags,
        torch=torch,
        tolerance=tolerance,
        golden=golden,
        split=split,
        rows=rows,
        largest=float(apart.max(initial=0.0)),
        typical=float(np.median(apart)) if apart.size else 0.0,
        disagreement=float(np.mean(orders)),
        auc_loss=losses,
    )


def differences(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """``|a - b| / max(1, |b|)``: absolute for logits up to 1, relative beyond; infinite for NaN."""
    apart = np.abs(logits.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return np.nan_to_num(apart, nan=np.inf)


def largest_difference(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest of ``differences``; 0 without rows."""
    return float(differences(logits, expected).max(initial=0.0))
