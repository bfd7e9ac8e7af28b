"""What a search has found: a line per trial, the best first, as CSV and JSON, and the best one's run file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrgate.config import to_yaml
from ctrgate.files import atomic_file, write_json
from ctrgate.tuning.journal import Journal
from ctrgate.tuning.plan import trial_name
from ctrgate.tuning.search import Search

__all__ = ["Line", "lines", "write_best", "write_tables"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One trial in the table.

    Args:
        trial: Its number.
        state: See ``Record``.
        value: Its best value on valid; None where there is none.
        epoch: The epoch of that.
        curve: The metric after each epoch.
        seconds: How long it ran.
        settings: What was drawn.
        reason: Of an error.
    """

    trial: int
    state: str
    value: float | None
    epoch: int | None
    curve: Sequence[float]
    seconds: float
    settings: Mapping[str, Any]
    reason: str


def lines(search: Search, journal: Journal) -> list[Line]:
    """The trials, the best first; among equal ones the earlier, and those without a value last."""
    found = []
    for trial in search.trials:
        record = journal.of(trial.number)
        best = record.best(larger_is_better=search.larger_is_better)
        found.append(
            Line(
                trial=trial.number,
                state=record.state,
                value=None if best is None else best[1],
                epoch=None if best is None else best[0],
                curve=tuple(record.values),
                seconds=record.seconds,
                settings=trial.settings,
                reason=record.reason,
            )
        )
    return sorted(found, key=lambda line: (math.inf if line.value is None else -search.sign * line.value, line.trial))


def write_tables(search: Search, found: Sequence[Line]) -> None:
    """Write ``trials.csv`` (a line per trial) and ``trials.json`` (with learning curves)."""
    folder, settings = search.folder, list(found[0].settings)
    with (
        atomic_file(folder / "trials.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["trial", "state", f"valid_{search.metric}", "best_epoch", "epochs", "seconds", *settings, "reason"]
        )
        for line in found:
            drawn = [value if isinstance(value, str) else json.dumps(value) for value in line.settings.values()]
            head = [trial_name(line.trial), line.state, line.value, line.epoch, len(line.curve), round(line.seconds, 1)]
            writer.writerow([*head, *drawn, line.reason])
    write_json(
        folder / "trials.json",
        [{**vars(line), "curve": list(line.curve), "settings": dict(line.settings)} for line in found],
    )


def write_best(path: Path, values: Mapping[str, Any], *, line: Line, metric: str) -> None:
    """Write the best trial's run file, with a comment that says what it reached."""
    comment = f"# Trial {trial_name(line.trial)}: valid {metric} {line.value:.6f} in epoch {line.epoch}; test unseen."
    with atomic_file(path) as temporary:
        temporary.write_text(f"{comment}\n{to_yaml(values)}", encoding="utf-8")
