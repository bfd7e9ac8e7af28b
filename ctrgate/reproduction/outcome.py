"""Two trainings of the same settings on the same rows: bit for bit, within the interval of the difference, or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctrgate.comparison.rows import Rows, counted
from ctrgate.comparison.wording import TITLES, difference, interval
from ctrgate.metrics.measured import Measured
from ctrgate.metrics.paired import pair
from ctrgate.metrics.paired_auc import PairedAuc, paired_auc
from ctrgate.metrics.paired_means import PairedMean, cluster_sums, paired_log_loss

__all__ = ["Verdict", "logits_compared", "sentence", "verdict"]

Verdict = Literal["identical", "within", "outside", "unknown", "other encoder"]


def logits_compared(
    rows: Rows, run: NDArray[np.float64], again: NDArray[np.float64], *, level: float
) -> dict[str, Any]:
    """One label's logits of a run and of its reproduction, row by row.

    Args:
        rows: What both have scored.
        run: The run's logits.
        again: The reproduction's.
        level: Of the intervals.

    Shape:
        - run, again: ``(n,)``

    Returns:
        ``num_rows``, ``identical`` (bit for bit), ``num_differing``, ``largest_difference``, and by metric (``auc``,
        ``log_loss``) ``run``, ``reproduction`` and ``difference``, each with its interval, and ``within``: whether the
        interval of the difference holds 0, None where there is no interval.
    """
    differing = run.view(np.int64) != again.view(np.int64)
    kept, weights, groups = counted(rows), rows.role("weight"), rows.role("group")
    pairs = pair(
        rows.column(rows.label_column)[kept],
        run[kept],
        again[kept],
        groups=None if groups is None else groups[kept],
        weights=None if weights is None else weights[kept],
    )
    found: dict[str, PairedAuc | PairedMean] = {
        "auc": paired_auc(pairs),
        "log_loss": paired_log_loss(cluster_sums(pairs)),
    }
    return {
        "num_rows": len(run),
        "identical": not differing.any(),
        "num_differing": int(differing.sum()),
        "largest_difference": float(np.abs(run - again).max(initial=0.0)),
        "metrics": {
            name: {
                "run": of.a.to_json(level),
                "reproduction": of.b.to_json(level),
                "difference": of.difference.to_json(level),
                "within": _within(of.difference, level=level),
            }
            for name, of in found.items()
        },
    }


def verdict(labels: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """The worst of all labels; a metric that does not exist (AUC of one class) is passed over.

    ``unknown`` is for logits that differ where no metric has an interval, which no one may call reproduced.
    """
    if all(of["identical"] for of in labels.values()):
        return "identical"
    judged = []
    for of in labels.values():
        judged += [metric["within"] for metric in of["metrics"].values() if metric["difference"]["value"] is not None]
    if False in judged:
        return "outside"
    return "unknown" if None in judged or not judged else "within"


def sentence(result: Mapping[str, Any]) -> str:
    """What came out, in words.

    Example:
        ``Reproduced within the interval: 12,000 test rows, logits up to 0.0031 apart; AUC +0.0002 [-0.0011, +0.0015],
        ...; both intervals hold 0.``
    """
    how: Verdict = result["verdict"]
    if how == "other encoder":
        return (
            f"Not reproduced: the same raw files now give the encoder {result['encoder']['reproduction'][:12]}, the "
            f"run's is {result['encoder']['run'][:12]}; nothing was trained.{_surroundings(result)}"
        )
    rows = f"{result['num_rows']:,} {result['split']} rows"
    if how == "identical":
        return f"Reproduced bit for bit: all logits of {rows} are the run's.{_surroundings(result)}"
    begins: dict[str, str] = {
        "within": "Reproduced within the interval",
        "outside": "Not reproduced",
        "unknown": "Not shown to be reproduced",
    }
    ends = {
        "within": "every interval holds 0",
        "outside": "not every interval holds 0",
        "unknown": "too few users for an interval",
    }
    return f"{begins[how]}: {rows}, {_told(result['labels'])}; {ends[how]}.{_surroundings(result)}"


def _told(labels: Mapping[str, Mapping[str, Any]]) -> str:
    told = []
    for label, of in labels.items():
        named = f"{label}: " if len(labels) > 1 else ""
        metrics = [
            f"{TITLES[name]} {difference(metric['difference'])} {interval(metric['difference'])}".strip()
            for name, metric in of["metrics"].items()
        ]
        told.append(
            f"{named}logits up to {of['largest_difference']:.3g} apart, reproduction less run {', '.join(metrics)}"
        )
    return "; ".join(told)


def _surroundings(result: Mapping[str, Any]) -> str:
    differing = result["environment"]
    if not differing:
        return " Versions, processor and threads are the run's."
    told = ", ".join(f"{name} {of['here']} instead of {of['run']}" for name, of in differing.items())
    return f" Other than the run's: {told}."


def _within(apart: Measured, *, level: float) -> bool | None:
    if apart.value == 0:
        return True
    if not apart.known:
        return None
    ends = apart.interval(level)
    return ends.low <= 0 <= ends.high
