"""What a verb tells of its run, logged through a spool, so that a dead or slow server neither stops nor stalls it."""

from __future__ import annotations

import json
import math
import queue
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ctrgate.config import to_yaml
from ctrgate.files import write_json
from ctrgate.masking import masked
from ctrgate.progress import warned_of
from ctrgate.tracking.client import reason
from ctrgate.tracking.settings import TrackingConfig
from ctrgate.tracking.spool import SPOOL, Record, Spool
from ctrgate.tracking.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RUN_FILE", "Tracker", "flatten", "open_tracker"]

Status = Literal["FINISHED", "FAILED", "KILLED"]
RUN_FILE = "mlflow_run.json"
_RETRY_SECONDS = 30.0


class Tracker(Protocol):
    """What a training tells about its run; every call returns at once."""

    def start(self, *, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], resume: bool = False) -> None:
        """Begin a run, or with ``resume`` go on with the folder's last one.

        Args:
            run_name: Shown by MLflow.
            params: The resolved config as plain nested values; logged flat and as ``config.yaml``, secrets masked.
            tags: Text by name.
            resume: Whether to add to the run that this folder began before.
        """

    def metrics(self, values: Mapping[str, float | None], *, step: int) -> None:
        """Log numbers at a step; None and what is not finite are left out."""

    def figure(self, figure: Figure, *, name: str) -> None:
        """Save a figure as ``figures/NAME.png`` in the run's folder and log it."""

    def artifact(self, path: Path, *, folder: str = "") -> None:
        """Log a file or a folder under ``folder`` of the run's artifacts; it must stay in place until it is sent."""

    def end(self, status: Status = "FINISHED") -> None:
        """Close the run; waits while records are still being sent, never for a dead server."""


def open_tracker(config: TrackingConfig, *, folder: Path) -> Tracker:
    """The tracker that the settings ask for, with its spool in the run's folder ``runs/NAME``."""
    return _MlflowTracker(config, folder) if config.enabled else _NoTracker()


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested plain values as ``section.key``: text; lists become JSON.

    Example:
        >>> flatten({"train": {"epochs": 3, "layers": [4, 4]}})
        {'train.epochs': '3', 'train.layers': '[4, 4]'}
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": text for inner, text in flatten(value).items()}
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return flat


class _NoTracker:
    def start(
        self, *, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], resume: bool = False
    ) -> None: ...

    def metrics(self, values: Mapping[str, float | None], *, step: int) -> None: ...

    def figure(self, figure: Figure, *, name: str) -> None: ...

    def artifact(self, path: Path, *, folder: str = "") -> None: ...

    def end(self, status: Status = "FINISHED") -> None: ...


class _MlflowTracker:
    """Writes each record to the spool and lets a thread send it; the spool goes when all has been sent."""

    def __init__(self, config: TrackingConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._spool: Spool | None = None
        self._waiting: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._num_sent = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self._run = ""

    def start(self, *, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], resume: bool = False) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._spool = Spool(self._folder)
        for record in self._spool.unsent:
            self._waiting.put(record)
        run_file = self._folder / RUN_FILE
        if resume and run_file.exists():
            self._run = json.loads(run_file.read_text(encoding="utf-8"))["run"]
        else:
            self._run = uuid.uuid4().hex
            write_json(run_file, {"run": self._run})
        clean = masked(params)
        parent = {"parent": self._config.parent} if self._config.parent else {}
        self._add("start", {"name": run_name, "params": flatten(clean), "tags": masked(tags), **parent})
        if clean:  # a verb that only adds to the run has none, and leaves the run's own
            self._add("text", {"name": "config.yaml", "text": to_yaml(clean)})
        self._thread.start()

    def metrics(self, values: Mapping[str, float | None], *, step: int) -> None:
        finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
        self._add("metrics", {"values": finite, "step": step})

    def figure(self, figure: Figure, *, name: str) -> None:
        path = self._folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        self.artifact(path, folder="figures")

    def artifact(self, path: Path, *, folder: str = "") -> None:
        path, home = path.resolve(), self._folder.resolve()  # within the run's folder a relative path: it may be moved
        kept = path.relative_to(home) if path.is_relative_to(home) else path
        self._add("artifact", {"path": str(kept), "folder": folder})

    def end(self, status: Status = "FINISHED") -> None:
        self._add("end", {"status": status})
        self._waiting.put(None)
        self._closing.set()
        before = -1
        while self._thread.is_alive() and before != self._num_sent:  # as long as something gets through
            before = self._num_sent
            self._thread.join(timeout=3.0 * self._config.timeout_seconds)
        all_sent = self._waiting.empty() and not self._thread.is_alive()
        if not all_sent:
            place = self._folder / SPOOL
            warned_of(f"MLflow has not got all of this run; the rest is kept in {place}, ctrgate sync sends it")
        if self._spool is not None:
            self._spool.close(remove=all_sent)

    def _add(self, kind: str, content: Mapping[str, Any]) -> None:
        if self._spool is None:
            raise RuntimeError("start the tracker first")
        head = {"run": self._run, "kind": kind, "time_ms": time.time_ns() // 1_000_000}
        self._waiting.put(self._spool.add({**head, **content}))

    def _send_all(self) -> None:
        """Send records in order; stop at the end of the run, or when it ends while the store does not answer."""
        assert self._spool is not None
        store, warned = Store(self._config, self._folder), False
        while (record := self._waiting.get()) is not None:
            while True:
                last_try = self._closing.is_set()
                try:
                    store.send(record)
                    if not self._spool.sent(record):
                        return  # ``end`` could not wait for this answer
                    self._num_sent += 1
                    break
                except Exception as error:  # tracking must never end a training  # noqa: BLE001
                    if not warned:
                        place = masked(self._config.uri)
                        warned_of(f"MLflow at {place} does not answer ({reason(error)}); going on, logging to {SPOOL}")
                    warned = True
                if last_try:
                    return  # what still waits tells ``end`` to keep the spool
                self._closing.wait(_RETRY_SECONDS)
