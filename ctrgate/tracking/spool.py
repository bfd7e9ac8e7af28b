"""The spool: what a run has logged and MLflow may not have yet, a file of JSON lines in the run's folder."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from ctrgate.errors import ConfigError, DataError
from ctrgate.masking import masked
from ctrgate.tracking.client import reason
from ctrgate.tracking.settings import TrackingConfig
from ctrgate.tracking.store import Store

__all__ = ["SPOOL", "open_spool", "sync"]

SPOOL = "mlflow_spool.jsonl"


def sync(config: TrackingConfig, *, folder: Path) -> int:
    """Send what a run's folder has spooled, and remove the spool; sending twice changes nothing.

    Returns:
        The number of records sent.

    Raises:
        ConfigError: The store cannot be reached or the run is still going; the spool stays.
    """
    spool = folder / SPOOL
    if not spool.exists():
        return 0
    file, records = open_spool(folder)
    store = Store(config, folder)
    with file:
        for record in records:
            try:
                store.send(record)
            except Exception as error:  # whatever the server or the network answers
                raise ConfigError(f"{masked(config.uri)} does not take the run: {reason(error)}") from error
        spool.unlink()
    return len(records)


def open_spool(folder: Path) -> tuple[IO[str], list[dict[str, Any]]]:
    """The spool, locked for this process and ready for more lines, and the records that an earlier one left in it."""
    path = folder / SPOOL
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.seek(0)
        text = file.read()
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last record short
        file.truncate(len(whole.encode()))
        return file, [json.loads(line) for line in whole.splitlines()]
    except BlockingIOError as error:
        file.close()
        raise ConfigError(f"another process logs the run in {folder}; wait for it or take another name") from error
    except ValueError as error:
        file.close()
        raise DataError(f"{path} holds a line that is not JSON ({error}); mend or remove it") from error
