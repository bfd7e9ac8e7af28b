"""Batches made in a thread ahead of their use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

import torch

__all__ = ["prefetch"]

T = TypeVar("T")


class _End:
    """The last thing in the queue: the source's error, or None where it simply ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(source: Iterator[T], *, depth: int = 4) -> Iterator[T]:
    """Yield what ``source`` yields, made up to ``depth`` items ahead by a thread.

    An error of the source is raised where its item would have come. Leaving the loop early stops the thread.

    The source sees one thread of torch. With more, OpenMP would start a second team of them beside that of the caller's
    thread, count more threads than processors, and put waiting ones to sleep: each of the caller's small operations
    then waits for one to wake.
    """
    torch.get_num_threads()  # the caller's own number is settled before the thread sets its own
    items: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def run() -> None:
        torch.set_num_threads(1)
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 handed to the consumer, which raises it
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=run, name="ctrgate-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
        torch.set_num_threads(torch.get_num_threads())  # threads that begin later take the number that was set last
