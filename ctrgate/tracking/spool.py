"""The spool: what a run has logged and MLflow may not have yet, as JSON lines, and how much of it was sent."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrgate.errors import ConfigError, DataError
from ctrgate.masking import masked
from ctrgate.tracking.client import reason
from ctrgate.tracking.settings import TrackingConfig
from ctrgate.tracking.store import Store

__all__ = ["SPOOL", "Record", "Spool", "sync"]

SPOOL = "mlflow_spool.jsonl"
_SENT = "mlflow_sent"
_DIGITS = 20

Record = Mapping[str, Any]


class Spool:
    """The spool of a run's folder, open for this process alone.

    Records are numbered for as long as the folder lives, and the number of the last one that was sent stands in a file
    of its own, which one write changes. So a kill leaves at most one record of which it is not known whether it was
    sent, the first of ``unsent``; sent again, it changes nothing (see ``Store``).

    Args:
        folder: The run's.

    Raises:
        ConfigError: Another process has it open.
        DataError: It is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._lock = folder / SPOOL, threading.Lock()
        self._file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            records = self._read()
            self._sent = os.open(folder / _SENT, os.O_RDWR | os.O_CREAT, 0o644)
            sent = int(os.pread(self._sent, _DIGITS, 0) or 0)
            self.unsent = [record for record in records if record["number"] > sent]
            self._last = max([sent, *(record["number"] for record in records)])
        except BlockingIOError as error:
            self._file.close()
            raise ConfigError(f"another process logs the run in {folder}; wait for it or take another name") from error
        except (ValueError, KeyError, TypeError) as error:
            self._file.close()
            raise DataError(f"{self.path} holds a line that is no record ({error}); mend or remove it") from error

    def add(self, record: Record) -> Record:
        """Write a record down, and give it with its number; it survives a kill from then on."""
        self._last += 1
        numbered = {"number": self._last, **record}
        self._file.write(json.dumps(numbered, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()
        return numbered

    def sent(self, record: Record) -> bool:
        """Note that a record, and all before it, were sent; False where the spool was closed meanwhile."""
        with self._lock:
            if not self._file.closed:
                os.pwrite(self._sent, f"{record['number']:0{_DIGITS}}".encode(), 0)
            return not self._file.closed

    def close(self, *, remove: bool) -> None:
        """Let other processes have it; removed once all was sent."""
        with self._lock:
            if remove:
                self.path.unlink()
            os.close(self._sent)
            self._file.close()

    def _read(self) -> list[Record]:
        """What earlier processes have left."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last record short
        self._file.truncate(len(whole.encode()))
        return [json.loads(line) for line in whole.split("\n")[:-1]]


def sync(config: TrackingConfig, *, folder: Path) -> int:
    """Send what a run's folder has spooled, each record once, and remove the spool.

    Returns:
        The number of records sent.

    Raises:
        ConfigError: The store cannot be reached or the run is still going; what was not sent stays.
        DataError: The spool is damaged.
    """
    if not (folder / SPOOL).exists():
        return 0
    spool, store = Spool(folder), Store(config, folder)
    done = False
    try:
        for record in spool.unsent:
            try:
                store.send(record)
            except Exception as error:  # whatever the server or the network answers
                raise ConfigError(f"{masked(config.uri)} does not take the run: {reason(error)}") from error
            spool.sent(record)
        done = True
    finally:
        spool.close(remove=done)
    return len(spool.unsent)
