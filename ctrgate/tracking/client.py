"""MLflow's client: made quiet, asking no one else, giving up soon; and why a store cannot be used."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ctrgate.masking import masked
from ctrgate.new_store import make_whole
from ctrgate.tracking.settings import TrackingConfig

__all__ = ["connect", "database", "probe", "quiet", "reason"]


def connect(config: TrackingConfig) -> Any:
    """An MLflow client that is quiet, asks no one else, and gives up soon; MLflow reads these from the environment."""
    quiet()
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(config.timeout_seconds)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # the sending thread tries again
    from mlflow import MlflowClient

    path = database(config.uri)
    if path is not None:
        make_whole(path, lambda place: MlflowClient(place, place).search_experiments(max_results=1))
    uri = config.uri if path is None else f"sqlite:///{path}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def quiet() -> None:
    """Keep MLflow from telling what it does, to the user or to its makers; before it is first imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def database(uri: str) -> Path | None:
    """The absolute file of an SQLite store; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


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


def reason(error: BaseException) -> str:
    """The first cause, in short: "Connection refused", not the three layers of libraries that report it."""
    unknown = getattr(error, "error_code", "") == "UNAUTHENTICATED"
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    text = masked(" ".join(str(error).split())) or type(error).__name__
    text = text if len(text) <= 240 else text[:237] + "…"
    credentials = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return f"{text}; set {credentials} in the environment" if unknown else text
