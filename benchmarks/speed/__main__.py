"""``python -m benchmarks.speed``: how fast every stage is, beside the common way and the machine's limit."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.figures import figures, losses, place_of_figures, surroundings, table
from benchmarks.speed.process import measure
from benchmarks.speed.sides import SIDES
from ctrgate.files import write_json

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one Markdown table, write one JSON; with ``--check``, fail where a ratio has been lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="raw rows that are prepared")
    parser.add_argument("--stages", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--turns", type=int, default=5, help="turns of each side that are counted")
    parser.add_argument("--threads", type=int, default=1, help="of each process; more share its work")
    parser.add_argument("--folder", type=Path, help="where rows and a trained run are made, and kept for the next time")
    parser.add_argument("--json", type=Path, help="where the figures go; by default with those of the same CPU")
    parser.add_argument("--check", action="store_true", help="compare ratios with the kept figures, and keep nothing")
    parsed = parser.parse_args(arguments)
    kept = parsed.json or place_of_figures(parsed.threads)
    known = json.loads(kept.read_text()) if kept.exists() else {}
    machine = surroundings(rows=parsed.rows, threads=parsed.threads, turns=parsed.turns)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="ctrgate-speed-") as temporary:
        folder = parsed.folder or Path(temporary)
        make = (sys.executable, "-m", "benchmarks.speed.place", str(folder), str(parsed.rows))
        subprocess.run(make, check=True, env=os.environ | {"OMP_NUM_THREADS": str(parsed.threads)})
        for stage in parsed.stages:
            sys.stderr.write(f"measuring {stage}\n")
            sides = measure(stage, list(SIDES[stage]), folder=folder, threads=parsed.threads, turns=parsed.turns)
            found[stage] = figures(sides)
            if not parsed.check:  # stage by stage: a long run that is stopped leaves what it has
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_json(kept, {"machine": machine, "stages": known.get("stages", {}) | found})
    sys.stdout.write(table(found) + "\n")
    return _told(losses(found, known.get("stages", {})), kept=kept) if parsed.check else 0


def _told(lost: Sequence[str], *, kept: Path) -> int:
    if not kept.exists():
        sys.stderr.write(f"no figures are kept of such a CPU with so many threads ({kept}); `make bench` keeps them\n")
    sys.stderr.writelines(f"{line}\n" for line in lost)
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
