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
    wanted = {
        Path(version.run).resolve()
        for version in versions_of(plan.tracking, model=plan.model)
        if {"champion", "previous"} & set(version.aliases)
    }
    gone = []
    for record in plan.all_decided():
        if record["date"] >= since:
            continue
        run = Path(record["run"]) if "run" in record else None
        if run is not None and run.resolve() in wanted:
            continue
        prepared = plan.home / record["date"] / "prepared"
        for place in filter(None, (run, prepared)):
            if place.exists():
                shutil.rmtree(place)
                gone.append(place)
    for scores in sorted(Path("scores", plan.name).glob("*")):
        if scores.is_dir() and scores.name < since:
            shutil.rmtree(scores)
            gone.append(scores)
    return gone
