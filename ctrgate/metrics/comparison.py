"""Two models on the same rows: every metric of both, its difference with intervals, and the same by segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.metrics.calibration import ece, reliability, sigmoid
from ctrgate.metrics.measured import Measured
from ctrgate.metrics.paired import PairedRows
from ctrgate.metrics.paired_auc import PairedGroupedAuc, paired_auc, paired_grouped_auc
from ctrgate.metrics.paired_bootstrap import bootstrap_errors
from ctrgate.metrics.paired_means import cluster_sums, paired_calibration, paired_entropy, paired_log_loss
from ctrgate.metrics.pooled import pool
from ctrgate.metrics.stability import population_stability

__all__ = ["LARGER_IS_BETTER", "SMALL", "Segment", "Verdict", "compare_pairs", "compare_segments"]

Verdict = Literal["better", "worse", "open"]
LARGER_IS_BETTER: Mapping[str, bool | None] = {
    "auc": True,
    "gauc": True,
    "log_loss": False,
    "normalized_entropy": False,
    "calibration_ratio": None,  # best at 1
}
SMALL = 30
"""Fewer users (rows, where there are no users) with or without a click make a segment small."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What parts the rows.

    Args:
        names: The parts, in their order if they have one.
        ordered: Whether they have; else those with most rows come first.

    Shape:
        - codes: ``(n,)``, each row's part as a place in ``names``
    """

    names: Sequence[str]
    codes: NDArray[np.integer[Any]]
    ordered: bool = False


def compare_pairs(
    rows: PairedRows,
    *,
    level: float = 0.95,
    seed: int = 0,
    num_resamples: int = 200,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Every metric of both models over all rows; what does not exist (one class) is None.

    Args:
        rows: With the scores of both.
        level: Of the intervals.
        seed: Of the bootstrap.
        num_resamples: Of users; 0 leaves the bootstrap out, and so does a dataset without users.
        advance: Called after each resample.

    Returns:
        ``num_rows``, ``num_positives``, ``num_users`` (None without), ``click_rate``; ``metrics``: by name
        ``larger_is_better``, ``a``, ``b`` and ``difference`` (B less A), each with ``value``, ``low``, ``high``,
        ``standard_error`` and ``degrees``, then ``bootstrap`` (None, or the difference with the error of
        resampled users) and ``verdict`` on B; AUC also ``independent_rows``, grouped AUC ``num_groups`` and
        ``num_rows``; ``ece`` and ``reliability`` of ``a`` and ``b``; ``scores``: the mean probability of each, and
        ``stability_index``.
    """
    area, grouped, sums = paired_auc(rows), paired_grouped_auc(rows), cluster_sums(rows)
    means = {
        "log_loss": paired_log_loss(sums),
        "normalized_entropy": paired_entropy(sums),
        "calibration_ratio": paired_calibration(sums),
    }
    pairs = {name: (of.a, of.b, of.difference) for name, of in {"auc": area, "gauc": grouped, **means}.items() if of}
    errors: dict[str, float] = {}
    if grouped is not None and num_resamples:
        errors = bootstrap_errors(
            rows, sums=sums, grouped=grouped, seed=seed, num_resamples=num_resamples, advance=advance
        )
    metrics: dict[str, Any] = {
        name: {
            "larger_is_better": LARGER_IS_BETTER[name],
            **{key: one.to_json(level) for key, one in zip(("a", "b", "difference"), of, strict=True)},
            "bootstrap": replace(of[2], standard_error=errors[name]).to_json(level) if name in errors else None,
            "verdict": verdict(of[2], level=level, larger_is_better=LARGER_IS_BETTER[name]),
        }
        for name, of in pairs.items()
    }
    metrics["auc"]["independent_rows"] = area.independent_rows.to_json(level)
    metrics["gauc"] = _with_groups(metrics.get("gauc"), grouped)
    pooled = {name: pool(rows.positive, scores, weights=rows.weights) for name, scores in _scores(rows)}
    probabilities = {name: np.average(sigmoid(scores), weights=rows.weights) for name, scores in _scores(rows)}
    return {
        "num_rows": len(rows),
        "num_positives": int(np.count_nonzero(rows.positive)),
        "num_users": None if rows.codes is None else rows.num_clusters,
        "click_rate": float(sums.clicks.sum() / sums.rows.sum()),
        "metrics": {name: metrics[name] for name in LARGER_IS_BETTER},
        "ece": {name: ece(of) for name, of in pooled.items()},
        "reliability": {name: reliability(of, num_bins=10) for name, of in pooled.items()},
        "scores": {
            **{f"mean_{name}": float(mean) for name, mean in probabilities.items()},
            "stability_index": population_stability(rows.a, rows.b),
        },
    }


