"""Checkpoints: tables in shards with an index, the rest beside them, whole or not at all; no pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ctrgate.errors import ArtifactError
from ctrgate.files import atomic_file, atomic_folder, put_back, writing
from ctrgate.training.model import CtrModel
from ctrgate.training.optimizer import Optimizer

__all__ = ["Checkpoints", "Progress", "load_network", "load_weights", "optimizer_state", "table_parts"]

FORMAT = 1
_GATES = "gates.safetensors"


@dataclass(kw_only=True)
class Progress:
    """Where training stands.

    Args:
        step: Steps done.
        epoch: The running epoch, from 0.
        batch: Global batches of that epoch done: the data position.
        rows: Rows of that epoch done.
        loss_sum: The sum of their losses.
        factor: What every starting learning rate is multiplied by.
        strikes: Epochs in a row without improvement.
        best: The best monitored value, None before the first.
        best_step: Its step.
        finished: Whether training ended by itself.
        rewound: Whether the search for values is over and the weights went back.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    rows: int = 0
    loss_sum: float = 0.0
    factor: float = 1.0
    strikes: int = 0
    best: float | None = None
    best_step: int | None = None
    finished: bool = False
    rewound: bool = False


class Checkpoints:
    """The checkpoints of one run: ``step-N`` folders, and files that name one each.

    ``last`` and ``best`` name what they say; ``rewind`` is there while a search for values may go back to it. A folder
    holds ``tables-W.safetensors`` per worker W with ``index.json`` (which part of which table lies where),
    ``network.safetensors``, ``gates.safetensors`` (value gates, if any), ``optimizer.safetensors``,
    ``random.safetensors`` and ``progress.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, which: str) -> Path | None:
        """The folder that ``last``, ``best`` or ``rewind`` names; None if there is none."""
        pointer = self.folder / which
        if not pointer.exists():
            return None
        folder = self.folder / pointer.read_text().strip()
        put_back(folder)
        return folder

    def save(
        self, model: CtrModel, optimizer: Optimizer, progress: Progress, *, best: bool, rewind: bool = False
    ) -> Path:
        """Write the present state, point ``last`` (``best``, ``rewind``) to it, and drop what none of them names."""
        name = f"step-{progress.step:08d}"
        with writing(self.folder, setting="runs"), atomic_folder(self.folder / name) as folder:
            tables, shards = _tables(model, optimizer)
            save_file(tables, folder / "tables-0.safetensors")
            _write_json(folder / "index.json", {"format": FORMAT, "shards": shards})
            save_file(_contiguous(model.network.state_dict()), folder / "network.safetensors")
            if model.gates is not None:
                save_file(_contiguous(model.gates.state_dict()), folder / _GATES)
            state = {
                f"{key}|{part}": value for key, parts in optimizer.state().items() for part, value in parts.items()
            }
            save_file(
                {key: value.contiguous() for key, value in state.items() if not key.startswith("table.")},
                folder / "optimizer.safetensors",
            )
            save_file({"torch": torch.get_rng_state()}, folder / "random.safetensors")
            _write_json(folder / "progress.json", {"format": FORMAT, **asdict(progress)})
        # ``last`` comes last: a kill in between repeats the epoch, not its verdict.
        for pointer in (*(["best"] if best else []), *(["rewind"] if rewind else []), "last"):
            with atomic_file(self.folder / pointer) as temporary:
                temporary.write_text(name + "\n")
        if progress.rewound:
            (self.folder / "rewind").unlink(missing_ok=True)
        kept = {self.find("last"), self.find("best"), self.find("rewind")}
        for other in self.folder.glob("step-*"):
            if other not in kept:
                shutil.rmtree(other)
        return self.folder / name

    def resume(self, model: CtrModel, optimizer: Optimizer) -> Progress:
        """Take up the state that ``last`` names; the start of a run if there is none."""
        folder = self.find("last")
        if folder is None:
            return Progress()
        values = _read_json(folder / "progress.json")
        progress = Progress(**{name: value for name, value in values.items() if name != "format"})
        tables = load_weights(model, folder)
        optimizer.load(optimizer_state(folder, tables))
        optimizer.set_factor(progress.factor)
        torch.set_rng_state(_load(folder / "random.safetensors")["torch"])
        return progress


def load_weights(model: CtrModel, folder: Path, *, gates: bool = True) -> dict[str, Tensor]:
    """Load tables (with fused optimizer state), network and value gates from a checkpoint; returns the tables' parts.

    Args:
        model: To be filled.
        folder: The checkpoint.
        gates: False leaves value gates as they are.

    Raises:
        ArtifactError: Where the checkpoint is damaged, of another format, or of a model of another shape.
    """
    parts = table_parts(folder)
    states = {spec.name: state for spec, state in model.lookups.states()}
    with torch.no_grad():
        for spec, weight in model.lookups.tables():
            rows = parts.get(f"{spec.name}|rows")
            if rows is None or rows.shape != (spec.num_rows, spec.dim):
                found = "nothing" if rows is None else tuple(rows.shape)
                raise ArtifactError(f"{folder}: table {spec.name} should be {(spec.num_rows, spec.dim)}, holds {found}")
            weight[:, : spec.dim] = rows.to(weight.device)
            for name, state in states[spec.name].items():
                state.copy_(parts[f"{spec.name}|{name}"])
    load_network(model, folder)
    if gates and model.gates is not None:
        try:
            model.gates.load_state_dict(_load(folder / _GATES))
        except RuntimeError as error:
            raise ArtifactError(f"{folder / _GATES} is of other gates: {error}") from error
        if model.gates.closed:
            model.gates.close()
    return parts


def load_network(model: CtrModel, folder: Path) -> None:
    """Load what stands above the tables.

    Raises:
        ArtifactError: Where it is damaged or of another network.
    """
    try:
        model.network.load_state_dict(_load(folder / "network.safetensors"))
    except RuntimeError as error:
        raise ArtifactError(f"{folder / 'network.safetensors'} is of another network: {error}") from error


def optimizer_state(folder: Path, tables: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What ``Optimizer.load`` takes, from a checkpoint and its table parts."""
    state: dict[str, dict[str, Tensor]] = {}
    dense = {key: value for key, value in tables.items() if key.startswith("table.")}
    for key, value in {**_load(folder / "optimizer.safetensors"), **dense}.items():
        name, part = key.rsplit("|", 1)
        state.setdefault(name, {})[part] = value
    return state


