"""One verb as a process of its own, which ends with this one, is handed its signals, and keeps its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ctrgate.progress import console

__all__ = ["Ended", "run_as_process"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a verb's process ended.

    Args:
        exit_code: Its own, or 128 and the number of the signal that ended it, or that it was handed.
        output: What it wrote to stdout: a line of JSON, where it is done.
        signal_number: Of the signal that stopped it; None for one that ended by itself.
    """

    exit_code: int
    output: str
    signal_number: int | None


def run_as_process(
    verb: str, run_file: str | Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Ended:
    """Run ``ctrgate VERB RUN.yaml ...``; its progress goes to stderr, and signals reach it once.

    It is killed where this process is, so that the next call never meets it at work.

    Args:
        verb: Which.
        run_file: Its run file.
        overrides: Of settings.
        environment: Variables that it gets besides.
    """
    console.rule(verb, align="left", characters="─")
    ward = [sys.executable, "-m", "ctrgate.ward", str(os.getpid())]
    command = [*ward, sys.executable, "-m", "ctrgate", verb, str(run_file), *overrides]
    # A process group of its own: a terminal's Ctrl-C reaches this process alone, which hands it on.
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, process_group=0, env={**os.environ, **(environment or {})}
    )
    with child as process, _handing_on(process) as received:
        output, _ = process.communicate()
    by_signal = received[0] if received else -process.returncode if process.returncode < 0 else None
    if by_signal is None and process.returncode > 128:  # a verb that a signal has unwound
        by_signal = process.returncode - 128
    exit_code = process.returncode if process.returncode > 0 else 0 if by_signal is None else 128 + by_signal
    return Ended(exit_code=exit_code, output=output, signal_number=by_signal)


@contextmanager
def _handing_on(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Pass signals that ask to stop on to a process; gives the list of those that came."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        process.send_signal(number)

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in watched}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
