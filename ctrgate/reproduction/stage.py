"""One verb as a process of its own, which ends with this one, is handed its signals, and keeps its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ctrgate.errors import CtrgateError, Interrupted
from ctrgate.progress import console

__all__ = ["StageFailed", "run_stage"]


class StageFailed(CtrgateError):  # noqa: N818 as it is the stage's error, told by itself already
    """A verb ended with another exit code than 0, which is this error's too."""

    def __init__(self, verb: str, *, exit_code: int) -> None:
        super().__init__(f"ctrgate {verb} ended with exit code {exit_code}, see above; once mended, run this again")
        self.exit_code = exit_code


def run_stage(
    verb: str, run_file: Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> None:
    """Run ``ctrgate VERB RUN.yaml ...``; what it prints goes to stderr.

    Raises:
        StageFailed: Where it fails.
        Interrupted: After Ctrl-C or SIGTERM, once it has ended.
    """
    console.rule(verb, align="left", characters="─")
    command = [sys.executable, "-m", "ctrgate", verb, str(run_file), *overrides]
    ward = [sys.executable, "-m", "ctrgate.cluster.ward", str(os.getpid())]
    # A process group of its own: a terminal's Ctrl-C reaches this process alone, which hands it on.
    child = subprocess.Popen(
        [*ward, *command], stdout=subprocess.DEVNULL, process_group=0, env={**os.environ, **(environment or {})}
    )
    with child as process, _handing_on(process) as received:
        process.wait()
    exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if received or exit_code > 128:
        number = received[0] if received else exit_code - 128
        raise Interrupted(f"stopped at {verb}; the same command goes on from there", signal_number=number)
    if exit_code:
        raise StageFailed(verb, exit_code=exit_code)


@contextmanager
def _handing_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass signals that ask to stop on to a process; gives the list of those that came."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