def compare_segments(
    rows: PairedRows, segments: Mapping[str, Segment], *, level: float = 0.95, max_lines: int = 50
) -> dict[str, Any]:
    """Both models on each part of the rows, with intervals one by one and all together.

    A line's own interval covers at ``level`` by itself; among twenty, one may miss by chance. ``simultaneous`` covers
    all of them at once (Bonferroni: each at ``1 - (1 - level) / k``, k the lines that are not small), and ``verdict``
    goes by it. A small line has neither: Student's t over a handful of users holds its level badly.

    Args:
        rows: With the scores of both.
        segments: By name.
        level: Of the intervals.
        max_lines: Per name, those with most rows.

    Returns:
        ``num_intervals`` (k) and ``segments``: by name ``num_values`` and ``lines``, each with ``value``, ``num_rows``,
        ``num_positives``, ``num_users``, ``small``, ``auc``, ``log_loss`` and ``calibration_ratio`` (of which ``a``,
        ``b``, ``difference``), and for AUC ``simultaneous`` and ``verdict``, both None for a small line.
    """
    found = {name: _lines(name, rows, segment, level=level, max_lines=max_lines) for name, segment in segments.items()}
    large = [line for of in found.values() for line in of["lines"] if not line["small"]]
    for line in large:
        difference = Measured.from_json(line["auc"]["difference"])
        together = 1 - (1 - level) / len(large)
        interval = difference.interval(together).to_json()
        line["auc"]["simultaneous"] = {"low": interval["low"], "high": interval["high"]}
        line["auc"]["verdict"] = verdict(difference, level=together, larger_is_better=True)
    return {"num_intervals": len(large), "segments": found}


def verdict(difference: Measured, *, level: float, larger_is_better: bool | None) -> Verdict | None:
    """Whether the interval of B less A lies wholly on one side of 0; None where that is no question."""
    if larger_is_better is None or not difference.known:
        return None
    interval = difference.interval(level)
    if interval.low <= 0 <= interval.high:
        return "open"
    return "better" if (interval.low > 0) == larger_is_better else "worse"


def _lines(name: str, rows: PairedRows, segment: Segment, *, level: float, max_lines: int) -> dict[str, Any]:
    codes = np.asarray(segment.codes)
    if codes.shape != (len(rows),):
        raise DataError(f"segment {name!r} must have one value for each of the {len(rows)} rows, not {codes.shape}")
    counts = np.bincount(codes, minlength=len(segment.names))
    ends, order = np.cumsum(counts), np.argsort(codes, kind="stable")
    chosen = np.argsort(-counts, kind="stable")[:max_lines]
    chosen = chosen[counts[chosen] > 0]
    if segment.ordered:
        chosen = np.sort(chosen)
    lines = [
        {"value": segment.names[code], **_line(rows.take(order[ends[code] - counts[code] : ends[code]]), level=level)}
        for code in chosen.tolist()
    ]
    return {"num_values": int(np.count_nonzero(counts)), "lines": lines}


def _line(rows: PairedRows, *, level: float) -> dict[str, Any]:
    area, sums = paired_auc(rows), cluster_sums(rows)
    pairs = {"auc": area, "log_loss": paired_log_loss(sums), "calibration_ratio": paired_calibration(sums)}
    metrics: dict[str, Any] = {
        name: {key: getattr(of, key).to_json(level) for key in ("a", "b", "difference")} for name, of in pairs.items()
    }
    metrics["auc"] |= {"simultaneous": None, "verdict": None}
    return {
        "num_rows": len(rows),
        "num_positives": int(np.count_nonzero(rows.positive)),
        "num_users": None if rows.codes is None else rows.num_clusters,
        "small": not area.difference.known or area.num_users < SMALL,
        **metrics,
    }


def _with_groups(metric: dict[str, Any] | None, grouped: PairedGroupedAuc | None) -> dict[str, Any] | None:
    if metric is None or grouped is None:
        return None
    return {**metric, "num_groups": grouped.num_groups, "num_rows": grouped.num_rows}


def _scores(rows: PairedRows) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("a", rows.a), ("b", rows.b)
