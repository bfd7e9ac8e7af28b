"""Each rule by itself, on comparisons made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctrgate.config import load
from ctrgate.errors import ConfigError
from ctrgate.promote import Config
from ctrgate.promotion.rules import (
    AucRule,
    CalibrationRule,
    Judged,
    LossRule,
    Rules,
    ScoresRule,
    SegmentsRule,
    judge,
    judge_alone,
)
from tests.promotion.conftest import comparison, measured, segment_line

OFF = {"auc": None, "log_loss": None, "calibration": None, "segments": None, "scores": None}


def only(rule: Any, **changes: Any) -> Judged:
    """What one rule says."""
    name = {AucRule: "auc", LossRule: "log_loss", CalibrationRule: "calibration", SegmentsRule: "segments"}
    rules = Rules(**{**OFF, name.get(type(rule), "scores"): rule})
    (judged,) = judge(rules, comparison({}, {}, **changes)).values()
    return judged


@pytest.mark.parametrize(
    ("test", "value", "error", "passes"),
    [
        ("non_inferiority", 0.0, 0.0005, True),  # -0.00098 at the lower end
        ("non_inferiority", 0.0, 0.0006, False),
        ("non_inferiority", -0.0009, 0.00001, True),
        ("non_inferiority", None, None, False),
        ("non_inferiority", 0.5, None, False),  # no error, no proof
        ("superiority", 0.0011, 0.0005, True),
        ("superiority", 0.0009, 0.0005, False),
    ],
)
def test_auc_must_be_shown_to_be_as_good_or_better(
    test: Any, value: float | None, error: float | None, passes: bool
) -> None:
    judged = only(AucRule(test=test), auc=measured(value, error))
    assert judged.passed == passes
    assert judged.found["value"] == value
    assert judged.limit["margin"] == (0.001 if test == "non_inferiority" else 0)


@pytest.mark.parametrize(
    ("metric", "value", "error", "passes"),
    [
        ("normalized_entropy", 0.004, 0.0015, True),  # [0.0011, 0.0069]: not shown to be worse by 0.002
        ("normalized_entropy", 0.004, 0.0009, False),
        ("log_loss", 0.004, 0.0009, False),
        ("log_loss", -0.004, 0.0001, True),
        ("log_loss", None, None, False),
    ],
)
def test_loss_must_not_be_shown_to_be_worse(
    metric: Any, value: float | None, error: float | None, passes: bool
) -> None:
    assert only(LossRule(metric=metric), **{metric: measured(value, error)}).passed == passes
    other = {"normalized_entropy": "log_loss", "log_loss": "normalized_entropy"}[metric]
    assert only(LossRule(metric=other), **{metric: measured(value, error)}).passed


@pytest.mark.parametrize(
    ("value", "error", "passes"),
    [
        (1.0, 0.01, True),
        (1.15, 0.03, True),  # [1.091, 1.209] touches
        (1.15, 0.02, False),
        (0.85, 0.03, True),
        (0.85, 0.02, False),
        (1.05, None, True),  # no error: the value alone
        (1.15, None, False),
        (None, None, False),
    ],
)
def test_the_interval_of_calibration_must_touch_the_band(
    value: float | None, error: float | None, passes: bool
) -> None:
    assert only(CalibrationRule(), calibration=measured(value, error)).passed == passes


def test_no_segment_may_be_shown_to_be_worse() -> None:
    lines = [segment_line("phone", -0.03, -0.0099), segment_line("tv", None, None, small=True)]
    assert only(SegmentsRule(), lines=lines).passed
    held = only(SegmentsRule(margin=0.005), lines=lines)
    assert not held.passed
    assert "device = phone [-0.03, -0.0099]" in held.told
    assert held.found["worse"] == [{"segment": "device", "value": "phone", "low": -0.03, "high": -0.0099}]
    assert only(SegmentsRule(margin=0.0), lines=[segment_line("tv", -0.9, -0.8, small=True)]).passed
    assert only(SegmentsRule(), lines=[]).found == {"judged": 0, "worse": [], "worst": None}


@pytest.mark.parametrize(("psi", "passes"), [(0.25, True), (0.251, False), (None, False)])
def test_scores_may_shift_only_so_far(psi: float | None, passes: bool) -> None:
    assert only(ScoresRule(), psi=psi).passed == passes


def test_rules_that_are_off_say_nothing() -> None:
    assert judge(Rules(**OFF), comparison({}, {})) == {}
    assert judge_alone(Rules(**OFF), calibration_ratio=9.0) == {}
    assert not judge_alone(Rules(), calibration_ratio=None)["calibration"].passed
    assert set(judge(Rules(), comparison({}, {}))) == set(OFF)


def test_rules_are_read_from_a_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: a\npromote:\n  rules: {auc: {test: superiority}, scores: null, calibration: {low: .8}, parity: false}\n"
    )
    rules = load(path, Config).promote.rules
    assert (rules.auc.test, rules.auc.alpha, rules.scores, rules.calibration) == (  # type: ignore[union-attr]
        "superiority",
        0.025,
        None,
        CalibrationRule(low=0.8),
    )
    for wrong, said in (("calibration: {low: 2}", "low 2.0 is above"), ("auc: {margin: -1}", "rules.auc.margin")):
        path.write_text(f"name: a\npromote: {{rules: {{{wrong}}}}}\n")
        with pytest.raises(ConfigError, match=said):
            load(path, Config)
