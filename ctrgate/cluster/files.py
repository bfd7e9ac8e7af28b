"""Raw files spread over processes: each holds the dataset and works on one file at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ctrgate.cluster.pool import Pool, pool
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.filework import Each, Files, Task

__all__ = ["spread"]

T = TypeVar("T")


@contextmanager
def spread(dataset: DatasetConfig, *, num_workers: int, cluster: ClusterConfig) -> Iterator[Each]:
    """Work on a dataset's files by whichever of the workers is idle.

    Raises:
        ClusterError, CtrgateError: As ``pool``.
    """
    with pool(_Worker, dataset, num_workers=num_workers, cluster=cluster) as workers:
        yield _each(workers)


def _each(workers: Pool) -> Each:
    def each(task: Task[T], numbers: Sequence[int], advance: Callable[[int], None]) -> Iterator[T]:
        left, found = list(numbers), dict[int, T]()
        for number in numbers:
            while number not in found:
                for place in workers.idle[: len(left)]:
                    workers.submit(place, (task, left.pop(0)))
                taken = workers.take()
                assert taken is not None  # as the number has not been found yet
                _, (of, result, done) = taken
                advance(done)
                found[of] = result
            yield found.pop(number)

    return each


class _Worker:
    """One process."""

    def __init__(self, dataset: DatasetConfig) -> None:
        self._files = Files.open(dataset)

    def work(self, task: tuple[Task[Any], int]) -> tuple[int, Any, int]:
        """The file's number, what comes of the task, and how many units were done."""
        do, number = task
        done: list[int] = []
        return number, do(self._files, number, done.append), sum(done)
