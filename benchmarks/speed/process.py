"""A side as a process of its own: its memory is its own, and it works only when it is its turn."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.speed.place import Place
from benchmarks.speed.sides import begin
from ctrgate.progress import console

__all__ = ["Measured", "measure"]


@dataclass(kw_only=True)
class Measured:
    """What one side did."""

    rows: int = 0
    """Of a turn."""
    seconds: list[float] = field(default_factory=list)
    """By turn, as the clock goes."""
    cpu_seconds: list[float] = field(default_factory=list)
    """By turn, of all the process's threads: what other processes of a busy machine take is not in it."""
    peak_mb: float = 0.0
    """The most memory that the process had at once, from its start to its end."""


class _Side:
    """The calling end of a side's process."""

    def __init__(self, stage: str, name: str, *, folder: Path, threads: int) -> None:
        self.measured = Measured()
        command = (sys.executable, "-m", "benchmarks.speed.process", stage, name, str(folder))
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._title = f"{stage}, {name}"

    def turn(self, *, counted: bool) -> None:
        """Let it work once, and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._title}: the process has ended with {self._process.wait()}; see above")
        said = json.loads(answer)
        self.measured.rows, self.measured.peak_mb = said["rows"], said["peak_mb"]
        if counted:
            self.measured.seconds.append(said["seconds"])
            self.measured.cpu_seconds.append(said["cpu"])

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def measure(stage: str, names: list[str], *, folder: Path, threads: int, turns: int) -> dict[str, Measured]:
    """The sides of a stage in turn, over and over, so that whatever else the machine does meets them alike.

    Each warms up for one turn that is not counted.
    """
    sides = {name: _Side(stage, name, folder=folder, threads=threads) for name in names}
    try:
        for turn in range(turns + 1):
            for side in sides.values():
                side.turn(counted=turn > 0)
    finally:
        for side in sides.values():
            side.close()
    return {name: side.measured for name, side in sides.items()}


def main() -> int:
    """The side's own end: a turn for each line that comes in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.process", description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("side")
    parser.add_argument("folder", type=Path)
    parsed = parser.parse_args()
    console.quiet = True
    gates = "context" if "context" in parsed.stage else "constant"
    turn = begin(parsed.stage, parsed.side, Place(parsed.folder, gates=gates))
    for _ in sys.stdin:
        started, worked = time.perf_counter(), time.process_time()
        rows = turn()
        answer = {"rows": rows, "seconds": time.perf_counter() - started, "cpu": time.process_time() - worked}
        sys.stdout.write(json.dumps(answer | {"peak_mb": _peak_mb()}) + "\n")
        sys.stdout.flush()
    return 0


def _peak_mb() -> float:
    """Of this process since its start; ``getrusage`` would count what its parent had before."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000


if __name__ == "__main__":
    raise SystemExit(main())
