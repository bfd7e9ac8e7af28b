"""The tables of a checkpoint: written by each worker as it holds them, read in any other layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ctrgate.errors import ArtifactError
from ctrgate.training.model import CtrModel
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.workers import Workers

__all__ = ["FORMAT", "SavedTables", "table_shards"]

FORMAT = 2


def table_shards(
    model: CtrModel, optimizer: Optimizer, *, workers: Workers, file: str
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """What a worker has to save of the tables, and for each piece an entry of ``index.json``.

    Keys are ``TABLE|rows``, ``TABLE|sum`` (fused tables), and ``table.TABLE|...`` for the dense optimizer's state. What
    every worker holds alike is saved by the first one.

    Args:
        model: With the tables.
        optimizer: Of that model.
        workers: Which of them this is.
        file: The name of the file that is to hold the pieces.
    """
    pieces: dict[str, Tensor] = {}
    entries: list[dict[str, Any]] = []

    def add(key: str, value: Tensor, *, shape: list[int], rows: slice, columns: slice) -> None:
        name = key if (rows.start, columns.start) == (0, 0) else f"{key}@{rows.start},{columns.start}"
        pieces[name] = value.contiguous()
        place = {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]}
        entries.append({"file": file, "name": name, "key": key, "shape": shape, **place})

    for shard in model.lookups.shards():
        spec = shard.spec
        if spec.rule == "dense" and not workers.is_first:
            continue
        if shard.rows.stop == shard.rows.start or shard.columns.stop <= shard.columns.start:
            continue
        shape = [spec.num_rows, spec.dim]
        add(f"{spec.name}|rows", shard.seen, shape=shape, rows=shard.rows, columns=shard.columns)
        for name, state in shard.state.items():
            add(f"{spec.name}|{name}", state, shape=shape, rows=shard.rows, columns=shard.columns)
    for name, moments in optimizer.state().items() if workers.is_first else ():
        if name.startswith("table."):
            for part, value in moments.items():
                size = list(value.shape)
                whole = [slice(0, length) for length in (*size, 1, 1)[:2]]
                add(f"{name}|{part}", value, shape=size, rows=whole[0], columns=whole[1])
    return pieces, entries


class SavedTables:
    """The table parts of a checkpoint, read piece by piece as they are asked for.

    Args:
        folder: The checkpoint.

    Raises:
        ArtifactError: Where its index is damaged or of another format.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "index.json"
        try:
            index = json.loads(path.read_text())
            version, self._entries = index["format"], index["shards"]
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        if version != FORMAT:
            raise ArtifactError(f"{path} has format {version!r}; this version reads {FORMAT}")

    @property
    def keys(self) -> list[str]:
        """What there is."""
        return list(dict.fromkeys(entry["key"] for entry in self._entries))

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of a whole table; None where the checkpoint does not have it."""
        for entry in self._entries:
            if entry["key"] == key:
                return tuple(entry["shape"])
        return None

    def read(self, key: str, *, rows: slice | None = None, columns: slice | None = None) -> Tensor:
        """A part of a table or of its optimizer's state; all of it by default.

        A state of rows, ``(V,)``, is that of all asked columns together: where columns were cut, row-wise Adagrad had a
        sum of mean squares for each block, and the sum over more columns is their mean, weighted by width.

        Raises:
            ArtifactError: Where pieces are missing or damaged.
        """
        entries = [entry for entry in self._entries if entry["key"] == key]
        if not entries:
            raise ArtifactError(f"{self._folder / 'index.json'} does not list {key}")
        if rows is None and len(entries) == 1:
            return self._load(entries[0])
        rows = rows or slice(0, entries[0]["shape"][0])
        columns = columns or slice(0, (*entries[0]["shape"], 1)[1])
        found: Tensor | None = None
        seen = torch.zeros(rows.stop - rows.start)
        for entry in entries:
            top, bottom = max(rows.start, entry["rows"][0]), min(rows.stop, entry["rows"][1])
            left, right = max(columns.start, entry["columns"][0]), min(columns.stop, entry["columns"][1])
            if top >= bottom or left >= right:
                continue
            piece = self._load(entry, slice(top - entry["rows"][0], bottom - entry["rows"][0]))
            to = slice(top - rows.start, bottom - rows.start)
            width = columns.stop - columns.start
            if piece.dim() == 1:
                found = torch.zeros(len(seen), dtype=piece.dtype) if found is None else found
                found[to] += piece * ((right - left) / width)
            else:
                found = torch.zeros(len(seen), width, dtype=piece.dtype) if found is None else found
                cut = slice(left - entry["columns"][0], right - entry["columns"][0])
                found[to, left - columns.start : right - columns.start] = piece[:, cut]
            seen[to] += right - left
        if found is None or not bool((seen == columns.stop - columns.start).all()):
            raise ArtifactError(f"{self._folder / 'index.json'} lists {key} in part only")
        return found

    def _load(self, entry: dict[str, Any], rows: slice | None = None) -> Tensor:
        path = self._folder / Path(entry["file"]).name
        try:
            with safe_open(path, framework="pt") as file:
                if rows is None:
                    value: Tensor = file.get_tensor(entry["name"])
                else:
                    value = file.get_slice(entry["name"])[rows]
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        return value
