"""A search for settings, as what runs it, watches it and writes its results know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctrgate.tuning.plan import Trial
from ctrgate.tuning.settings import TuneSettings

__all__ = ["Planned", "Search"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, and by what the trials are compared.

    Args:
        name: Of the run that is searched for.
        folder: Where journal and results lie; all machines share it.
        trials: All of them, by number.
        metric: Of valid.
        larger_is_better: Of the metric.
        max_epochs: The most that a trial trains.
        settings: Its section of the run file.
    """

    name: str
    folder: Path
    trials: Sequence[Trial]
    metric: str
    larger_is_better: bool
    max_epochs: int
    settings: TuneSettings

    @property
    def sign(self) -> int:
        """What the metric is multiplied by so that more is better."""
        return 1 if self.larger_is_better else -1


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial that is to run.

    Args:
        number: Its number.
        folder: The run's.
        command: What trains it.
        environment: Variables that the command gets besides.
        epochs_before: Its epochs that do not count, as they search for values.
    """

    number: int
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    epochs_before: int = 0
