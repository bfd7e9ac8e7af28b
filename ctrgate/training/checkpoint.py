"""Checkpoints: tables in shards with an index, the rest beside them, whole or not at all; no pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ctrgate.errors import ArtifactError
from ctrgate.files import atomic_file, atomic_folder, checksum, put_back, remove_leftovers, writing
from ctrgate.folders import STEP
from ctrgate.training.model import CtrModel
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.saved_tables import FORMAT, SavedTables, table_shards
from ctrgate.training.workers import ALONE, Workers

__all__ = ["Checkpoints", "Progress", "load_network", "load_weights", "optimizer_state", "weights_checksum"]

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
    ``random.safetensors`` and ``progress.json``. Any number of workers reads what any other number has written.

    Args:
        folder: Where they lie; workers share it.
        workers: The processes that train; all of them call ``save`` and ``resume`` together.
    """

    def __init__(self, folder: Path, workers: Workers = ALONE) -> None:
        self.folder, self._workers = folder, workers

    def find(self, which: str) -> Path | None:
        """The folder that ``last``, ``best`` or ``rewind`` names; None if there is none."""
        pointer = self.folder / which
        if not pointer.exists():
            return None
        folder = self.folder / pointer.read_text().strip()
        if self._workers.is_first:
            put_back(folder)
        return folder

    def save(
        self, model: CtrModel, optimizer: Optimizer, progress: Progress, *, best: bool, rewind: bool = False
    ) -> Path:
        """Write the present state, point ``last`` (``best``, ``rewind``) to it, and drop what none of them names."""
        name, workers = f"{STEP}{progress.step:08d}", self._workers
        named = [*(["best"] if best else []), *(["rewind"] if rewind else [])]
        if workers.is_first:
            remove_leftovers(self.folder)  # before this one's tables need the room of a killed one's
        if workers.is_first and self.find("last") == self.folder / name:
            # This step was saved already, before its epoch was judged: the same weights. Once they are replaced,
            # ``last`` names a state after the judgement, which nobody repeats: what came of it must be written by then.
            self._point(named, to=name)
        self._workers.average(model.network.buffers())
        with writing(self.folder, setting="runs"), self._shared_folder(name) as folder:
            own = f"tables-{workers.rank}.safetensors"
            parts, entries = table_shards(model, optimizer, workers=workers, file=own)
            save_file(parts, folder / own)
            indices = workers.texts(json.dumps(entries))
            random = workers.joined(torch.get_rng_state().unsqueeze(0).numpy())
            if workers.is_first:
                shards = [entry for text in indices for entry in json.loads(text)]
                _write_json(folder / "index.json", {"format": FORMAT, "shards": shards})
                save_file(_contiguous(model.network.state_dict()), folder / "network.safetensors")
                if model.gates is not None:
                    save_file(_contiguous(model.gates.state_dict()), folder / _GATES)
                state = {
                    f"{key}|{part}": value
                    for key, moments in optimizer.state().items()
                    for part, value in moments.items()
                }
                save_file(
                    {key: value.contiguous() for key, value in state.items() if not key.startswith("table.")},
                    folder / "optimizer.safetensors",
                )
                states = {"torch": torch.from_numpy(random)}
                if model.device.type == "cuda":
                    states["cuda"] = torch.cuda.get_rng_state(model.device)
                save_file(states, folder / "random.safetensors")
                _write_json(folder / "progress.json", {"format": FORMAT, **asdict(progress)})
        if workers.is_first:
            self._point([*named, "last"], to=name)  # ``last`` comes last: a kill before it repeats the epoch
            self._prune(progress)
        workers.wait()
        return self.folder / name

    def _point(self, pointers: Iterable[str], *, to: str) -> None:
        for pointer in pointers:
            with atomic_file(self.folder / pointer) as temporary:
                temporary.write_text(to + "\n")

    def _prune(self, progress: Progress) -> None:
        """Drop what no pointer names."""
        if progress.rewound:
            (self.folder / "rewind").unlink(missing_ok=True)
        kept = {self.find("last"), self.find("best"), self.find("rewind")}
        for other in self.folder.glob(f"{STEP}*"):
            if other not in kept:
                shutil.rmtree(other)

    @contextmanager
    def _shared_folder(self, name: str) -> Iterator[Path]:
        """A folder that the first worker makes and puts in place once all of them have written their part."""
        workers = self._workers
        if not workers.is_first:
            yield Path(workers.texts("")[0])
            workers.wait()
            return
        with atomic_folder(self.folder / name) as folder:
            workers.texts(str(folder))
            yield folder
            workers.wait()

    def progress(self) -> Progress:
        """Where training stands by the checkpoint that ``last`` names; the start of a run if there is none."""
        folder = self.find("last")
        if folder is None:
            return Progress()
        values = _read_json(folder / "progress.json")
        return Progress(**{name: value for name, value in values.items() if name != "format"})

    def resume(self, model: CtrModel, optimizer: Optimizer) -> Progress:
        """Take up the state that ``last`` names; the start of a run if there is none."""
        progress, folder = self.progress(), self.find("last")
        if folder is None:
            return progress
        load_weights(model, folder)
        optimizer.load(optimizer_state(folder))
        optimizer.set_factor(progress.factor)
        states = _load(folder / "random.safetensors")
        random = states["torch"]
        if self._workers.rank < len(random):
            torch.set_rng_state(random[self._workers.rank].clone())  # torch reads a view's storage from its start
        if model.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], model.device)
        return progress


