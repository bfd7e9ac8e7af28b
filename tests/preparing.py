"""What tests of prepare share: some rows, their settings, and what lies in and beside the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from ctrgate.features.prepared import Prepared
from ctrgate.prepare import Config

FRAME = pl.DataFrame(
    {
        "user": [1, 2, 1, 3, 2, 4, 1, 5, 2, 9],
        "price": [0.5, None, 2.0, 1.0, 4.0, 0.5, 8.0, 1.0, 2.0, 3.0],
        "time": [10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
        "click": [1, 0, 0, 1, 0, 0, 1, 0, 1, 0],
    }
)

FEATURES: list[dict[str, Any]] = [
    {"kind": "categorical", "name": "user"},
    {"kind": "numeric", "name": "price", "transform": "none", "fill": 0.0},
]


def config(folder: Path, *, dry_run: bool = False, **values: Any) -> Config:
    dataset = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "split": {"by": "order", "valid": 0.2, "test": 0.2},
        "labels": [{"name": "click"}],
        "roles": {"group": "user", "timestamp": "time", "keys": "user"},
        "features": FEATURES,
    }
    given = {"dataset": dataset | values, "prepare": {"into": str(folder / "out"), "dry_run": dry_run}}
    return TypeAdapter(Config).validate_python(given)


def written(folder: Path, *frames: pl.DataFrame) -> None:
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"{number}.parquet")


def encoded(prepared: Prepared, split: Any) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in prepared.files(split)])


def left(folder: Path) -> list[str]:
    """What lies beside the raw files, hidden names included."""
    return [path.name for path in folder.iterdir() if path.suffix not in (".parquet", ".csv")]


def made_at(folder: Path) -> int:
    return (folder / "out" / "manifest.json").stat().st_mtime_ns
