"""``python -m pipelines.daily RUN.yaml --date D``: one period, or with ``--from`` and ``--to`` several."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ctrgate.errors import ConfigError, CtrgateError
from ctrgate.files import locked
from ctrgate.progress import console
from pipelines.daily.day import decide, score_next
from pipelines.daily.pages import STATUS, write_pages
from pipelines.daily.periods import later, periods
from pipelines.daily.plan import Plan
from pipelines.daily.retention import forget
from pipelines.experiment import Stopped

__all__ = ["EXIT_CODES", "main", "parse"]

EXIT_CODES = {"promoted": 0, "held": 3, "stopped": 4}
"""Of the last period (``stopped`` also where the rows after it cannot be scored); any other code says that a step
failed, or which signal ended it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring periods to their decisions, in order; run again, it goes on where it was, and decides nothing twice."""
    parsed = parse(arguments)
    try:
        plan = Plan.read(parsed.run_file, overrides=tuple(parsed.overrides))
        with locked(plan.home / ".lock", what=f"the days of {plan.home}"):
            return _each(plan, parsed.start or parsed.date, parsed.end or parsed.date)
    except Stopped as stopped:
        console.print(f"{parsed.run_file}: {stopped}", markup=False)
        return stopped.exit_code if stopped.exit_code not in EXIT_CODES.values() else 1
    except CtrgateError as error:
        console.print(str(error), markup=False)
        return error.exit_code if error.exit_code not in EXIT_CODES.values() else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; None for that of the process. A wrong one ends the process with exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.daily", description=__doc__)
    parser.add_argument("run_file", metavar="RUN.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="applied to every period")
    parser.add_argument("--date", type=date.fromisoformat, help="the day it is, in labels: the last with labels known")
    parser.add_argument("--from", dest="start", type=date.fromisoformat, metavar="DATE", help="the first of several")
    parser.add_argument("--to", dest="end", type=date.fromisoformat, metavar="DATE", help="the last of several")
    parsed = parser.parse_args(arguments)
    if (parsed.date is None) == (parsed.start is None or parsed.end is None):
        parser.error("give --date, or --from and --to")
    return parsed


def _each(plan: Plan, start: date, end: date) -> int:
    daily, status = plan.daily, "stopped"
    delayed = [later(day, -daily.label_delay, period=daily.period) for day in (start, end)]
    if delayed[0] < daily.first:
        raise ConfigError(f"daily.first: the first period is {daily.first}; {delayed[0]} lies before it")
    told = []
    for day in periods(*delayed, period=daily.period):
        console.rule(f"{plan.name} {day}", characters="═")
        record = decide(plan, day)
        scored = score_next(plan, day, record)
        index = write_pages(plan)
        for gone in forget(plan, day):
            console.print(f"no longer kept: {gone}", markup=False)
        status = "stopped" if scored == "refused" else record["status"]
        console.print(f"{day}: {STATUS[record['status']]}: {record['why']}", markup=False)
        if scored == "refused":
            console.print(f"the rows after {day} cannot be scored; mend them and run the same command again")
        _notify(plan, day, record)
        told.append({"date": day.isoformat(), "status": record["status"], "why": record["why"], "next": scored})
    console.print(f"pages: {index}", markup=False)
    sys.stdout.write(json.dumps(told) + "\n")
    return EXIT_CODES[status]


def _notify(plan: Plan, day: date, record: Mapping[str, Any]) -> None:
    """Tell the user's command, once for each decision; that it fails is said and stops nothing."""
    told = plan.folder(day) / "notified"
    if not plan.daily.notify or told.exists():
        return
    environment = {
        "CTRGATE_DATE": day.isoformat(),
        "CTRGATE_STATUS": record["status"],
        "CTRGATE_WHY": record["why"],
        "CTRGATE_PAGE": str(plan.folder(day) / "index.html"),
    }
    try:
        done = subprocess.run(list(plan.daily.notify), env={**os.environ, **environment}, check=False)
    except OSError as error:
        console.print(f"daily.notify: {plan.daily.notify[0]} cannot be run: {error}", markup=False)
        return
    if done.returncode:
        console.print(f"daily.notify: {plan.daily.notify[0]} ended with {done.returncode}", markup=False)
        return
    told.touch()


if __name__ == "__main__":
    sys.exit(main())
