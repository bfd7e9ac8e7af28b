"""A side of a stage as a process of its own: its memory is its own, and it works only when it is its turn."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.place import Place
from benchmarks.speed.sides import begin
from benchmarks.speed.turns import Measured, serve, take_turns
from ctrgate.progress import console

__all__ = ["command", "measure"]


def measure(stage: str, names: list[str], *, folder: Path, threads: int, turns: int) -> dict[str, Measured]:
    """The sides of a stage in turn; each warms up for one turn that is not counted."""
    return take_turns({name: command(stage, name, folder) for name in names}, threads=threads, turns=turns)


def command(stage: str, side: str, folder: Path, *, network: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Of a side's process.

    Args:
        stage: Of ``SIDES``.
        side: Of that stage.
        folder: Of the ``Place``.
        network: Of the ``Place``.
    """
    words = (sys.executable, "-m", "benchmarks.speed.process", stage, side, str(folder))
    return words if network is None else (*words, "--network", json.dumps(network))


def main() -> int:
    """The side's own end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.process", description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("side")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=json.loads)
    parsed = parser.parse_args()
    console.quiet = True
    gates = "context" if "context" in parsed.stage else "constant"
    serve(lambda: begin(parsed.stage, parsed.side, Place(parsed.folder, gates=gates, network=parsed.network)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
