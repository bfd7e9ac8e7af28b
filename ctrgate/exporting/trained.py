"""What a run trained, as an artifact keeps it: rows that stay, their sizes, the network, its origin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

from ctrgate.artifact.bundle import encode
from ctrgate.artifact.golden import golden_rows
from ctrgate.artifact.manifest import Origin, TableSize
from ctrgate.artifact.rows import form_of, store
from ctrgate.artifact.settings import ExportSettings
from ctrgate.artifact.shrink import Shrunk, shrink
from ctrgate.artifact.written import Trained, write
from ctrgate.errors import ArtifactError, ConfigError, HeldBackError
from ctrgate.exporting.calibrated import fitted
from ctrgate.exporting.checkpoint import answers_of
from ctrgate.features.encoder import Encoder
from ctrgate.models.next_item import Items
from ctrgate.training.next_item import items_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.runs import Restored

__all__ = ["write_trained"]


def write_trained(folder: Path, restored: Restored, *, name: str, export: ExportSettings) -> Shrunk | None:
    """Fill the folder; returns what was left out, where values were selected."""
    prepared, model = restored.prepared, restored.model
    if model.gates is not None and not model.gates.closed:
        raise ConfigError(f"{restored.checkpoint} still searches for values; run ctrgate train again, it goes on")
    encoder = Encoder.load(prepared.encoder_folder)
    if encoder.hash != prepared.manifest.encoder:
        raise ArtifactError(f"{prepared.encoder_folder} is not the encoder of its folder; run ctrgate prepare again")
    golden = golden_rows(encoder, num_rows=export.golden_rows, seed=0)
    rows = {spec.name: weight[:, : spec.dim].cpu() for spec, weight in model.lookups.tables()}
    shrunk = None
    if model.gates is not None:
        factors = {name: gate.factor(torch.arange(len(gate.logits))) for name, gate in model.gates.by_table().items()}
        lookups = model.lookups.lookups
        shrunk = shrink(encoder, restored.layout, rows=rows, lookups=lookups, factors=factors)
    items = _items(restored, encoder)
    trained = Trained(
        encoder=shrunk.encoder if shrunk else encoder,
        layout=shrunk.layout if shrunk else restored.layout,
        model=restored.settings.model,
        tables=restored.settings.tables,
        items=items,
        rows={name: store(of, export.rows, table=name) for name, of in (shrunk.rows if shrunk else rows).items()},
        weights={name: value.cpu() for name, value in model.network.state_dict().items()},
        logit_shifts=restored.logit_shifts,
        calibration=fitted(restored, export.calibrate),
    )
    logits = answers_of(restored, encode(golden, encoder=encoder, layout=restored.layout))
    if not np.isfinite(logits).all():
        raise HeldBackError(f"{restored.checkpoint} gives logits that are not finite; look at the run's loss")
    origin = Origin(
        run=name,
        step=restored.step,
        dataset=prepared.manifest.dataset,
        negative_sampling_rate=prepared.manifest.negative_sampling_rate,
    )
    sizes = _sizes(restored, trained.rows)
    tolerance = export.tolerance.float32
    write(folder, trained, origin=origin, golden=golden, logits=logits, tolerance=tolerance, tables=sizes)
    return shrunk


def _items(restored: Restored, encoder: Encoder) -> Items | None:
    """Where the items are, for a network that ranks them; ConfigError where scores could not name them."""
    objective = restored.settings.objective
    if not isinstance(objective, NextItemConfig):
        return None
    items = items_of(restored.layout, restored.settings.model, objective)
    encoder.decode(items.target, pl.Series([], dtype=pl.Int64))  # raises for a hashed item, which has no name
    return items


def _sizes(restored: Restored, rows: Mapping[str, torch.Tensor]) -> dict[str, TableSize]:
    """What each table takes, and what it would take with all rows and, as a field's own, the default width."""
    read = {lookup.table: lookup for lookup in restored.model.lookups.lookups}
    sizes = {}
    for spec, _ in restored.model.lookups.tables():
        stored = rows.get(spec.name)
        kept, num_bytes = (0, 0) if stored is None else (len(stored), stored.nbytes)
        is_own = read[spec.name].name == read[spec.name].column
        full = 4 * spec.num_rows * (restored.settings.tables.dim if is_own else spec.dim)
        sizes[spec.name] = TableSize(
            rows=kept,
            rows_saved=spec.num_rows - kept,
            dim=spec.dim,
            form="float32" if stored is None else form_of(stored),
            num_bytes=num_bytes,
            bytes_saved=full - num_bytes,
        )
    return sizes
