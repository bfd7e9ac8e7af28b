"""One day: its rows are checked, a challenger learns from earlier ones, both are compared on them, one scores on."""

from __future__ import annotations

import dataclasses
import glob
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from ctrgate.config import to_yaml
from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file, write_json
from pipelines.daily.periods import later, periods
from pipelines.daily.plan import DECIDED, LEARNT, Champion, Plan
from pipelines.daily.steps import Steps, key_of
from pipelines.experiment import Stopped, run_verb

__all__ = ["decide", "score_next"]

_WRONG_INPUT, _HELD = 2, 3
"""Exit codes of a verb: what it was given cannot be used, or a check has stopped it."""
_NOT_OF_A_DAY = ("daily", "tune", "widths", "report", "score", "schema")


def decide(plan: Plan, day: date) -> Mapping[str, Any]:
    """Bring a day to its decision, which is final; what is done already is not done again.

    Returns:
        The day's record: ``status`` (promoted, held or stopped), ``why``, the models and their figures.

    Raises:
        Stopped: Where a verb fails or is interrupted; the same call goes on from there.
    """
    known = plan.decided(day)
    if known is not None:
        return known
    folder = plan.folder(day)
    begun = _begun(plan, day)
    champion = None if begun["champion"] is None else Champion(**begun["champion"])
    steps = Steps(folder / "steps", key=key_of(begun))
    record = _decided(plan, day, champion=champion, steps=steps)
    after = plan.champion()
    record = {
        "format_version": 1,
        "date": day.isoformat(),
        **record,
        "champion_before": begun["champion"],
        "champion_after": None if after is None else dataclasses.asdict(after),
    }
    write_json(folder / DECIDED, record)
    return record


def score_next(plan: Plan, day: date, record: Mapping[str, Any]) -> Literal["scored", "nothing", "refused"]:
    """Score the rows of the period after a day with the champion that the day ended with.

    Returns:
        Whether there were any, and whether they could be used: what is wrong with them is told, and is no fault of the
        decision.

    Raises:
        Stopped: Where scoring was interrupted or failed otherwise.
    """
    following = later(day, 1, period=plan.daily.period)
    files, champion = plan.files.of(following), record["champion_after"]
    if not files or champion is None:
        return "nothing"
    folder, into = plan.folder(day), Path("scores") / plan.name / following.isoformat()
    sections = {
        "name": plan.name,
        "runs": str(plan.runs),
        "score": {
            **(plan.sections.get("score") or {}),
            "files": [glob.escape(path) for path in files],
            "model": champion["artifact"],
            "into": str(into),
            "replace": True,
        },
    }
    _write(folder / "score.yaml", sections)
    steps = Steps(folder / "steps", key=key_of(champion, files))
    try:
        steps.once("score", lambda: _verb("score", folder / "score.yaml"), needs=sections)
    except Stopped as stopped:
        if stopped.exit_code == _HELD:  # scored but for the files that score.on_bad_file lets it leave out and list
            return "scored"
        if stopped.exit_code != _WRONG_INPUT:
            raise
        return "refused"
    return "scored"


def _begun(plan: Plan, day: date) -> Mapping[str, Any]:
    """What the day set out from, kept until it is decided: a promotion within it must not become its own champion."""
    path = plan.folder(day) / "begun.json"
    inputs = {
        "files": plan.files.of(day),
        "learn": _learnable(plan, day),
        "sections": key_of({name: plan.sections[name] for name in plan.sections if name not in ("tracking", "daily")}),
    }
    if path.exists():
        known: Mapping[str, Any] = json.loads(path.read_text())
        if known["inputs"] == inputs or (path.parent / "steps" / "promote.json").exists():
            return known
    champion = plan.champion()
    begun = {"inputs": inputs, "champion": None if champion is None else dataclasses.asdict(champion)}
    write_json(path, begun)
    return begun


