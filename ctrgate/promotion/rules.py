"""The rules of a promotion: what each allows, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from ctrgate.config import settings
from ctrgate.metrics.measured import Measured, non_inferiority
from ctrgate.ranges import NotNegative

__all__ = ["Judged", "Rules", "judge", "judge_alone"]


@settings
class AucRule:
    """The challenger's AUC against the champion's, by a one-sided test."""

    test: Literal["non_inferiority", "superiority"] = "non_inferiority"
    """Not worse by the margin or more; or better."""
    margin: NotNegative = 0.001
    """Of non-inferiority; superiority has none."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.025
    """How often a challenger may pass that is worse by just the margin (or, under superiority, just as good)."""


@settings
class LossRule:
    """A guard: the challenger is not shown to be worse."""

    metric: Literal["normalized_entropy", "log_loss"] = "normalized_entropy"
    """Normalised entropy is log loss relative to the rows' click rate."""
    margin: NotNegative = 0.002
    """The interval of the difference must not lie wholly above this."""


@settings
class CalibrationRule:
    """Clicks that the challenger predicts over clicks seen."""

    low: NotNegative = 0.9
    """The band's lower end."""
    high: NotNegative = 1.1
    """Its upper end; the interval of the ratio must touch the band."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


@settings
class SegmentsRule:
    """No segment is shown to be worse."""

    margin: NotNegative = 0.01
    """No segment's interval of the difference in AUC, all segments together, lies wholly below minus this."""


@settings
class ScoresRule:
    """How far the challenger's scores lie from the champion's."""

    max_psi: NotNegative = 0.25
    """Largest population stability index."""


@settings
class Rules:
    """All must hold; null switches one off."""

    auc: AucRule | None = field(default_factory=AucRule)
    """AUC against the champion."""
    log_loss: LossRule | None = field(default_factory=LossRule)
    """Log loss or normalised entropy against the champion."""
    calibration: CalibrationRule | None = field(default_factory=CalibrationRule)
    """The challenger's calibration."""
    segments: SegmentsRule | None = field(default_factory=SegmentsRule)
    """AUC against the champion in each segment."""
    scores: ScoresRule | None = field(default_factory=ScoresRule)
    """The shift of scores."""
    parity: bool | None = True
    """The artifact scores its golden rows as the checkpoint did; false or null switches it off."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a rule says of a challenger.

    Args:
        limit: What is allowed, as plain values.
        found: What there is.
        passed: Whether it holds.
        told: Both in words.
    """

    limit: Mapping[str, Any]
    found: Mapping[str, Any]
    passed: bool
    told: str


def judge(rules: Rules, comparison: Mapping[str, Any]) -> dict[str, Judged]:
    """What the rules say that compare with the champion, and of calibration.

    Args:
        rules: Which.
        comparison: What ``comparison.json`` holds; B is the challenger.
    """
    metrics = comparison["metrics"]
    found = {}
    if rules.auc is not None:
        found["auc"] = _auc(rules.auc, metrics["auc"]["difference"])
    if rules.log_loss is not None:
        found["log_loss"] = _loss(rules.log_loss, metrics[rules.log_loss.metric])
    if rules.calibration is not None:
        ratio = (metrics["calibration_ratio"] or {}).get("b") or {"value": None, "low": None, "high": None}
        found["calibration"] = _calibration(rules.calibration, ratio)
    if rules.segments is not None:
        found["segments"] = _segments(rules.segments, comparison["segments"]["segments"])
    if rules.scores is not None:
        found["scores"] = _scores(rules.scores, comparison["scores"]["stability_index"])
    return found


def judge_alone(rules: Rules, *, calibration_ratio: float | None) -> dict[str, Judged]:
    """What the rules say that need no champion, but for parity: of calibration, by its value alone."""
    if rules.calibration is None:
        return {}
    only = {"value": calibration_ratio, "low": calibration_ratio, "high": calibration_ratio}
    return {"calibration": _calibration(rules.calibration, only)}


