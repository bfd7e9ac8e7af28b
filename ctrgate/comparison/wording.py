"""What a comparison says, in words: numbers with as many digits as their interval deserves, and a plain sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["TITLES", "difference", "interval", "number", "sentence"]

TITLES: Mapping[str, str] = {
    "auc": "AUC",
    "gauc": "Grouped AUC",
    "log_loss": "Log loss",
    "normalized_entropy": "Normalised entropy",
    "calibration_ratio": "Calibration",
}
_FEWEST, _MOST = 4, 7


def sentence(result: Mapping[str, Any]) -> str:
    """Which model is better by how much in AUC, with the interval, and what the other metrics say.

    Example:
        ``B is better by 0.0012 [0.0007, 0.0017] in AUC (0.7312 against 0.7300).``
    """
    metrics = result["metrics"]
    parts = [_auc(metrics["auc"]), *_others(metrics)]
    if result["users"] is None:
        parts.append("Rows are taken for independent, as dataset.roles.group names no user.")
    return " ".join(parts)


def number(value: float | None, digits: int = _FEWEST) -> str:
    """A value, or n/a."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def difference(of: Mapping[str, Any]) -> str:
    """A signed difference."""
    return "n/a" if of["value"] is None else f"{of['value']:+.{_digits(of)}f}"


def interval(of: Mapping[str, Any], *, signed: bool = True, digits: int | None = None) -> str:
    """``[low, high]``, or nothing where there is none."""
    if of["low"] is None or of["high"] is None:
        return ""
    how = f"{'+' if signed else ''}.{_digits(of) if digits is None else digits}f"
    return f"[{of['low']:{how}}, {of['high']:{how}}]"


def _auc(metric: Mapping[str, Any]) -> str:
    apart, verdict = metric["difference"], metric["verdict"]
    if apart["value"] is None:
        return "AUC does not exist on these rows, which are of one class."
    digits = _digits(apart)
    levels = f"({number(metric['b']['value'])} against {number(metric['a']['value'])})"
    if apart["low"] is None:
        return f"B's AUC is {difference(apart)} from A's {levels}; too few users for an interval."
    if apart["low"] == apart["high"] == 0:
        return f"A and B rank the rows alike: both have AUC {number(metric['a']['value'])}."
    if verdict == "open":
        return f"No difference in AUC is shown: B less A is {difference(apart)} {interval(apart)} {levels}."
    sign = 1 if verdict == "better" else -1
    low, high = sorted((sign * apart["low"], sign * apart["high"]))
    value = f"{sign * apart['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return f"B is {verdict} by {value} in AUC {levels}."


def _others(metrics: Mapping[str, Any]) -> list[str]:
    said = []
    for name in ("gauc", "log_loss"):
        metric = metrics[name]
        if metric is not None and metric["difference"]["low"] is not None:
            apart, verdict = metric["difference"], metric["verdict"]
            told = "no difference shown" if verdict == "open" else verdict
            said.append(f"{TITLES[name]}: {difference(apart)} {interval(apart)}, {told}.")
    calibration = metrics["calibration_ratio"]
    if calibration["a"]["value"] is not None:
        a, b = (number(calibration[side]["value"], 3) for side in ("a", "b"))
        said.append(f"Clicks predicted over seen: {b} against {a}.")
    return said


def _digits(of: Mapping[str, Any]) -> int:
    """So many that half of the interval has two figures."""
    low, high = of["low"], of["high"]
    half = 0.0 if low is None or high is None else (high - low) / 2
    return min(_MOST, max(_FEWEST, 1 - math.floor(math.log10(half)))) if half > 0 else _FEWEST
