"""``python -m benchmarks.peers``: ctrgate's speed beside that of libraries that pip installs for the comparison.

Each library gets an environment of its own, and takes turns with ctrgate on the same rows, within one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import InstallError, environment
from benchmarks.peers.frappe import frappe
from benchmarks.peers.known import PEERS, Peer
from benchmarks.peers.rows import make_rows
from benchmarks.peers.side import side_command
from benchmarks.speed.figures import figures, table
from benchmarks.speed.process import command
from benchmarks.speed.turns import SideError, take_turns

__all__ = ["compare", "main"]

ENVIRONMENTS = Path(".peers")
STAGES = ("prepare", "train", "evaluate", "frappe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, measure, and print a Markdown table for each peer, with the reason where one could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="raw rows that are prepared")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side that are counted")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--folder", type=Path, help="where rows are made, and kept for the next time")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where peers are installed, and kept")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ctrgate-peers-") as temporary:
        folder = (parsed.folder or Path(temporary)).absolute()
        make_rows(folder, num_rows=parsed.rows)
        for name in parsed.peers:
            sys.stdout.write(f"\n## {name}: {' '.join(PEERS[name].requirements)}\n\n")
            try:
                python = environment(parsed.environments.absolute() / name, PEERS[name].requirements)
            except InstallError as error:
                sys.stdout.write(f"not installed: {error}\n")
                continue
            stages = _stages(PEERS[name], python=python, folder=folder)
            wanted = {stage: sides for stage, sides in stages.items() if stage in parsed.stages}
            sys.stdout.write(compare(name, wanted, threads=parsed.threads, turns=parsed.turns) + "\n")
            sys.stdout.flush()
            if "frappe" in parsed.stages and PEERS[name].has_frappe:
                modules = {"ctrgate": (Path(sys.executable), "of_ctrgate"), name: (python, PEERS[name].module)}
                sys.stdout.write("\n" + frappe(modules, folder=folder, threads=parsed.threads) + "\n")
    return 0


def compare(peer: str, stages: Mapping[str, Mapping[str, Sequence[str]]], *, threads: int, turns: int) -> str:
    """A line for each side, with its speed to the peer's; below, why a stage could not be measured.

    Args:
        peer: The side that the others are compared with.
        stages: By stage and side the command of its process.
        threads: Of each process.
        turns: That are counted.
    """
    found: dict[str, dict[str, Any]] = {}
    failed = []
    for stage, commands in stages.items():
        sys.stderr.write(f"measuring {stage} beside {peer}\n")
        try:
            sides = take_turns(commands, threads=threads, turns=turns)
        except SideError as error:
            failed.append(f"- {stage} was not measured: {error}")
        else:
            found[stage] = figures(sides, reference=peer)
    return "\n".join([table(found, reference=peer), *failed])


def _stages(peer: Peer, *, python: Path, folder: Path) -> dict[str, dict[str, Sequence[str]]]:
    """By stage and side the command of its process."""
    stages: dict[str, dict[str, Sequence[str]]] = {}
    for stage, functions in peer.theirs.items():
        stages[stage] = {side: command(stage, side, folder, network=peer.network) for side in peer.ours[stage]}
        for side, function in functions.items():
            stages[stage][side] = side_command(python, peer.module, function, folder)
    return stages


if __name__ == "__main__":
    raise SystemExit(main())
