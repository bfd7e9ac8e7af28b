"""Records of a run as MLflow calls, each of which may be sent again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrgate.progress import warned_of
from ctrgate.tracking.client import connect, reason
from ctrgate.tracking.settings import TrackingConfig

__all__ = ["RUN_TAG", "Store"]

RUN_TAG = "ctrgate.run"
_PARAMS_AT_ONCE, _PARAM_CHARACTERS = 100, 6000  # MLflow's limits
# What a second try cannot mend: the request itself is refused.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_EXHAUSTED")


class Store:
    """Records to MLflow calls; sending one again that is there already changes nothing.

    Args:
        config: The store.
        folder: The run's, to which the paths of artifacts are relative.
    """

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
        self._mlflow.log_batch(run, metrics=metrics)  # a point of the same time, step and value is kept once

    def _send_artifact(self, run: str, record: Mapping[str, Any]) -> None:
        path = self._folder / record["path"]
        if path.is_dir():
            self._mlflow.log_artifacts(run, str(path), record["folder"] or None)
        elif path.exists():
            self._mlflow.log_artifact(run, str(path), record["folder"] or None)
        else:
            warned_of(f"{path} is gone, so MLflow does not get it")


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]
