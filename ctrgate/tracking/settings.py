"""The section ``tracking`` of a run file."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, PositiveInt

from ctrgate.config import Place, settings

__all__ = ["TrackingConfig"]


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
