"""Frappe_x1: FinalMLP by the published recipe; seconds of an epoch with its validation, and the AUC in the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.side import side_command, told
from benchmarks.speed.turns import Measured, SideError, take_turns

__all__ = ["frappe", "frappe_table"]


def frappe(modules: Mapping[str, tuple[Path, str]], *, folder: Path, threads: int) -> str:
    """One run of each side, one after the other, and its test rows; a table, or why there is none.

    Args:
        modules: By side the interpreter and the module of this package; the peer is the last.
        folder: Where rows lie.
        threads: Of each process.
    """
    sys.stderr.write("measuring Frappe_x1\n")
    found: dict[str, Mapping[str, Measured]] = {}
    try:
        for stage in ("frappe_train", "frappe_test"):
            commands = {side: side_command(*of, stage, folder) for side, of in modules.items()}
            found[stage] = take_turns(commands, threads=threads, turns=1, warm_up=False)
    except SideError as error:
        return f"- Frappe_x1 was not measured: {error}"
    return frappe_table(found["frappe_train"], {side: told(folder, side) for side in modules})


def frappe_table(runs: Mapping[str, Measured], said: Mapping[str, Mapping[str, float]]) -> str:
    """A line for each side.

    Args:
        runs: What each run took; the last side is the one that the others are compared with.
        said: By side its ``epochs`` and ``test_auc``.
    """
    *_, peer = runs
    spent = {side: run.cpu_seconds[0] / said[side]["epochs"] for side, run in runs.items()}
    head = ("Frappe_x1", "epochs", "seconds an epoch", "of processor", "peak MB", f"to {peer}", "test AUC")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for side, run in runs.items():
        epochs = said[side]["epochs"]
        cells = (
            *(side, f"{epochs:.0f}", f"{run.seconds[0] / epochs:.1f}", f"{spent[side]:.1f}", f"{run.peak_mb:,.0f}"),
            *("" if side == peer else f"{spent[peer] / spent[side]:.1f}", f"{said[side]['test_auc']:.5f}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
