"""Processes that take turns: each works only when it is told to. Needs nothing but the standard library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Measured", "SideError", "Turn", "serve", "take_turns"]

Turn = Callable[[], int]
"""Does some work, and tells on how many rows."""


class SideError(RuntimeError):
    """A side's process has ended before its time."""


@dataclass(kw_only=True)
class Measured:
    """What one side did."""

    rows: int = 0
    """Of a turn."""
    seconds: list[float] = field(default_factory=list)
    """By turn, as the clock goes."""
    cpu_seconds: list[float] = field(default_factory=list)
    """By turn, of all the side's threads and processes: what others of a busy machine take is not in it."""
    peak_mb: float = 0.0
    """The most memory that the process had at once, from its start to its end; not that of processes it started."""


class _Side:
    """The calling end of a side's process."""

    def __init__(self, title: str, command: Sequence[str], *, threads: int) -> None:
        self.measured = Measured()
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._title = title

    def turn(self, *, counted: bool) -> None:
        """Let it work once, and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why it has ended is read below
        answer = json.loads(self._process.stdout.readline() or "{}")
        if "rows" not in answer:
            reason = answer.get("failed") or f"its process has ended with {self._process.wait()}"
            raise SideError(f"{self._title}: {reason}")
        self.measured.rows, self.measured.peak_mb = answer["rows"], answer["peak_mb"]
        if counted:
            self.measured.seconds.append(answer["seconds"])
            self.measured.cpu_seconds.append(answer["cpu"])

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def take_turns(
    commands: Mapping[str, Sequence[str]], *, threads: int, turns: int, warm_up: bool = True
) -> dict[str, Measured]:
    """Sides in turn, over and over, so that whatever else the machine does meets them alike.

    Args:
        commands: By side the command of its process, which calls ``serve``.
        threads: Of each process.
        turns: Of each side that are counted.
        warm_up: Whether each side first works once without being counted.

    Raises:
        SideError: Where one ends early, with its reason; the others are ended.
    """
    sides = {name: _Side(name, command, threads=threads) for name, command in commands.items()}
    try:
        for turn in range(-1 if warm_up else 0, turns):
            for side in sides.values():
                side.turn(counted=turn >= 0)
    finally:
        for side in sides.values():
            side.close()
    return {name: side.measured for name, side in sides.items()}


def serve(begin: Callable[[], Turn]) -> None:
    """The side's own end: get ready, then work once for each line that comes in.

    What libraries print goes to stderr, so that only answers come out.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        turn = begin()
        for _ in sys.stdin:
            started, worked = time.perf_counter(), _cpu_seconds()
            rows = turn()
            said = {"rows": rows, "seconds": time.perf_counter() - started, "cpu": _cpu_seconds() - worked}
            answers.write(json.dumps(said | {"peak_mb": _peak_mb()}) + "\n")
            answers.flush()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        answers.write(json.dumps({"failed": f"{type(error).__name__}: {reason}"}) + "\n")
        answers.flush()
        raise


def _cpu_seconds() -> float:
    """Of this process and of all below it, those included that have ended."""
    ticks: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        process, parent = int(file.parent.name), int(words[1])
        ticks[process] = sum(map(int, words[11:15]))  # its own, and of what it has waited for
        below.setdefault(parent, []).append(process)
    children, found = 0, list(below.get(os.getpid(), []))
    while found:
        process = found.pop()
        children += ticks[process]
        found += below.get(process, [])
    ended = os.times()
    waited_for = ended.children_user + ended.children_system
    return time.process_time() + waited_for + children / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    """Of this process since its start; ``getrusage`` would count what its parent had before."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000