def _tables(model: CtrModel, optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Every part of every table (rows, optimizer state), and the index that says what each is."""
    parts: dict[str, Tensor] = {}
    for spec, weight in model.lookups.tables():
        parts[f"{spec.name}|rows"] = weight[:, : spec.dim].contiguous()
    for spec, state in model.lookups.states():
        parts |= {f"{spec.name}|{name}": value.contiguous() for name, value in state.items()}
    for name, state in optimizer.state().items():
        if name.startswith("table."):
            parts |= {f"{name}|{part}": value.contiguous() for part, value in state.items()}
    shards = [
        {
            "file": "tables-0.safetensors",
            "key": key,
            "rows": [0, value.size(0) if value.dim() else 1],
            "columns": [0, value.size(1) if value.dim() > 1 else 1],
            "shape": list(value.shape),
        }
        for key, value in parts.items()
    ]
    return parts, shards


def table_parts(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's table parts, put together from all workers' shards: ``TABLE|rows``, ``TABLE|sum``, and the dense
    optimizer's ``table.TABLE|...``."""
    index = _read_json(folder / "index.json")
    files = {shard["file"]: _load(folder / Path(shard["file"]).name) for shard in index["shards"]}
    parts: dict[str, Tensor] = {}
    for shard in index["shards"]:
        value = files[shard["file"]].get(shard["key"])
        if value is None:
            raise ArtifactError(f"{folder / shard['file']} lacks {shard['key']}, which index.json lists")
        if list(value.shape) == shard["shape"]:
            parts[shard["key"]] = value
            continue
        whole = parts.setdefault(shard["key"], torch.zeros(shard["shape"], dtype=value.dtype))
        (row, row_end), (column, column_end) = shard["rows"], shard["columns"]
        (whole[row:row_end, column:column_end] if whole.dim() > 1 else whole[row:row_end]).copy_(value)
    return parts


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in state.items()}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if values.get("format") != FORMAT:
        raise ArtifactError(f"{path} has format {values.get('format')!r}; this version reads {FORMAT}")
    return values
