"""One day: its rows are checked, a challenger learns from earlier ones, both are compared on them, one scores on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ctrgate.errors import ConfigError
from ctrgate.files import write_json
from ctrgate.progress import console
from pipelines.daily import sections
from pipelines.daily.periods import later, periods
from pipelines.daily.plan import DECIDED, LEARNT, Champion, Plan
from pipelines.daily.steps import Steps, key_of
from pipelines.experiment import Stopped, run_verb

__all__ = ["decide", "score_next"]

_WRONG_INPUT, _HELD = 2, 3
"""Exit codes of a verb: what it was given cannot be used, or a check has stopped it."""


def decide(plan: Plan, day: date) -> Mapping[str, Any]:
    """Bring a day to its decision, which is final; what is done already is not done again.

    A day that was stopped by its rows has decided nothing: it is looked at again once its files have changed.

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
    record = _decided(plan, day, begun, steps=Steps(folder / "steps", key=key_of(begun)))
    after = plan.champion()
    record = {
        "format_version": 1,
        "date": day.isoformat(),
        "files": begun["inputs"]["files"],
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
    scored = sections.scoring(plan, files, artifact=champion["served"], into=into)
    sections.write(folder / "score.yaml", scored)
    steps = Steps(folder / "steps", key=key_of(champion, files))
    try:
        steps.once("score", lambda: _verb("score", folder / "score.yaml"), needs=scored)
    except Stopped as stopped:
        if stopped.exit_code == _HELD:  # scored but for the files that score.on_bad_file lets it leave out and list
            return "scored"
        if stopped.exit_code != _WRONG_INPUT:
            raise
        return "refused"
    return "scored"


def _begun(plan: Plan, day: date) -> Mapping[str, Any]:
    """What the day set out from, kept until it is decided: a promotion within it must not become its own champion."""
    path, champion = plan.folder(day) / "begun.json", plan.champion()
    inputs = {
        "files": plan.files.of(day),
        "learn": _learnable(plan, day),
        "sections": key_of({name: plan.sections[name] for name in plan.sections if name not in ("tracking", "daily")}),
    }
    if path.exists():
        known: Mapping[str, Any] = json.loads(path.read_text())
        if known["inputs"] == inputs or _is_of(champion, day):
            return known
    begun = {"inputs": inputs, "champion": None if champion is None else dataclasses.asdict(champion)}
    write_json(path, begun)
    return begun


def _is_of(champion: Champion | None, day: date) -> bool:
    """Whether the champion is the day's own challenger, promoted before the day's record was written."""
    path = None if champion is None else Path(champion.run) / LEARNT
    return path is not None and path.exists() and json.loads(path.read_text())["date"] == day.isoformat()


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
                f"{period} lies before {day} and is not decided, so nobody has looked at its rows, or they changed "
                f"since they were stopped; run --from {period} --to {day}"
            )
        if decided is None or decided["status"] != "stopped":
            found[period.isoformat()] = files
    return found


def _decided(plan: Plan, day: date, begun: Mapping[str, Any], *, steps: Steps) -> dict[str, Any]:
    """From what the day set out from alone: what has come since is for the next one."""
    folder, files = plan.folder(day), begun["inputs"]["files"]
    champion = None if begun["champion"] is None else Champion(**begun["champion"])
    if not files:
        return {"status": "stopped", "why": f"there are no files of {day} (daily.files: {plan.daily.files})"}
    learn, valid = _parted(plan, begun["inputs"]["learn"], champion=champion)
    checked = steps.once("validate", lambda: _validate(plan, day, files, champion=champion, learn=learn or valid))
    if checked["stops"]:
        return {"status": "stopped", "why": checked["stops"][0], "validation": checked}
    if not learn:
        new = "that the champion has not learnt from " if champion else ""
        return {"status": "held", "why": f"no files {new}before {day}", "validation": checked}
    splits = {"train": learn, "valid": valid, "test": files}
    wanted = sections.challenger(plan, day, splits, champion=champion)
    run_file, run = folder / "run.yaml", plan.runs / wanted["name"]
    sections.write(run_file, wanted)

    def once(verb: str) -> Mapping[str, Any]:
        return steps.once(verb, lambda: _verb(verb, run_file), needs=wanted)

    rows = once("prepare")["rows"]
    once("train")
    before = champion.learnt if champion and plan.daily.warm_start else {}
    write_json(run / LEARNT, {"date": day.isoformat(), "files": {**before, **learn}})
    once("evaluate")
    once("export")
    if champion is not None:
        once("compare")
    promoted = steps.once("promote", lambda: _promote(run_file, run))
    newest = [*valid, *files] if plan.daily.warm_start else [*learn, *valid, *files]
    refit = promoted["status"] == "promoted" and plan.daily.refit and _refit(plan, day, newest, run=run, steps=steps)
    return {
        "status": promoted["status"],
        "why": promoted["why"],
        "run": str(run),
        "refit": refit or None,
        "rows": rows,
        "num_new_files": len(learn),
        "validation": checked,
        **_figures(run, folder / "comparison" / "comparison.json", compared=champion is not None),
    }


def _parted(
    plan: Plan, periods: Mapping[str, Mapping[str, str]], *, champion: Champion | None
) -> tuple[dict[str, str], dict[str, str]]:
    """The files to learn from and those of valid, by path with their checksums, of those that may be learnt from."""
    learnable = list(periods.values())
    cut = len(learnable) - plan.daily.valid_periods
    valid = {path: hashed for files in learnable[max(cut, 0) :] for path, hashed in files.items()}
    learn = {path: hashed for files in learnable[: max(cut, 0)] for path, hashed in files.items()}
    if champion is not None and plan.daily.warm_start:
        learn = {path: hashed for path, hashed in learn.items() if champion.learnt.get(path) != hashed}
    return learn, valid


def _validate(
    plan: Plan, day: date, files: Mapping[str, str], *, champion: Champion | None, learn: Mapping[str, str]
) -> dict[str, Any]:
    """Check the day's rows; expectations are inferred first where there are none yet, from the days before."""
    folder, run_file = plan.folder(day), plan.folder(day) / "validate.yaml"
    of = sections.validation(plan, day, files, champion=champion, learn=learn)
    sections.write(run_file, of)
    expectations = Path((of.get("schema") or {}).get("file") or f"expectations/{plan.dataset}.yaml")
    if not expectations.exists():
        if not learn:
            console.print(f"{expectations} is not there and no day comes before {day}: its rows are not checked")
            return {"findings": {}, "stops": []}
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


def _refit(plan: Plan, day: date, files: Sequence[str], *, run: Path, steps: Steps) -> str:
    """The run that serves in the challenger's place, once it has been promoted: it learns the day's own rows too."""
    wanted = sections.refit(plan, day, files, challenger=str(run))
    run_file = plan.folder(day) / "refit.yaml"
    sections.write(run_file, wanted)
    for verb in ("prepare", "train", "export"):
        steps.once(f"refit-{verb}", partial(_verb, verb, run_file), needs=wanted)
    refit = plan.runs / wanted["name"]
    steps.once("refit-promote", lambda: _promote(run_file, refit))
    return str(refit)


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
        figures["scores_shift"] = found["scores"]["stability_index"]
        figures["sentence"] = found["sentence"]
    return figures


def _interval(of: Mapping[str, Any]) -> dict[str, Any]:
    return {key: of[key] for key in ("value", "low", "high")}


def _verb(verb: str, run_file: Path) -> Mapping[str, Any]:
    return run_verb(verb, run_file=run_file).result