def load_weights(model: CtrModel, folder: Path, *, gates: bool = True) -> None:
    """Load tables (with fused optimizer state), network and value gates from a checkpoint.

    Args:
        model: To be filled.
        folder: The checkpoint.
        gates: False leaves value gates as they are.

    Raises:
        ArtifactError: Where the checkpoint is damaged, of another format, or of a model of another shape.
    """
    saved = SavedTables(folder)
    with torch.no_grad():
        for shard in model.lookups.shards():
            spec = shard.spec
            found = saved.shape(f"{spec.name}|rows")
            if found != (spec.num_rows, spec.dim):
                named = "nothing" if found is None else found
                raise ArtifactError(f"{folder}: table {spec.name} should be {(spec.num_rows, spec.dim)}, holds {named}")
            shard.seen.copy_(saved.read(f"{spec.name}|rows", rows=shard.rows, columns=shard.columns))
            for name, state in shard.state.items():
                state.copy_(saved.read(f"{spec.name}|{name}", rows=shard.rows, columns=shard.columns))
    load_network(model, folder)
    if gates and model.gates is not None:
        try:
            model.gates.load_state_dict(_load(folder / _GATES))
        except RuntimeError as error:
            raise ArtifactError(f"{folder / _GATES} is of other gates: {error}") from error
        if model.gates.closed:
            model.gates.close()


def load_network(model: CtrModel, folder: Path) -> None:
    """Load what stands above the tables.

    Raises:
        ArtifactError: Where it is damaged or of another network.
    """
    try:
        model.network.load_state_dict(_load(folder / "network.safetensors"))
    except RuntimeError as error:
        raise ArtifactError(f"{folder / 'network.safetensors'} is of another network: {error}") from error


def weights_checksum(checkpoint: Path) -> str:
    """Names a checkpoint's weights: one SHA-256 over those of its tables, its network and its value gates.

    Tables hold what their optimizer has gathered too; workers count, as each has its shard in a file of its own.
    """
    files = sorted([*checkpoint.glob("tables-*.safetensors"), *checkpoint.glob("network.*"), *checkpoint.glob(_GATES)])
    told = "".join(f"{path.name} {checksum(path)}\n" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()


def optimizer_state(folder: Path) -> dict[str, dict[str, Tensor]]:
    """A checkpoint's state of the dense optimizer, as ``Optimizer.load`` takes it."""
    tables = SavedTables(folder)
    dense = {key: tables.read(key) for key in tables.keys if key.startswith("table.")}
    state: dict[str, dict[str, Tensor]] = {}
    for key, value in {**_load(folder / "optimizer.safetensors"), **dense}.items():
        name, part = key.rsplit("|", 1)
        state.setdefault(name, {})[part] = value
    return state


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
