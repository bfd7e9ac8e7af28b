"""What is thrown away as days pass: runs, prepared rows and scores, never what the champion or its forerunner needs."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from ctrgate.registry import versions_of
from pipelines.daily.periods import later
from pipelines.daily.plan import Plan

__all__ = ["forget"]


def forget(plan: Plan, day: date) -> list[Path]:
    """Remove what lies further back than ``daily.keep`` periods before a day; returns what is gone.

    Records and pages of days stay.
    """
    keep = plan.daily.keep
    if keep is None:
        return []
    since = later(day, -keep, period=plan.daily.period).isoformat()
    versions = versions_of(plan.tracking, model=plan.model)
    in_service = [version for version in versions if {"champion", "previous"} & set(version.aliases)]
    origins = {version.refit_of for version in in_service}
    wanted = {Path(each.run).resolve() for each in versions if each in in_service or each.version in origins}
    gone = []
    for record in plan.all_decided():
        if record["date"] >= since:
            continue
        runs = [Path(record[kind]) for kind in ("run", "refit") if record.get(kind)]
        if any(run.resolve() in wanted for run in runs):
            continue
        folder = plan.home / record["date"]
        for place in (*runs, folder / "prepared", folder / "refit"):
            if place.exists():
                shutil.rmtree(place)
                gone.append(place)
    for scores in sorted(Path("scores", plan.name).glob("*")):
        if scores.is_dir() and scores.name < since:
            shutil.rmtree(scores)
            gone.append(scores)
    return gone
