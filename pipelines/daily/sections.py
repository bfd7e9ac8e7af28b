"""The run files that a day writes for its verbs, as sections of plain values."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ctrgate.artifact.manifest import Manifest
from ctrgate.config import to_yaml
from ctrgate.files import atomic_file
from ctrgate.training.runs import RunFolder
from pipelines.daily.plan import Champion, Plan, prepared_of
from pipelines.daily.steps import key_of

__all__ = ["challenger", "refit", "scoring", "validation", "write"]

_NOT_OF_A_DAY = ("daily", "tune", "widths", "report", "score", "schema")


def challenger(
    plan: Plan, day: date, splits: Mapping[str, Iterable[str]], *, champion: Champion | None
) -> dict[str, Any]:
    """A run that learns what the champion has not, or all from the seed, and is compared with the champion.

    Args:
        plan: The pipeline's run file.
        day: The one decided on.
        splits: The files of each.
        champion: That the day set out from.
    """
    folder = plan.folder(day)
    of = _trained(plan, splits, into=folder / "prepared", start=champion.run if champion else None)
    if "previous" in of["prepare"] and champion is not None and (plan.compacts(day) or champion.has_dropped):
        of["prepare"]["previous"] = champion.artifact  # which gives up the rows of retired values
    of["evaluate"] = {**(of.get("evaluate") or {}), "splits": ["test"]}
    promote = {**(of.get("promote") or {}), "model": plan.model}
    if champion is not None:
        comparison = str(folder / "comparison")
        of["compare"] = {**(of.get("compare") or {}), "against": champion.artifact, "into": comparison}
        promote["comparison"] = comparison
    of["promote"] = promote
    of["name"] = f"{plan.name}-{day.isoformat()}-{key_of(of, splits)[:6]}"
    return of


def refit(plan: Plan, day: date, files: Iterable[str], *, challenger: str) -> dict[str, Any]:
    """A run that goes on from the challenger that was promoted, or starts from the seed, with the day's own rows too.

    There are no rows left to choose an epoch by: it trains as many as were best for the challenger, whose run is named.
    """
    of = _trained(plan, {"train": files}, into=plan.folder(day) / "refit", start=challenger)
    of["train"]["epochs"] = _best_epoch(Path(challenger))
    of["promote"] = {"model": plan.model, "refit_of": challenger}
    of["name"] = f"{Path(challenger).name}-refit"
    return of


def validation(
    plan: Plan, day: date, files: Iterable[str], *, champion: Champion | None, learn: Iterable[str]
) -> dict[str, Any]:
    """Of the day's rows, and of the rows to infer expectations from."""
    of = {name: value for name, value in plan.sections.items() if name not in _NOT_OF_A_DAY or name == "schema"}
    if train := _literal(learn):
        of["dataset"] = {**of["dataset"], "splits": {"train": train}}
    of["prepare"] = {"into": champion.prepared if champion else str(plan.folder(day) / "prepared")}
    into = str(plan.folder(day) / "validation")
    of["validate"] = {**(of.get("validate") or {}), "files": _literal(files), "into": into}
    return of


def scoring(plan: Plan, files: Iterable[str], *, artifact: str, into: Path) -> dict[str, Any]:
    """Of the rows after a day."""
    score = {"files": _literal(files), "model": artifact, "into": str(into), "replace": True}
    return {"name": plan.name, "runs": str(plan.runs), "score": {**(plan.sections.get("score") or {}), **score}}


def write(path: Path, sections: Mapping[str, Any]) -> None:
    """Write a run file."""
    with atomic_file(path) as temporary:
        temporary.write_text(to_yaml(sections), encoding="utf-8")


def _trained(plan: Plan, splits: Mapping[str, Iterable[str]], *, into: Path, start: str | None) -> dict[str, Any]:
    """What all runs of a day share: files, where they are prepared, and the run that a warm start goes on from."""
    of = {name: value for name, value in plan.sections.items() if name not in _NOT_OF_A_DAY}
    of["dataset"] = {**of["dataset"], "splits": {split: _literal(files) for split, files in splits.items()}}
    of["prepare"] = {"into": str(into)}
    train = dict(of.get("train") or {})
    warm = train.pop("warm_start", None) or {}
    if start is not None and plan.daily.warm_start:
        of["prepare"]["previous"] = prepared_of(start)
        train["warm_start"] = {**warm, "run": start}
    of["train"] = train
    return of


def _literal(files: Iterable[str]) -> list[str]:
    """Paths as globs that match nothing else."""
    return [glob.escape(path) for path in files]


def _best_epoch(run: Path) -> int:
    """The epoch of a run, from 1, whose weights were exported; epochs of a search for values do not count."""
    folder = RunFolder(run)
    step = Manifest.read(run / "artifact").origin.step
    epoch = next(int(line["epoch"]) for line in folder.metrics() if line["step"] == step)
    searched = run / "selection.json"
    return epoch - (json.loads(searched.read_text())["search_epochs"] if searched.exists() else 0)
