"""A run's start from an earlier run's weights: tables grow with the vocabulary, what optimizers gathered goes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.features.prepared import Prepared
from ctrgate.folders import ENCODER
from ctrgate.lookups.shards import TableShard
from ctrgate.models.tables import TablesConfig
from ctrgate.training.checkpoint import load_network, optimizer_state
from ctrgate.training.model import CtrModel
from ctrgate.training.moved_rows import NEW, moved_rows
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.runs import RunFolder, RunSettings, settings_of
from ctrgate.training.saved_tables import SavedTables
from ctrgate.training.settings import WarmStart

__all__ = ["Earlier", "earlier_run", "warm_start"]

_UNKNOWN_ROW = slice(1, 2)


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a run starts warm from.

    Args:
        checkpoint: Of the earlier run.
        settings: Of the earlier run.
        moved: By vocabulary, the row that each row had (``moved_rows``); None where no row moved: new ones come last.
    """

    checkpoint: Path
    settings: RunSettings
    moved: Mapping[str, Tensor] | None


def earlier_run(warm: WarmStart, *, prepared: Prepared, tables: TablesConfig) -> Earlier:
    """Find an earlier run, and see that its weights fit.

    Raises:
        ConfigError: Where there is no such checkpoint, or this run's columns mean something else than that one's.
    """
    folder = RunFolder(Path(warm.run))
    settings = settings_of(folder)
    checkpoint = folder.checkpoints.find(warm.which)
    if checkpoint is None:
        raise ConfigError(f"train.warm_start.run: {folder.path} has no {warm.which} checkpoint yet")
    if settings.tables.rule.name != tables.rule.name:
        raise ConfigError(
            f"train.warm_start.run: {folder.path} has tables.rule.name: {settings.tables.rule.name}, this run "
            f"{tables.rule.name}"
        )
    known = folder.environment()["encoder"]
    grown = known in (*prepared.manifest.ancestors, prepared.manifest.encoder)
    if (folder.path / "selection.json").exists() and grown:
        raise ConfigError(
            f"train.warm_start.run: {folder.path} has dropped values, and the encoder of {prepared.folder} brings them "
            f"back; export that run and prepare with prepare.previous set to {folder.path / 'artifact'}"
        )
    moved = None if grown else _moved(folder, settings, known=known, prepared=prepared)
    return Earlier(checkpoint=checkpoint, settings=settings, moved=moved)


def _moved(folder: RunFolder, settings: RunSettings, *, known: str, prepared: Prepared) -> Mapping[str, Tensor]:
    """Where rows were, by the encoder that the earlier run was trained with."""
    place = settings.prepare.folder(settings.dataset)
    try:
        earlier = Encoder.load(place / ENCODER)
        if earlier.hash != known:
            raise ConfigError(f"{place} was prepared anew since {folder.path} was trained")
        return moved_rows(earlier, Encoder.load(prepared.encoder_folder))
    except (ArtifactError, ConfigError) as error:
        raise ConfigError(
            f"train.warm_start.run: the encoder of {prepared.folder} did not grow from that of {folder.path}, and its "
            f"rows cannot be found by their values: {error}. Prepare with prepare.previous set to {place}"
        ) from error


def warm_start(model: CtrModel, optimizer: Optimizer, *, warm: WarmStart, earlier: Earlier, layout: Layout) -> None:
    """Fill a model at its start, and its optimizer, from an earlier run's checkpoint.

    A row that the earlier run did not have starts as its unknown row, if that was trained (``tables.unknown_share``);
    if not, at the new run's own start. Nothing is gathered for such a row.

    Args:
        model: At its start.
        optimizer: Of that model.
        warm: What is taken along.
        earlier: From ``earlier_run``.
        layout: This run's.

    Raises:
        ArtifactError: Where the checkpoint is damaged, or of a network or tables of another shape.
    """
    vocabularies = layout.id_tables()
    of_table = {each.table: vocabularies[each.column] for each in model.lookups.lookups if each.column in vocabularies}
    saved = SavedTables(earlier.checkpoint)
    with torch.no_grad():
        for shard in model.lookups.shards():
            _fill(shard, saved, warm=warm, earlier=earlier, vocabulary=of_table[shard.spec.name])
    load_network(model, earlier.checkpoint)
    if warm.optimizer != "drop":
        optimizer.load(_gathered(optimizer, earlier, of_table=of_table))


def _rows_before(earlier: Earlier, vocabulary: str, *, num_rows: int, num_before: int) -> Tensor:
    """The row that each row of a table had, ``NEW`` for a new one."""
    moved = None if earlier.moved is None else earlier.moved.get(vocabulary)
    if moved is not None:
        return moved
    rows = torch.arange(num_rows)
    return rows.masked_fill(rows >= num_before, NEW)


def _fill(shard: TableShard, saved: SavedTables, *, warm: WarmStart, earlier: Earlier, vocabulary: str) -> None:
    """Rows, and what the fused optimizer gathered of them, into what this process holds of a table."""
    spec, key = shard.spec, f"{shard.spec.name}|rows"
    found = saved.shape(key)
    if found is None or found[1] != spec.dim or (earlier.moved is None and found[0] > spec.num_rows):
        named = "nothing" if found is None else found
        raise ArtifactError(
            f"{earlier.checkpoint}: table {spec.name} should be at most {(spec.num_rows, spec.dim)}, holds {named}; "
            "start warm from a run with the same features and tables.dim"
        )
    before = _rows_before(earlier, vocabulary, num_rows=spec.num_rows, num_before=found[0])[shard.rows]
    old = before != NEW
    if earlier.settings.tables.unknown_share:
        shard.seen[~old] = saved.read(key, rows=_UNKNOWN_ROW, columns=shard.columns)
    if not old.any():
        return
    span = slice(int(before[old].min()), int(before[old].max()) + 1)
    place = before[old] - span.start
    shard.seen[old] = saved.read(key, rows=span, columns=shard.columns)[place]
    for name, state in shard.state.items() if warm.optimizer != "drop" else ():
        kept = saved.read(f"{spec.name}|{name}", rows=span, columns=shard.columns)[place]
        state[old] = kept * warm.decay if warm.optimizer == "decay" else kept


def _gathered(optimizer: Optimizer, earlier: Earlier, *, of_table: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """The dense optimizer's state, that of tables row by row where the rows are now."""
    gathered = optimizer_state(earlier.checkpoint)
    for name, moments in gathered.items():
        if name.startswith("table."):
            vocabulary = of_table[name.removeprefix("table.")]
            num_rows, num_before = len(optimizer.parameters[name]), len(moments["exp_avg"])
            rows = _rows_before(earlier, vocabulary, num_rows=num_rows, num_before=num_before)
            gathered[name] = {part: _moments(value, rows) for part, value in moments.items()}
    return gathered


def _moments(value: Tensor, rows: Tensor) -> Tensor:
    """A part of Adam's state of a table, with zeros for new rows; the count of steps has no rows."""
    if not value.dim():
        return value
    moments = value[rows.clamp(min=0)]
    moments[rows == NEW] = 0
    return moments
