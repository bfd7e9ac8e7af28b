"""MLflow runs, logged through a spool file, so that a dead or slow server neither stops nor stalls a training."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import queue
import re
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, PositiveInt

from ctrgate.config import Place, settings, to_yaml
from ctrgate.errors import ConfigError, DataError
from ctrgate.files import write_json
from ctrgate.masking import masked
from ctrgate.new_store import make_whole
from ctrgate.progress import warned_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SPOOL", "Tracker", "TrackingConfig", "connect", "flatten", "open_tracker", "probe", "reason", "sync"]

Status = Literal["FINISHED", "FAILED", "KILLED"]
SPOOL = "mlflow_spool.jsonl"
RUN_FILE = "mlflow_run.json"
RUN_TAG = "ctrgate.run"
_RETRY_SECONDS = 30.0
_PARAMS_AT_ONCE, _PARAM_CHARACTERS = 100, 6000  # MLflow's limits
# What a second try cannot mend: the request itself is refused.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_EXHAUSTED")


def _kept_on_disk(uri: str) -> str:
    if uri in ("sqlite:", "sqlite://", "sqlite:///") or uri.startswith("sqlite:///:memory:"):
        raise ValueError(f"{uri} is a database in memory, lost at the end; write sqlite:///runs/mlflow.db")
    return uri


@settings
class TrackingConfig:
    """Where runs are logged."""

    enabled: bool = True
    """false logs nothing; metrics.jsonl in the run's folder is written all the same."""
    uri: Annotated[Place, AfterValidator(_kept_on_disk)] = "sqlite:///runs/mlflow.db"
    """An MLflow store: sqlite:///PATH (relative to the working folder, or absolute with four slashes) or http(s)://…"""
    experiment: str = "ctrgate"
    """Name of the MLflow experiment; made when missing."""
    artifacts: Place = "runs/mlflow_artifacts"
    """Where files of a new experiment go; a server reached by http decides itself."""
    timeout_seconds: PositiveInt = 5
    """Longest wait for one answer of a server; sets MLFLOW_HTTP_REQUEST_TIMEOUT."""
    parent: str = ""
    """The run that this one is a child of, by the name in its mlflow_run.json; ``tune`` sets it for its trials."""


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
    file, records = _open_spool(folder)
    store = _Store(config, folder)
    with file:
        for record in records:
            try:
                store.send(record)
            except Exception as error:  # whatever the server or the network answers
                raise ConfigError(f"{masked(config.uri)} does not take the run: {reason(error)}") from error
        spool.unlink()
    return len(records)