def _auc(rule: AucRule, of: Mapping[str, float | None]) -> Judged:
    margin = rule.margin if rule.test == "non_inferiority" else 0.0
    test = non_inferiority(Measured.from_json(of), margin=margin, larger_is_better=True, alpha=rule.alpha)
    found = {name: of[name] for name in ("value", "low", "high")}
    p_value = test.p_value if test.p_value == test.p_value else None  # NaN where there is no error
    told = f"AUC differs by {_of(found)}, p {_number(p_value)}; " + (
        f"it must be shown to be less than {margin:g} worse (p at most {rule.alpha:g})"
        if rule.test == "non_inferiority"
        else f"it must be shown to be better (p at most {rule.alpha:g})"
    )
    limit = {"test": rule.test, "margin": margin, "alpha": rule.alpha}
    return Judged(limit=limit, found={**found, "p_value": p_value}, passed=test.passed, told=told)


def _loss(rule: LossRule, metric: Mapping[str, Any] | None) -> Judged:
    of = (metric or {}).get("difference") or {}
    found = {name: of.get(name) for name in ("value", "low", "high")}
    passed = found["low"] is not None and found["low"] <= rule.margin
    name = rule.metric.replace("_", " ").replace("normalized", "normalised")
    told = f"{name} differs by {_of(found)}; its interval must not lie wholly above {rule.margin:g}"
    return Judged(limit={"metric": rule.metric, "margin": rule.margin}, found=found, passed=passed, told=told)


def _calibration(rule: CalibrationRule, of: Mapping[str, float | None]) -> Judged:
    found = {name: of[name] for name in ("value", "low", "high")}
    low, high = (of["value"] if of[end] is None else of[end] for end in ("low", "high"))
    passed = low is not None and high is not None and low <= rule.high and high >= rule.low
    told = f"calibration is {_of(found, signed=False)}; it must touch [{rule.low:g}, {rule.high:g}]"
    return Judged(limit={"low": rule.low, "high": rule.high}, found=found, passed=passed, told=told)


def _segments(rule: SegmentsRule, segments: Mapping[str, Any]) -> Judged:
    judged = list(_lines(segments))
    worse = [line for line in judged if line["high"] < -rule.margin]
    worst = min(judged, key=lambda line: line["high"], default=None)
    told = f"no segment's AUC (of {len(judged)} that are not small) is shown to be worse by more than {rule.margin:g}"
    if worse:
        named = ", ".join(
            f"{line['segment']} = {line['value']} [{line['low']:+.4g}, {line['high']:+.4g}]" for line in worse
        )
        told = f"AUC is shown to be worse by more than {rule.margin:g} in {named}"
    found = {"judged": len(judged), "worse": worse, "worst": worst}
    return Judged(limit={"margin": rule.margin}, found=found, passed=not worse, told=told)


def _lines(segments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of all segments that are not small, each with its interval of all together."""
    for name, segment in segments.items():
        for line in segment["lines"]:
            interval = line["auc"]["simultaneous"]
            if not line["small"] and interval is not None and interval["high"] is not None:
                yield {"segment": name, "value": line["value"], "low": interval["low"], "high": interval["high"]}


def _scores(rule: ScoresRule, psi: float | None) -> Judged:
    told = f"the stability index of the scores is {_number(psi)}; at most {rule.max_psi:g} is allowed"
    passed = psi is not None and psi <= rule.max_psi
    return Judged(limit={"max_psi": rule.max_psi}, found={"psi": psi}, passed=passed, told=told)


def _of(found: Mapping[str, float | None], *, signed: bool = True) -> str:
    """``value [low, high]``."""
    how = "+.5f" if signed else ".4f"
    value, low, high = (None if found[name] is None else f"{found[name]:{how}}" for name in ("value", "low", "high"))
    if value is None:
        return "an unknown amount"
    return value if low is None or low == high else f"{value} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
