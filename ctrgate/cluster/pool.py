"""Processes of Ray that each hold something and do one task at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ctrgate.cluster.ray import causes, go_to, ray, started
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.errors import ClusterError, CtrgateError
from ctrgate.progress import console

__all__ = ["Pool", "Worker", "pool"]


class Worker(Protocol):
    """What a process holds; made there, by a class of a module that it can import."""

    def work(self, task: Any) -> Any:
        """Do a task; one whose process was lost is done again by another, so twice must be as once."""


class Pool:
    """Workers that have started.

    Args:
        actors: Ray's handles of them.
    """

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._pending: dict[Any, int] = {}

    @property
    def idle(self) -> list[int]:
        """The workers without a task."""
        return [place for place in range(len(self._actors)) if place not in self._pending.values()]

    def submit(self, place: int, task: Any) -> None:
        """Give a worker that is idle a task."""
        self._pending[self._actors[place].work.remote(task)] = place

    def take(self) -> tuple[int, Any] | None:
        """Wait for any worker, and give what has come of its task; None where all are idle.

        Raises:
            CtrgateError: What the worker raised of that kind.
            ClusterError: Where it was lost more often than ``cluster.max_failures``.
        """
        if not self._pending:
            return None
        (done,), _ = ray.wait(list(self._pending), num_returns=1)
        place = self._pending.pop(done)
        try:
            return place, ray.get(done)
        except ray.exceptions.RayError as error:
            raise _own(error) from error


@contextmanager
def pool(kind: type[Worker], *given: Any, num_workers: int, cluster: ClusterConfig) -> Iterator[Pool]:
    """Workers for a block.

    Args:
        kind: Their class.
        given: What each is made of.
        num_workers: How many.
        cluster: Where they run.

    Raises:
        CtrgateError: What a worker raised of that kind while it was made.
        ClusterError: Where not all could start within ``cluster.patience_seconds``.
    """
    with started(cluster, num_cpus=num_workers * cluster.cpus_per_worker):
        remote = ray.remote(_Actor).options(
            num_cpus=cluster.cpus_per_worker,
            max_restarts=cluster.max_failures,
            max_task_retries=cluster.max_failures,
            runtime_env={"env_vars": cluster.environment},
        )
        actors = [remote.remote(kind, given, os.getcwd()) for _ in range(num_workers)]
        try:
            begun = [actor.begun.remote() for actor in actors]
            ready, _ = ray.wait(begun, num_returns=len(begun), timeout=cluster.patience_seconds)
            if len(ready) < len(begun):
                raise ClusterError(
                    f"{len(ready)} of {len(begun)} workers have started within {cluster.patience_seconds} s "
                    f"(cluster.patience_seconds); the cluster has {ray.cluster_resources().get('CPU', 0):g} cores. "
                    "Ask for fewer workers or cluster.cpus_per_worker"
                )
            try:
                ray.get(begun)
            except ray.exceptions.RayError as error:
                raise _own(error) from error
            yield Pool(actors)
        finally:
            for actor in actors:
                ray.kill(actor)


class _Actor:
    """One process."""

    def __init__(self, kind: type[Worker], given: tuple[Any, ...], cwd: str) -> None:
        go_to(cwd)
        console.quiet = True
        self._worker = kind(*given)

    def begun(self) -> None:
        """Returns once the worker is there."""

    def work(self, task: Any) -> Any:
        """Do a task."""
        return self._worker.work(task)


def _own(error: Exception) -> CtrgateError:
    own = [cause for cause in causes(error) if isinstance(cause, CtrgateError)]
    if own:
        return own[-1]  # those before it are Ray's, of the same class and with a traceback for a message
    return ClusterError(f"work in processes of Ray failed: {error}. What was done is kept; run the same command again")
