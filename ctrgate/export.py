"""Write a trained run as one folder that scores raw rows without the training stack, and prove that it scores alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ctrgate.artifact.bundle import Artifact, encode, seal
from ctrgate.artifact.calibration import Calibration, Isotonic, Platt, log_odds
from ctrgate.artifact.compiled import compile_network, open_compiled
from ctrgate.artifact.forms import COMPILED, Form, compiled_part, is_bf16, needs
from ctrgate.artifact.golden import golden_rows
from ctrgate.artifact.interchange import check_installed, write_onnx
from ctrgate.artifact.manifest import MANIFEST, Origin, TableSize, identity
from ctrgate.artifact.parity import Parity, largest_difference, measured
from ctrgate.artifact.rows import form_of, store
from ctrgate.artifact.settings import CalibrateSettings, ExportSettings
from ctrgate.artifact.shrink import Shrunk, shrink
from ctrgate.artifact.snapshot import Snapshot
from ctrgate.artifact.written import Trained, write
from ctrgate.config import Place, dump, settings
from ctrgate.contracts import Batch
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ArtifactError, ConfigError, DataError, HeldBackError
from ctrgate.features.encoder import Encoder
from ctrgate.files import atomic_folder, checksum, writing
from ctrgate.metrics.calibration import calibration_ratio, ece, log_loss
from ctrgate.metrics.pooled import PooledRows
from ctrgate.metrics.recalibration import fit_isotonic, fit_platt
from ctrgate.models.next_item import Items
from ctrgate.progress import console
from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.tracking import DATA, TrackingConfig, open_tracker, place_of
from ctrgate.training.held_out import held_out
from ctrgate.training.next_item import items_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.runs import Restored, RunFolder, restore

__all__ = ["Config", "ExportSettings", "run"]

_ROWS_AT_ONCE = 4_096
_SCORED_ITEMS = _SCORED_HISTORIES = 256  # of a model that ranks items, to be compared


@settings
class Config:
    """The sections that ``export`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    export: ExportSettings = field(default_factory=ExportSettings)
    """What is written where."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the artifact is logged."""


def run(config: Config) -> dict[str, Any]:
    """Write the artifact of a run; it appears only once it is loaded back and scores as the checkpoint does.

    The artifact computes in fp32, also for a run that was trained in bf16; it is compared with the checkpoint in fp32.
    Rows of values that a search has dropped are left out, and so are tables without any other.

    Returns:
        The folder, its identity, step, bytes, the largest differences of logits on golden and on real rows, the parity
        of each form, and the rows and bytes of tables that rounding and selection saved.

    Raises:
        ConfigError: Where there is no such run, it still searches for values, or the folder holds something else; where
            ONNX is asked for, its packages are not there or it has no form of an operator.
        HeldBackError: Where artifact and checkpoint differ; nothing is written.
    """
    export = config.export
    if export.onnx:
        check_installed()
    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=export.which)
    restored.model.precision = "fp32"
    into = _place(config, restored)
    before = identity(into) if into.exists() else None
    with writing(into, setting="export.into"), atomic_folder(into) as temporary:
        shrunk = _write(temporary, restored, name=config.name, export=export)
        artifact = Artifact.load(temporary, replay=False)
        formed = _formed(artifact, folder=temporary, forms=export.forms)
        forms = _prove(formed, restored, shrunk=shrunk, export=export)
        snapshot = _snapshot(artifact, restored, shrunk=shrunk, num_rows=export.parity_rows)
        seal(temporary, artifact, forms=forms, snapshot=snapshot)
        differences = {"golden": forms["fp32"].golden, forms["fp32"].split: forms["fp32"].largest}
        if export.onnx:
            with atomic_folder(into.with_name(f"{into.name}_onnx")) as beside:
                named, limit = identity(temporary), export.tolerance.onnx
                differences["onnx"] = write_onnx(beside, artifact, identity=named, tolerance=limit)
    after = identity(into)
    if export.log and after != before:
        tracker = open_tracker(config.tracking, folder=folder.path)
        tracker.start(run_name=config.name, params={}, tags={"ctrgate.artifact": after}, resume=True)
        tracker.artifact(into, folder=f"{place_of(after)}/{DATA}")
        tracker.end()
    return {
        "artifact": str(into),
        "identity": after,
        "step": _step(restored),
        **_told(into, artifact, restored, differences=differences),
        "forms": {name: dump(parity) for name, parity in forms.items()},
        **({} if artifact.calibration is None else {"calibration": _mended(artifact.calibration, restored)}),
    }


def _place(config: Config, restored: Restored) -> Path:
    """Where the artifact goes, once the settings are seen to fit the run and nothing else to lie there."""
    if config.export.calibrate.method != "none" and isinstance(restored.settings.objective, NextItemConfig):
        raise ConfigError(f"export.calibrate.method: {config.name} ranks items and gives no probabilities; use none")
    into = Path(config.export.into or Path(config.runs) / config.name / "artifact")
    if into.exists() and not (into / MANIFEST).is_file():
        raise ConfigError(f"{into} is there and holds no artifact; set export.into to another place")
    return into


def _told(into: Path, artifact: Artifact, restored: Restored, *, differences: Mapping[str, float]) -> dict[str, Any]:
    """Its bytes, how far it is from the checkpoint, and what rounding and selection saved."""
    num_bytes = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    console.print(
        f"{into}: {num_bytes:,} bytes, {restored.checkpoint.name}; largest differences of logits {differences}"
    )
    sizes = artifact.manifest.tables.values()
    saved = {"rows": sum(size.rows_saved for size in sizes), "bytes": sum(size.bytes_saved for size in sizes)}
    if saved["bytes"]:
        full = saved["bytes"] + sum(size.num_bytes for size in sizes)
        console.print(f"{saved['rows']:,} rows and {saved['bytes'] / full:.1%} of the tables' bytes were saved")
    return {"bytes": num_bytes, "differences": differences, "saved": saved}


def _write(folder: Path, restored: Restored, *, name: str, export: ExportSettings) -> Shrunk | None:
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
        calibration=_fitted(restored, export.calibrate),
    )
    logits = _logits(restored, encode(golden, encoder=encoder, layout=restored.layout))
    if not np.isfinite(logits).all():
        raise HeldBackError(f"{restored.checkpoint} gives logits that are not finite; look at the run's loss")
    origin = Origin(
        run=name,
        step=_step(restored),
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


def _formed(artifact: Artifact, *, folder: Path, forms: Sequence[Form]) -> list[Artifact]:
    """The artifact in each form, fp32 first; libraries are compiled into the folder."""
    formed = [artifact]
    for form in dict.fromkeys(forms):
        library = None
        if form in COMPILED:
            path = folder / compiled_part(form)
            example = artifact.lookup(encode(artifact.golden, encoder=artifact.encoder, layout=artifact.layout))
            compile_network(artifact.network, example=example, bf16=is_bf16(form), into=path)
            library = open_compiled(path, sha256=checksum(path))
        formed.append(replace(artifact, form=form, library=library))
    return formed


def _prove(
    formed: Sequence[Artifact], restored: Restored, *, shrunk: Shrunk | None, export: ExportSettings
) -> dict[Form, Parity]:
    """How far each form lies from the checkpoint on golden rows and on encoded rows of valid, which are not kept.

    Raises:
        HeldBackError: Where one lies further than its tolerance.
    """
    artifact, split = formed[0], _held_out(restored)
    sample = partial(_sample, restored, num_rows=_SCORED_HISTORIES if artifact.items else export.parity_rows)
    theirs, ours = _item_rows(artifact, restored)
    expected = _rankings((_logits(restored, batch) for batch in sample()), items=theirs)
    known = [batch.labels.numpy() for batch in sample() if batch.labels is not None and artifact.items is None]
    labels = dict(zip(restored.layout.labels, np.concatenate(known).T, strict=True)) if known else {}
    forms: dict[Form, Parity] = {}
    for each in formed:
        form = each.form
        moved = (shrunk.batch(batch) if shrunk else batch for batch in sample())
        found = _rankings((each.logits_of(batch) for batch in moved), items=ours)
        golden = each.golden_difference()
        tolerance = export.tolerated(form)
        apart = {"golden": golden, split: largest_difference(found, expected)}
        if not max(apart.values()) <= tolerance:
            raise HeldBackError(
                f"the artifact scores otherwise than {restored.checkpoint}: largest differences of a logit in {form} "
                f"{apart}, allowed is {tolerance:g}; nothing was written. {export.remedy(form)}"
            )
        forms[form] = measured(
            found,
            expected,
            golden=golden,
            tolerance=tolerance,
            split=split,
            rows=found.shape[0 if artifact.items is None else 1],
            cpu_flags=needs(form),
            torch=torch.__version__ if form in COMPILED else "",
            labels=labels,
        )
    return forms


def _snapshot(artifact: Artifact, restored: Restored, *, shrunk: Shrunk | None, num_rows: int) -> Snapshot:
    """How the rows look on which forms are compared, and what the artifact says of them."""
    batches = [shrunk.batch(batch) if shrunk else batch for batch in _sample(restored, num_rows=num_rows)]
    labels = artifact.layout.labels if artifact.items is None else ()
    logits = np.concatenate([artifact.logits_of(batch) for batch in batches]) if labels else None
    return Snapshot.of(
        batches,
        split=_held_out(restored),
        encoder=artifact.encoder,
        layout=artifact.layout,
        logits={} if logits is None else dict(zip(labels, logits.T, strict=True)),
    )


def _held_out(restored: Restored) -> Literal["valid", "train"]:
    return "valid" if restored.prepared.num_rows("valid") else "train"


def _sample(restored: Restored, *, num_rows: int) -> Iterator[Batch]:
    """The first rows that were held out; in whole batches, so that they may be a few more."""
    reader = Reader(restored.prepared.files(_held_out(restored)), layout=restored.layout)
    order = Order(batch_size=min(num_rows, _ROWS_AT_ONCE))
    return islice(reader.batches(order), -(-num_rows // order.batch_size))


def _item_rows(artifact: Artifact, restored: Restored) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """The rows of some items, spread over the table, as the checkpoint has them and the artifact; for one of items."""
    if artifact.items is None:
        return None, None
    table = artifact.items.table
    ids = np.unique(np.linspace(FIRST_VALUE_ID, artifact.items.num_rows - 1, _SCORED_ITEMS).astype(np.int64))
    theirs = next(
        weight[ids, : spec.dim].cpu() for spec, weight in restored.model.lookups.tables() if spec.name == table
    )
    return theirs.numpy(), artifact.lookup.rows(table)[ids].numpy()


def _rankings(parts: Iterator[NDArray[np.float32]], *, items: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Logits ``(n, L)``, which rank rows by label; or of queries the scores of items, which rank items by row."""
    answers = np.concatenate(list(parts))
    return answers if items is None else items @ answers.T


def _fitted(restored: Restored, calibrate: CalibrateSettings) -> Calibration | None:
    """A curve for each label, from the checkpoint's logits."""
    if calibrate.method == "none":
        return None
    rows = held_out(restored, calibrate.split)
    curves: list[Platt | Isotonic] = []
    for place, label in enumerate(restored.layout.labels):
        try:
            pooled = rows.pooled(place)
            if calibrate.method == "platt":
                slope, intercept = fit_platt(pooled)
                curves.append(Platt(slope=slope, intercept=intercept))
            else:
                logits, probabilities = fit_isotonic(pooled)
                curves.append(Isotonic(logits=tuple(logits.tolist()), probabilities=tuple(probabilities.tolist())))
        except DataError as error:
            raise DataError(f"export.calibrate: label {label} of {calibrate.split}: {error}") from error
    return Calibration(split=calibrate.split, curves=tuple(curves))


def _mended(calibration: Calibration, restored: Restored) -> dict[str, Any]:
    """What a curve does on the held-out split that it was not fitted on; without one, only how it was fitted."""
    other: Literal["valid", "test"] = "test" if calibration.split == "valid" else "valid"
    told: dict[str, Any] = {"method": calibration.curves[0].method, "fitted_on": calibration.split}
    if not restored.prepared.num_rows(other):
        console.print(f"calibration: no {other} rows to measure it on", markup=False)
        return {**told, "measured_on": None, "labels": {}}
    rows = held_out(restored, other)
    calibrated = log_odds(calibration(rows.logits))
    labels = {}
    for place, label in enumerate(restored.layout.labels):
        before, after = _figures(rows.pooled(place)), _figures(rows.pooled(place, calibrated))
        labels[label] = {"before": before, "after": after}
        changes = ", ".join(f"{name} {before[name]:.5f} to {after[name]:.5f}" for name in before)
        console.print(f"{told['method']} fitted on {calibration.split}; {label} on {other}: {changes}", markup=False)
    return {**told, "measured_on": other, "labels": labels}


def _figures(pooled: PooledRows) -> dict[str, float]:
    return {"log_loss": log_loss(pooled), "calibration_ratio": calibration_ratio(pooled), "ece": ece(pooled)}


def _logits(restored: Restored, batch: Batch) -> NDArray[np.float32]:
    """What the checkpoint says, logits (corrected for sampling) or queries, looked up as in training."""
    with torch.no_grad():  # FBGEMM does not know inference mode
        output, _ = restored.model(batch)
    found = output.query if output.logits is None else output.logits
    if found is None:
        raise ValueError("the network gives neither logits nor queries")
    logits: NDArray[np.float32] = found.float().cpu().numpy()
    shifts = restored.logit_shifts
    return logits + np.asarray(shifts, dtype=np.float32) if any(shifts) else logits


def _step(restored: Restored) -> int:
    return int(restored.checkpoint.name.removeprefix("step-"))
