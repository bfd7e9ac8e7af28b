"""The rows that all sides learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.peers.side import encoded_rows, recbole_rows, train_rows, valid_rows
from benchmarks.speed.place import Place
from benchmarks.speed.size import CATEGORIES, NUMBERS

__all__ = ["make_rows"]


def make_rows(folder: Path, *, num_rows: int) -> None:
    """The rows of ``benchmarks.speed``, prepared for ctrgate, and for the peers as they read them, split alike."""
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
