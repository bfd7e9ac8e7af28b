"""The ``tune`` section of a run file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ctrgate.config import settings
from ctrgate.ranges import Count
from ctrgate.training.settings import Monitor
from ctrgate.tuning.space import Range

__all__ = ["AshaSettings", "TuneSettings"]


@settings
class AshaSettings:
    """When a trial ends early: ASHA (Li et al., MLSys 2020)."""

    grace_epochs: Count = 1
    """No trial ends before it has had so many epochs; there is a rung after these, and after each ``factor`` times as
    many."""
    factor: Annotated[float, Field(gt=1)] = 3.0
    """At a rung a trial goes on if it is among the best 1 in so many that have come there so far."""


@settings
class TuneSettings:
    """A search for settings by the metric on valid; test is never looked at."""

    space: Annotated[dict[str, Range], Field(min_length=1)]
    """Ranges by the path of a setting, as ``train.learning_rate: {log_uniform: [1e-4, 1e-2]}``."""
    trials: Count = 20
    """How many are drawn; may be raised afterwards, which keeps those that were."""
    seed: int = 0
    """Decides what is drawn. Training has the run's own seed in every trial, so all see the same rows in the same
    order."""
    metric: Monitor | None = None
    """What is to be best on valid, and ``train.monitor`` of every trial; by default the run's own."""
    max_epochs: Count | None = None
    """The most that a trial trains; ``train.epochs`` by default."""
    asha: AshaSettings | None = AshaSettings()
    """Null trains every trial to its own end."""
    parallel: Count = 1
    """Trials at once, each a process with ``cluster.cpus_per_worker`` cores."""
    dry_run: bool = False
    """Check, print the trials, and end."""
    restart: bool = False
    """Throw away what an earlier search of this name left instead of going on with it."""
