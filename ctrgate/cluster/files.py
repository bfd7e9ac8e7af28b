"""Raw files spread over processes: each holds the dataset and works on one file at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ctrgate.cluster.ray import causes, go_to, ray, started
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.errors import ClusterError, CtrgateError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.filework import Each, Files, Task
from ctrgate.progress import console

__all__ = ["spread"]

T = TypeVar("T")


@contextmanager
def spread(dataset: DatasetConfig, *, num_workers: int, cluster: ClusterConfig) -> Iterator[Each]:
    """Workers for a block; a file whose worker is lost is worked on again by another one.

    Args:
        dataset: Whose files.
        num_workers: How many processes.
        cluster: Where they run.

    Raises:
        CtrgateError: What a worker raised of that kind.
        ClusterError: Where workers were lost more often than ``cluster.max_failures``.
    """
    with started(cluster, num_cpus=num_workers * cluster.cpus_per_worker):
        remote = ray.remote(_Worker).options(
            num_cpus=cluster.cpus_per_worker,
            max_restarts=cluster.max_failures,
            max_task_retries=cluster.max_failures,
            runtime_env={"env_vars": cluster.environment},
        )
        workers = [remote.remote(dataset, os.getcwd()) for _ in range(num_workers)]
        try:
            yield _pool(workers, cluster=cluster)
        finally:
            for worker in workers:
                ray.kill(worker)


def _pool(workers: Sequence[Any], *, cluster: ClusterConfig) -> Each:
    """Work on files by whichever worker is free, once all have started."""
    begun = [worker.begun.remote() for worker in workers]
    ready, _ = ray.wait(begun, num_returns=len(begun), timeout=cluster.patience_seconds)
    if len(ready) < len(begun):
        raise ClusterError(
            f"{len(ready)} of {len(begun)} workers have started within {cluster.patience_seconds} s "
            f"(cluster.patience_seconds); the cluster has {ray.cluster_resources().get('CPU', 0):g} cores. Ask for "
            "fewer prepare.workers or cluster.cpus_per_worker"
        )
    pool = ray.util.ActorPool(workers)

    def each(task: Task[T], numbers: Sequence[int], advance: Callable[[int], None]) -> Iterator[T]:
        try:
            ray.get(begun)
            for result, done in pool.map(lambda worker, number: worker.work.remote(task, number), numbers):
                advance(done)
                yield result
        except ray.exceptions.RayError as error:
            raise _own(error) from error

    return each


class _Worker:
    """One process."""

    def __init__(self, dataset: DatasetConfig, cwd: str) -> None:
        go_to(cwd)
        console.quiet = True
        self._files = Files.open(dataset)

    def begun(self) -> None:
        """Returns once the worker is there."""

    def work(self, task: Task[Any], number: int) -> tuple[Any, int]:
        """What comes of a task, and how many units were done."""
        done: list[int] = []
        return task(self._files, number, done.append), sum(done)


def _own(error: Exception) -> CtrgateError:
    own = [cause for cause in causes(error) if isinstance(cause, CtrgateError)]
    if own:
        return own[-1]  # those before it are Ray's, of the same class and with a traceback for a message
    return ClusterError(f"preparing on workers failed ({error}); nothing was written, the same command starts again")