def _learnable(plan: Plan, day: date) -> dict[str, Mapping[str, str]]:
    """The files of the periods before a day that may be learnt from; periods stopped for their rows are left out."""
    daily, last = plan.daily, later(day, -1, period=plan.daily.period)
    first = daily.first
    if daily.window is not None:
        first = max(first, later(day, -daily.window, period=daily.period))
    found, begun = {}, False
    for period in periods(first, last, period=daily.period):
        decided, files = plan.decided(period), plan.files.of(period)
        begun = begun or decided is not None
        if begun and decided is None and files:
            raise ConfigError(
                f"{period} lies before {day} and is not decided, so nobody has looked at its rows; run --from {period} "
                f"--to {day}"
            )
        if decided is None or decided["status"] != "stopped":
            found[period.isoformat()] = files
    return found


def _decided(plan: Plan, day: date, *, champion: Champion | None, steps: Steps) -> dict[str, Any]:
    folder, files = plan.folder(day), plan.files.of(day)
    if not files:
        return {"status": "stopped", "why": f"there are no files of {day} (daily.files: {plan.daily.files})"}
    learn, valid = _parted(plan, day, champion=champion)
    checked = steps.once("validate", lambda: _validate(plan, day, champion=champion, learn=learn or valid))
    if checked["stops"]:
        return {"status": "stopped", "why": checked["stops"][0], "validation": checked}
    if not learn:
        new = "that the champion has not learnt from " if champion else ""
        return {
            "status": "held" if champion else "stopped",
            "why": f"no files {new}before {day}",
            "validation": checked,
        }
    sections = _sections(plan, day, champion=champion, learn=learn, valid=valid)
    run_file = folder / "run.yaml"
    _write(run_file, sections)
    run = plan.runs / sections["name"]
    for verb in ("prepare", "train", "evaluate", "export"):
        done = steps.once(verb, lambda verb=verb: _verb(verb, run_file), needs=sections)  # type: ignore[misc]
        if verb == "prepare":
            rows = done["rows"]
        if verb == "train":
            known = champion.learnt if champion and plan.daily.warm_start else {}
            write_json(run / LEARNT, {"date": day.isoformat(), "files": {**known, **learn}})
    if champion is not None:
        steps.once("compare", lambda: _verb("compare", run_file))
    promoted = steps.once("promote", lambda: _promote(run_file, run))
    return {
        "status": promoted["status"],
        "why": promoted["why"],
        "run": str(run),
        "rows": rows,
        "num_new_files": len(learn),
        "validation": checked,
        **_figures(run, folder / "comparison" / "comparison.json", compared=champion is not None),
    }


def _parted(plan: Plan, day: date, *, champion: Champion | None) -> tuple[dict[str, str], dict[str, str]]:
    """The files to learn from and those of valid, by path with their checksums."""
    learnable = list(_learnable(plan, day).values())
    cut = len(learnable) - plan.daily.valid_periods
    valid = {path: hashed for files in learnable[max(cut, 0) :] for path, hashed in files.items()}
    learn = {path: hashed for files in learnable[: max(cut, 0)] for path, hashed in files.items()}
    if champion is not None and plan.daily.warm_start:
        learn = {path: hashed for path, hashed in learn.items() if champion.learnt.get(path) != hashed}
    return learn, valid


