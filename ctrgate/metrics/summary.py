"""All metrics of one set of scored rows as plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.arrays import MISSING
from ctrgate.metrics.auc import delong_of, roc_curve
from ctrgate.metrics.bootstrap import bootstrap_grouped_auc
from ctrgate.metrics.calibration import calibration_ratio, ece, log_loss, normalized_entropy, reliability
from ctrgate.metrics.grouped import grouped_auc
from ctrgate.metrics.pooled import PooledRows, pool

__all__ = ["evaluate_scores"]


def evaluate_scores(
    labels: NDArray[Any],
    logits: NDArray[Any],
    *,
    weights: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    segments: Mapping[str, NDArray[Any]] | None = None,
    seed: int = 0,
    max_segments: int = 50,
) -> dict[str, Any]:
    """Every metric of the rows, with intervals; a metric that does not exist for them (one class) is None.

    Args:
        labels: 0 or 1.
        logits: Log odds, in float64 if possible.
        weights: Sampling weights.
        groups: Users or the like, for grouped AUC.
        segments: By name, a value for each row; each value gets its own line.
        seed: For the bootstrap over groups.
        max_segments: Lines per segment name, the values with most rows first; ``num_values`` tells how many there are.

    Shape:
        - labels, logits, weights, groups, each segment: ``(n,)``

    Returns:
        ``num_rows`` (of weight above 0), ``num_positives``, ``click_rate``, ``auc`` (value, low, high),
        ``log_loss``, ``normalized_entropy``, ``calibration_ratio``, ``ece``, ``gauc`` (value, low, high, num_groups,
        num_rows; None without groups), ``reliability``, ``roc``, and ``segments``: by name ``num_values`` and
        ``lines``, each with ``value``, ``num_rows``, ``num_positives``, ``auc``, ``log_loss`` and
        ``calibration_ratio``.
    """
    labels, logits = np.asarray(labels), np.asarray(logits)
    pooled = pool(labels, logits, weights=weights)
    gauc: dict[str, Any] | None = None
    if groups is not None:
        grouped = grouped_auc(labels, logits, groups, weights=weights)
        interval = bootstrap_grouped_auc(grouped, seed=seed).to_json()
        gauc = {**interval, "num_groups": grouped.num_groups, "num_rows": grouped.num_rows}
    total = pooled.positives.sum() + pooled.negatives.sum()
    return {
        **_line(pooled),
        "click_rate": float(pooled.positives.sum() / total),
        "normalized_entropy": _known(normalized_entropy(pooled)),
        "ece": ece(pooled),
        "gauc": gauc,
        "reliability": reliability(pooled),
        "roc": roc_curve(pooled),
        "segments": {
            name: _segment(name, labels, logits, values, weights=weights, max_segments=max_segments)
            for name, values in (segments or {}).items()
        },
    }


def _segment(
    name: str,
    labels: NDArray[Any],
    logits: NDArray[Any],
    values: NDArray[Any],
    *,
    weights: NDArray[Any] | None,
    max_segments: int,
) -> dict[str, Any]:
    values = np.asarray(values)
    if values.shape != logits.shape:
        raise DataError(f"segment {name!r} must have one value for each of the {len(logits)} rows, not {values.shape}")
    if values.dtype == object:
        values = np.array([MISSING if value is None else str(value) for value in values])
    if weights is not None:
        kept = np.asarray(weights) > 0
        labels, logits, values, weights = labels[kept], logits[kept], values[kept], np.asarray(weights)[kept]
    names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(counts)
    lines = []
    for code in np.argsort(-counts, kind="stable")[:max_segments]:
        rows = order[ends[code] - counts[code] : ends[code]]
        part = pool(labels[rows], logits[rows], weights=None if weights is None else weights[rows])
        lines.append({"value": str(names[code]), **_line(part)})
    return {"num_values": len(names), "lines": lines}


def _line(pooled: PooledRows) -> dict[str, Any]:
    return {
        "num_rows": pooled.num_positives + pooled.num_negatives,
        "num_positives": pooled.num_positives,
        "auc": delong_of(pooled).to_json(),
        "log_loss": log_loss(pooled),
        "calibration_ratio": _known(calibration_ratio(pooled)),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
