"""A side's process; a peer's has the peer's interpreter, and ctrgate is not installed there."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks.speed.turns import Turn, serve

__all__ = ["encoded_rows", "frappe_rows", "recbole_rows", "side_command", "tell", "told", "train_rows", "valid_rows"]


def side_command(python: Path, module: str, stage: str, folder: Path) -> tuple[str, ...]:
    """Of a side's process.

    Args:
        python: The interpreter.
        module: Of this package, ``of_NAME``.
        stage: Its function.
        folder: Where rows lie.
    """
    return (str(python), "-m", "benchmarks.peers.side", module, stage, str(folder))


def train_rows(folder: Path) -> Path:
    """The raw rows to learn from, one file."""
    return folder / "peers" / "train.parquet"


def valid_rows(folder: Path) -> Path:
    """The raw rows to validate on, one file."""
    return folder / "peers" / "valid.parquet"


def encoded_rows(folder: Path) -> Path:
    """A turn's rows as ctrgate encodes them: an array for each column, and ``COLUMN:rows``, how many its table has."""
    return folder / "peers" / "encoded.npz"


def recbole_rows(folder: Path) -> Path:
    """The raw rows to learn from and to validate on as RecBole reads them: text with the kinds in its head."""
    return folder / "peers" / "recbole" / "recbole.inter"


def frappe_rows() -> Path:
    """Frappe_x1: ``train.parquet``, ``valid.parquet`` and ``test.parquet``."""
    return Path(os.environ.get("CTRGATE_DATA") or "../shared/data") / "frappe_x1"


def tell(folder: Path, side: str, **found: float) -> None:
    """Keep what a turn has found besides its time."""
    file = folder / "peers" / f"{side}-told.json"
    file.write_text(json.dumps(told(folder, side) | found))


def told(folder: Path, side: str) -> dict[str, float]:
    """All that a side's turns have told."""
    file = folder / "peers" / f"{side}-told.json"
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _begin(module: str, stage: str, folder: str) -> Turn:
    turn: Turn = getattr(importlib.import_module(f"benchmarks.peers.{module}"), stage)(Path(folder))
    return turn


if __name__ == "__main__":  # python -m benchmarks.peers.side of_NAME STAGE FOLDER
    serve(lambda: _begin(*sys.argv[1:]))
