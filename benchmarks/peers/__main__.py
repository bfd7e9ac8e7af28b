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

import numpy as np
import polars as pl

from benchmarks.peers.environments import InstallError, environment
from benchmarks.peers.known import PEERS, Peer
from benchmarks.peers.side import encoded_rows, recbole_rows, told, train_rows, valid_rows
from benchmarks.speed.figures import figures, table
from benchmarks.speed.place import Place
from benchmarks.speed.process import command
from benchmarks.speed.size import CATEGORIES, NUMBERS
from benchmarks.speed.turns import SideError, take_turns

__all__ = ["compare", "main"]

ENVIRONMENTS = Path(".peers")
FRAPPE, FRAPPE_ROWS = ("frappe_train", "frappe_test"), 202_027


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, measure, and print a Markdown table for each peer, with the reason where one could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="raw rows that are prepared")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side that are counted")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--stages", nargs="+", default=["prepare", "train", "evaluate", "frappe"])
    parser.add_argument("--folder", type=Path, help="where rows are made, and kept for the next time")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where peers are installed, and kept")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ctrgate-peers-") as temporary:
        folder = (parsed.folder or Path(temporary)).absolute()
        _make_rows(folder, num_rows=parsed.rows)
        for name in parsed.peers:
            sys.stdout.write(f"\n## {name}: {' '.join(PEERS[name].requirements)}\n\n")
            try:
                python = environment(parsed.environments.absolute() / name, PEERS[name].requirements)
            except InstallError as error:
                sys.stdout.write(f"not installed: {error}\n")
                continue
            stages = _stages(PEERS[name], python=python, folder=folder)
            wanted = {stage: sides for stage, sides in stages.items() if stage.split("_")[0] in parsed.stages}
            sys.stdout.write(compare(name, wanted, threads=parsed.threads, turns=parsed.turns) + "\n")
            if "frappe" in parsed.stages and PEERS[name].has_frappe:
                sys.stdout.write("\n".join(_of_frappe(folder, side) for side in ("ctrgate", name)) + "\n")
            sys.stdout.flush()
    return 0


def compare(peer: str, stages: Mapping[str, Mapping[str, Sequence[str]]], *, threads: int, turns: int) -> str:
    """A line for each side, with its speed to the peer's; below, why a stage could not be measured.

    Args:
        peer: The side that the others are compared with.
        stages: By stage and side the command of its process.
        threads: Of each process.
        turns: That are counted; a run on Frappe is one.
    """
    found: dict[str, dict[str, Any]] = {}
    failed = []
    for stage, commands in stages.items():
        sys.stderr.write(f"measuring {stage} beside {peer}\n")
        whole = stage in FRAPPE
        try:
            sides = take_turns(commands, threads=threads, turns=1 if whole else turns, warm_up=not whole)
        except SideError as error:
            failed.append(f"- {stage} was not measured: {error}")
        else:
            found[stage] = figures(sides, reference=peer)
    return "\n".join([table(found, reference=peer), *failed])


def _stages(peer: Peer, *, python: Path, folder: Path) -> dict[str, dict[str, Sequence[str]]]:
    """By stage and side the command of its process."""
    theirs = (str(python), "-m", "benchmarks.peers.side", peer.module)
    stages: dict[str, dict[str, Sequence[str]]] = {}
    for stage, functions in peer.theirs.items():
        ours = {side: command(stage, side, folder, network=peer.network) for side in peer.ours[stage]}
        stages[stage] = {**ours, **{side: (*theirs, of, str(folder)) for side, of in functions.items()}}
    if peer.has_frappe:
        ours_too = (sys.executable, "-m", "benchmarks.peers.side", "of_ctrgate")
        name = peer.module.removeprefix("of_")
        for stage in FRAPPE:
            stages[stage] = {side: (*of, stage, str(folder)) for side, of in (("ctrgate", ours_too), (name, theirs))}
    return stages


def _make_rows(folder: Path, *, num_rows: int) -> None:
    """The rows of ``benchmarks.speed``, prepared for ctrgate, and raw for the peers, split as ctrgate splits them."""
    place = Place(folder)
    place.make_rows(num_rows=num_rows)
    rows = pl.concat(pl.read_parquet(file) for file in sorted(place.raw.glob("*.parquet")))
    train_rows(folder).parent.mkdir(exist_ok=True)
    cut = int(rows.height * 0.9)
    rows[:cut].write_parquet(train_rows(folder))
    rows[cut:].write_parquet(valid_rows(folder))
    kinds = {"label": "label:float", **{name: f"{name}:float" for name in NUMBERS}}
    kinds |= {name: f"{name}:token" for name in CATEGORIES}
    recbole_rows(folder).parent.mkdir(exist_ok=True)
    rows.select(list(kinds)).rename(kinds).write_csv(recbole_rows(folder), separator="\t")
    turn, tables = pl.read_parquet(place.turn), place.layout.tables
    columns = {name: turn[name].to_numpy() for name in (*NUMBERS, *CATEGORIES)}
    sizes = {f"{name}:rows": np.array(tables[name]) for name in CATEGORIES}
    np.savez(encoded_rows(folder), allow_pickle=False, label=turn["label:label"].to_numpy(), **columns, **sizes)


def _of_frappe(folder: Path, side: str) -> str:
    found = told(folder, side)
    return f"- Frappe_x1, {side}: {found.get('epochs', 0):.0f} epochs, test AUC {found.get('test_auc', 0):.5f}"


if __name__ == "__main__":
    raise SystemExit(main())
