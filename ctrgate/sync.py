"""Send to MLflow what a run has logged while the store did not answer, each record once."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError
from ctrgate.masking import masked
from ctrgate.progress import console
from ctrgate.tracking import SPOOL, TrackingConfig, sync

__all__ = ["Config", "run"]


@settings
class Config:
    """The sections that ``sync`` reads."""

    name: str
    """The run; the trials of its search are sent with it."""
    runs: Place = "runs"
    """Where run folders lie."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """The store."""


def run(config: Config) -> dict[str, Any]:
    """Replay the spools below ``RUNS/NAME``; it may be stopped anywhere and run again.

    Returns:
        The store, and the number of records that each folder's spool had.

    Raises:
        ConfigError: There is no such run, it is still going, or the store does not answer; the rest stays spooled.
        DataError: A spool is damaged.
    """
    home = Path(config.runs) / config.name
    if not home.is_dir():
        raise ConfigError(f"{home} is not there; name the run, and the folder that runs lie in")
    if not config.tracking.enabled:
        raise ConfigError("tracking.enabled is false, so there is no store to send to; set it to true")
    store = masked(config.tracking.uri)
    sent = {}
    for spool in sorted(home.rglob(SPOOL)):
        sent[str(spool.parent)] = sync(config.tracking, folder=spool.parent)
        console.print(f"{spool.parent}: {sent[str(spool.parent)]} records sent to {store}", markup=False)
    if not sent:
        console.print(f"{home}: nothing waits to be sent", markup=False)
    return {"store": store, "sent": sent}