def _sections(
    plan: Plan, day: date, *, champion: Champion | None, learn: Mapping[str, str], valid: Mapping[str, str]
) -> dict[str, Any]:
    """The day's own run file."""
    folder = plan.folder(day)
    of = {name: value for name, value in plan.sections.items() if name not in _NOT_OF_A_DAY}
    splits = {"train": learn, "valid": valid, "test": plan.files.of(day)}
    of["dataset"] = {
        **of["dataset"],
        "splits": {split: [glob.escape(path) for path in files] for split, files in splits.items()},
    }
    of["prepare"] = {"into": str(folder / "prepared")}
    of["evaluate"] = {**(of.get("evaluate") or {}), "splits": ["test"]}
    train = dict(of.get("train") or {})
    warm = train.pop("warm_start", None) or {}
    if champion is not None and plan.daily.warm_start:
        of["prepare"]["previous"] = champion.prepared
        train["warm_start"] = {**warm, "run": champion.run}
    of["train"] = train
    if champion is not None:
        of["compare"] = {
            **(of.get("compare") or {}),
            "against": champion.artifact,
            "into": str(folder / "comparison"),
        }
        of["promote"] = {**(of.get("promote") or {}), "comparison": str(folder / "comparison")}
    of["promote"] = {**(of.get("promote") or {}), "model": plan.model}
    of["name"] = f"{plan.name}-{day.isoformat()}-{key_of(of, splits)[:6]}"
    return of


def _validate(plan: Plan, day: date, *, champion: Champion | None, learn: Mapping[str, str]) -> dict[str, Any]:
    """Check the day's rows; expectations are inferred first where there are none yet."""
    folder = plan.folder(day)
    of = {name: value for name, value in plan.sections.items() if name not in _NOT_OF_A_DAY or name == "schema"}
    if learn:
        splits = {"train": [glob.escape(path) for path in learn]}
        of["dataset"] = {**of["dataset"], "splits": splits}
    of["prepare"] = {"into": champion.prepared if champion else str(folder / "prepared")}
    of["validate"] = {
        **(of.get("validate") or {}),
        "files": [glob.escape(path) for path in plan.files.of(day)],
        "into": str(folder / "validation"),
    }
    run_file = folder / "validate.yaml"
    _write(run_file, of)
    expectations = Path((of.get("schema") or {}).get("file") or f"expectations/{plan.dataset}.yaml")
    if not expectations.exists() and learn:
        _verb("schema", run_file)
    try:
        _verb("validate", run_file)
    except Stopped as stopped:
        if stopped.exit_code != _HELD:
            raise
    found = json.loads((folder / "validation" / "validation.json").read_text())["findings"]
    counts = {severity: sum(each["severity"] == severity for each in found) for severity in ("note", "warn", "stop")}
    return {"findings": counts, "stops": [_told(each) for each in found if each["severity"] == "stop"]}


def _told(finding: Mapping[str, Any]) -> str:
    place = ", ".join(str(finding[key]) for key in ("column", "file") if finding.get(key))
    return f"{finding['rule']}: {finding['found']}" + (f" ({place})" if place else "")


def _promote(run_file: Path, run: Path) -> dict[str, str]:
    try:
        _verb("promote", run_file)
    except Stopped as stopped:
        if stopped.exit_code != _HELD:
            raise
    verdict = json.loads((run / "promotion.json").read_text())
    failed = [name for name, rule in verdict["rules"].items() if not rule["passed"]]
    return {
        "status": verdict["verdict"],
        "why": f"{verdict['verdict']}: " + (", ".join(failed) if failed else "all rules hold"),
    }


def _figures(run: Path, comparison: Path, *, compared: bool) -> dict[str, Any]:
    """AUC of both models on the day's rows, with intervals, and what is between them."""
    evaluation = json.loads((run / "evaluation" / "test.json").read_text())
    figures: dict[str, Any] = {"auc": _interval(evaluation["auc"])}
    if compared:
        found = json.loads(comparison.read_text())
        figures["champion_auc"] = _interval(found["metrics"]["auc"]["a"])
        figures["difference"] = _interval(found["metrics"]["auc"]["difference"])
        figures["sentence"] = found["sentence"]
    return figures


def _interval(of: Mapping[str, Any]) -> dict[str, Any]:
    return {key: of[key] for key in ("value", "low", "high")}


def _write(path: Path, sections: Mapping[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(to_yaml(sections), encoding="utf-8")


def _verb(verb: str, run_file: Path, overrides: Sequence[str] = ()) -> Mapping[str, Any]:
    return run_verb(verb, run_file=run_file, overrides=overrides).result
