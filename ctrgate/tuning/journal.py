"""What trials have reported and what was decided, line by line, so that a search goes on where it was cut off."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ctrgate.errors import DataError
from ctrgate.line_files import append_line, whole_lines

__all__ = ["Decision", "End", "Journal", "Record"]

Decision = Literal["continue", "stop"]
End = Literal["finished", "failed", "broken"]


@dataclass(kw_only=True)
class Record:
    """What is known of one trial.

    Args:
        values: The metric on valid after each epoch, in order.
        seconds: How long it ran.
        state: ``open`` before and between; ``stopped`` early by ASHA; ``finished`` by itself; ``failed`` by an error
            that would come again; ``broken`` by one that may not, so that it is tried again by the next call.
        reason: Of an error.
    """

    values: list[float] = field(default_factory=list)
    seconds: float = 0.0
    state: Literal["open", "stopped", "finished", "failed", "broken"] = "open"
    reason: str = ""

    @property
    def decided(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("stopped", "finished", "failed")

    def best(self, *, larger_is_better: bool, before: int | None = None) -> tuple[int, float] | None:
        """The best epoch, from 1, and its value, among the first ``before`` if given; the earlier of equal ones."""
        sign = 1 if larger_is_better else -1
        values = self.values[:before]
        return max(enumerate(values, start=1), key=lambda one: (sign * one[1], -one[0])) if values else None


class Journal:
    """The lines of ``journal.jsonl``; each is on disk before anything follows from it.

    Args:
        path: The file; a last line that a kill cut short is dropped.

    Raises:
        DataError: Where a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[int, Record] = {}
        self.reports: list[tuple[int, int, Decision]] = []
        """Trial, epoch and decision, in the order in which they were made."""
        for number, line in enumerate(whole_lines(path, cut=True), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number} is damaged ({error}); set tune.restart=true") from error

    def of(self, trial: int) -> Record:
        """What is known of a trial."""
        return self.records.setdefault(trial, Record())

    def report(self, trial: int, *, epoch: int, value: float, seconds: float, decision: Decision) -> None:
        """Note a trial's metric after its next epoch, and whether it goes on."""
        if epoch != len(self.of(trial).values) + 1 or not math.isfinite(value):
            raise ValueError(f"trial {trial} reports {value} of epoch {epoch} after {len(self.of(trial).values)}")
        self._add({"trial": trial, "epoch": epoch, "value": value, "seconds": seconds, "decision": decision})

    def end(self, trial: int, how: End, *, seconds: float = 0.0, reason: str = "") -> None:
        """Note that a trial ended otherwise than by a decision."""
        self._add({"trial": trial, "end": how, "seconds": seconds, "reason": reason})

    def _add(self, event: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, json.dumps(event, ensure_ascii=False, allow_nan=False))
        self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        record = self.of(int(event["trial"]))
        record.seconds += event["seconds"]
        if "end" in event:
            record.state, record.reason = event["end"], event["reason"]
            return
        record.values.append(float(event["value"]))
        record.state = "stopped" if event["decision"] == "stop" else "open"
        self.reports.append((int(event["trial"]), int(event["epoch"]), event["decision"]))