def probe(config: TrackingConfig) -> str | None:
    """Why the store cannot be used, or None if it can; a database that does not exist yet is not made."""
    try:
        path = database(config.uri)
        if path is None or path.exists():
            connect(config).search_experiments(max_results=1)
        if path is not None:
            existing = next(place for place in (path, *path.parents) if place.exists())
            return None if os.access(existing, os.W_OK) else f"{existing} cannot be written"
    except Exception as error:  # whatever the server, driver or network answers is the finding  # noqa: BLE001
        return reason(error)
    return None


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
        self._spool: IO[str] | None = None
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._sent = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self._run = ""

    def start(self, *, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], resume: bool = False) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._spool, unsent = _open_spool(self._folder)
        for record in unsent:
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
        while self._thread.is_alive() and before != self._sent:  # as long as something gets through
            before = self._sent
            self._thread.join(timeout=3.0 * self._config.timeout_seconds)
        if self._waiting.empty() and not self._thread.is_alive():
            (self._folder / SPOOL).unlink()
        else:
            warned_of(f"MLflow has not got all of this run; the rest is kept in {self._folder / SPOOL}")
        if self._spool is not None:
            self._spool.close()

    def _add(self, kind: str, content: Mapping[str, Any]) -> None:
        if self._spool is None:
            raise RuntimeError("start the tracker first")
        record = {"run": self._run, "kind": kind, "time_ms": time.time_ns() // 1_000_000, **content}
        self._spool.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._spool.flush()
        self._waiting.put(record)

    def _send_all(self) -> None:
        """Send records in order; stop at the end of the run, or when it ends while the store does not answer."""
        store, warned = _Store(self._config, self._folder), False
        while (record := self._waiting.get()) is not None:
            while True:
                last_try = self._closing.is_set()
                try:
                    store.send(record)
                    self._sent += 1
                    break
                except Exception as error:  # tracking must never end a training  # noqa: BLE001
                    if not warned:
                        place = masked(self._config.uri)
                        warned_of(f"MLflow at {place} does not answer ({reason(error)}); going on, logging to {SPOOL}")
                    warned = True
                if last_try:
                    return  # what still waits tells ``end`` to keep the spool
                self._closing.wait(_RETRY_SECONDS)


class _Store:
    """Records to MLflow calls. Sending a record again changes nothing, so that a broken connection does no harm."""

    def __init__(self, config: TrackingConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._mlflow: Any = None
        self._run_ids: dict[str, str] = {}

    def send(self, record: Mapping[str, Any]) -> None:
        """Send one record; what MLflow refuses for good is reported and passed over.

        Raises:
            Exception: Whatever MLflow raises when the store does not answer.
        """
        if self._mlflow is None:
            self._mlflow = connect(self._config)
        try:
            run = self._run_ids.get(record["run"]) or self._find_or_create(record)
            match record["kind"]:
                case "start":
                    self._send_start(run, record)
                case "metrics":
                    self._send_metrics(run, record)
                case "text":
                    self._mlflow.log_text(run, record["text"], record["name"])
                case "artifact":
                    self._send_artifact(run, record)
                case "end":
                    self._mlflow.set_terminated(run, status=record["status"], end_time=record["time_ms"])
        except Exception as error:
            if getattr(error, "error_code", "") not in _REFUSALS:
                raise
            warned_of(f"MLflow refuses the {record['kind']} of this run: {reason(error)}")

    def _find_or_create(self, record: Mapping[str, Any]) -> str:
        experiment = self._experiment()
        filter_string = f"tags.`{RUN_TAG}` = '{record['run']}'"
        runs = self._mlflow.search_runs([experiment], filter_string=filter_string, max_results=1)
        if runs:
            run = runs[0]
        else:
            tags = {RUN_TAG: record["run"], **record.get("tags", {})}
            run = self._mlflow.create_run(
                experiment, start_time=record["time_ms"], tags=tags, run_name=record.get("name", record["run"])
            )
        self._run_ids[record["run"]] = str(run.info.run_id)
        return str(run.info.run_id)

    def _experiment(self) -> str:
        name = self._config.experiment
        found = self._mlflow.get_experiment_by_name(name)
        if found is None:
            server = self._config.uri.startswith(("http://", "https://", "databricks"))
            given = self._config.artifacts
            place = None if server else given if "://" in given else str(Path(given).absolute())
            try:
                return str(self._mlflow.create_experiment(name, artifact_location=place))
            except Exception:
                found = self._mlflow.get_experiment_by_name(name)  # another run may just have made it
                if found is None:
                    raise
        return str(found.experiment_id)

    def _send_start(self, run: str, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self._mlflow.get_run(run).data.params  # params cannot change: a resumed run keeps its first ones
        params = [
            Param(_key(name), text[:_PARAM_CHARACTERS])
            for name, text in record["params"].items()
            if _key(name) not in known
        ]
        for begin in range(0, len(params), _PARAMS_AT_ONCE):
            self._mlflow.log_batch(run, params=params[begin : begin + _PARAMS_AT_ONCE])
        if "parent" in record:  # which may be waiting in a spool of its own; it is named once that is sent
            parent = self._find_or_create({"run": record["parent"], "time_ms": record["time_ms"]})
            self._mlflow.set_tag(run, "mlflow.parentRunId", parent)
        self._mlflow.update_run(run, status="RUNNING", name=record["name"])

    def _send_metrics(self, run: str, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        values = record["values"].items()
        metrics = [Metric(_key(name), value, record["time_ms"], record["step"]) for name, value in values]
        self._mlflow.log_batch(run, metrics=metrics)

    def _send_artifact(self, run: str, record: Mapping[str, Any]) -> None:
        path = self._folder / record["path"]
        if path.is_dir():
            self._mlflow.log_artifacts(run, str(path), record["folder"] or None)
        elif path.exists():
            self._mlflow.log_artifact(run, str(path), record["folder"] or None)
        else:
            warned_of(f"{path} is gone, so MLflow does not get it")


def connect(config: TrackingConfig) -> Any:
    """An MLflow client that is quiet, asks no one else, and gives up soon; MLflow reads these from the environment."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(config.timeout_seconds)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # the sending thread tries again
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    path = database(config.uri)
    if path is not None:
        make_whole(path, lambda place: MlflowClient(place, place).search_experiments(max_results=1))
    uri = config.uri if path is None else f"sqlite:///{path}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def database(uri: str) -> Path | None:
    """The absolute file of an SQLite store; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _open_spool(folder: Path) -> tuple[IO[str], list[dict[str, Any]]]:
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


def reason(error: BaseException) -> str:
    """The first cause, in short: "Connection refused", not the three layers of libraries that report it."""
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    text = masked(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 240 else text[:237] + "…"
