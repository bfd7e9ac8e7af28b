"""Requests to stop: the first signal lets a step end and its state be saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ctrgate.progress import console

__all__ = ["StopRequest", "same_command", "stop_requests"]


@dataclass
class StopRequest:
    """The signal that asked training to stop, once there was one, or a file that does."""

    file: Path | None = None
    requested: signal.Signals | None = None

    @property
    def asked(self) -> bool:
        """Whether training is to stop."""
        return self.requested is not None or (self.file is not None and self.file.exists())

    @property
    def number(self) -> signal.Signals:
        """The signal that the command ends by: a file asks as SIGTERM does."""
        return self.requested or signal.SIGTERM

    @property
    def name(self) -> str:
        """What asked."""
        return "request" if self.requested is None else self.requested.name


def same_command(*, restarted: bool) -> str:
    """What goes on with a run, for messages.

    Args:
        restarted: Whether the command had ``train.restart``, by which it would begin the run again.
    """
    return "the same command without train.restart" if restarted else "the same command"


@contextmanager
def stop_requests(file: Path | None = None, *, then: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request that is seen after the step; a second one acts at once.

    Args:
        file: Is a request as well, where it exists.
        then: Called once there is a signal.
    """
    stop = StopRequest(file)
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in watched}

    def request(number: int, _: FrameType | None) -> None:
        stop.requested = signal.Signals(number)
        then()
        console.print(f"{stop.requested.name}: saving after this step (once more to stop at once)")
        for watched_number, handler in before.items():
            signal.signal(watched_number, handler)

    try:
        for number in watched:
            signal.signal(number, request)
    except ValueError:  # not the main thread: signals are the caller's business
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
