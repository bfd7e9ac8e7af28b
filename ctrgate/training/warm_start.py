"""A run's start from an earlier run's weights: tables grow with the vocabulary, what optimizers gathered goes along."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.prepared import Prepared
from ctrgate.models.inputs import TablesConfig
from ctrgate.training.checkpoint import load_network, optimizer_state
from ctrgate.training.model import CtrModel
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.runs import RunFolder, RunSettings, settings_of
from ctrgate.training.saved_tables import SavedTables
from ctrgate.training.settings import WarmStart

__all__ = ["earlier_run", "warm_start"]

_UNKNOWN_ROW = slice(1, 2)


def earlier_run(warm: WarmStart, *, prepared: Prepared, tables: TablesConfig) -> tuple[Path, RunSettings]:
    """The checkpoint to start from, and the settings of its run.

    Raises:
        ConfigError: Where there is no such checkpoint, or ids of this run's encoder mean other values than the earlier
            one's.
    """
    folder = RunFolder(Path(warm.run))
    settings = settings_of(folder)
    checkpoint = folder.checkpoints.find(warm.which)
    if checkpoint is None:
        raise ConfigError(f"train.warm_start.run: {folder.path} has no {warm.which} checkpoint yet")
    known = json.loads((folder.path / "environment.json").read_text())["encoder"]
    if known not in (*prepared.manifest.ancestors, prepared.manifest.encoder):
        raise ConfigError(
            f"train.warm_start.run: the encoder of {prepared.folder} did not grow from that of {folder.path} "
            f"({known[:12]}), so ids mean other values; prepare with prepare.previous set to "
            f"{settings.prepare.folder(settings.dataset)}"
        )
    if settings.tables.rule.name != tables.rule.name:
        raise ConfigError(
            f"train.warm_start.run: {folder.path} has tables.rule.name: {settings.tables.rule.name}, this run "
            f"{tables.rule.name}"
        )
    return checkpoint, settings


def warm_start(
    model: CtrModel, optimizer: Optimizer, *, warm: WarmStart, checkpoint: Path, tables: TablesConfig
) -> None:
    """Fill a model at its start, and its optimizer, from an earlier run's checkpoint.

    A row that the earlier run did not have starts as its unknown row, if that was trained (``tables.unknown_share``);
    if not, at the new run's own start. Nothing is gathered for such a row.

    Args:
        model: At its start.
        optimizer: Of that model.
        warm: What is taken along.
        checkpoint: From ``earlier_run``.
        tables: The earlier run's tables.

    Raises:
        ArtifactError: Where the checkpoint is damaged, or of a network or tables of another shape.
    """
    saved = SavedTables(checkpoint)
    with torch.no_grad():
        for shard in model.lookups.shards():
            spec, key = shard.spec, f"{shard.spec.name}|rows"
            found = saved.shape(key)
            if found is None or found[1] != spec.dim or found[0] > spec.num_rows:
                named = "nothing" if found is None else found
                raise ArtifactError(
                    f"{checkpoint}: table {spec.name} should be at most {(spec.num_rows, spec.dim)}, holds {named}; "
                    "start warm from a run with the same features and tables.dim"
                )
            old = slice(shard.rows.start, min(shard.rows.stop, found[0]))
            num_old = max(0, old.stop - old.start)
            if num_old:
                shard.seen[:num_old].copy_(saved.read(key, rows=old, columns=shard.columns))
            if tables.unknown_share:
                shard.seen[num_old:].copy_(saved.read(key, rows=_UNKNOWN_ROW, columns=shard.columns))
            if warm.optimizer != "drop" and num_old:
                for name, state in shard.state.items():
                    kept = saved.read(f"{spec.name}|{name}", rows=old, columns=shard.columns)
                    state[:num_old].copy_(kept * warm.decay if warm.optimizer == "decay" else kept)
    load_network(model, checkpoint)
    if warm.optimizer != "drop":
        gathered = optimizer_state(checkpoint)
        optimizer.load({name: _grown(state, optimizer.parameters[name]) for name, state in gathered.items()})


def _grown(state: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """Adam's moments with zeros for the rows that are new."""
    grown = {}
    for name, value in state.items():
        if value.dim() and value.shape != parameter.shape:
            value = torch.cat([value, value.new_zeros(len(parameter) - len(value), *value.shape[1:])])
        grown[name] = value
    return grown
