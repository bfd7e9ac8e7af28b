"""Ray, started for a block of work or joined, without its reports to the outside."""

from __future__ import annotations

import logging
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send what it is used for; nobody asked for that
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")

import ray
import ray.train
import ray.train.torch

import ctrgate
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.errors import ClusterError

__all__ = ["causes", "go_to", "ray", "started"]


@contextmanager
def started(cluster: ClusterConfig, *, num_cpus: float) -> Iterator[None]:
    """Ray for a block of work: one of its own on this machine, or the cluster at ``cluster.address``.

    Args:
        cluster: Where.
        num_cpus: Cores that the work asks for; a Ray of its own takes them as there, as workers may share a core.

    Raises:
        ClusterError: Where it cannot be started or reached.
    """
    if ray.is_initialized():
        yield
        return
    code = str(Path(ctrgate.__file__).parents[1])
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))}}
    try:
        if cluster.address:
            ray.init(address=cluster.address, logging_level=logging.WARNING, log_to_driver=False)
        else:
            ray.init(
                num_cpus=math.ceil(num_cpus),
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,
                runtime_env=environment,
            )
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise ClusterError(
            f"Ray cannot be started or reached (cluster.address: {cluster.address!r}): {error}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def go_to(folder: str) -> None:
    """Let relative paths start where the command was called; Ray has put its worker elsewhere.

    Raises:
        ClusterError: Where this machine does not have the folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ClusterError(
            f"a worker on {platform.node()} does not see the folder {folder} that the command was called in; "
            "all machines must share it under that path"
        ) from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; Ray wraps what a worker raised."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = getattr(seen, "cause", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
