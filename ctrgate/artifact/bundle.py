"""An exported model: loaded only when its folder is whole, and raw rows in, logits out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from ctrgate.artifact.calibration import CALIBRATION, Calibration
from ctrgate.artifact.compiled import Compiled, open_compiled
from ctrgate.artifact.forms import COMPILED, Form, RowForm, compiled_part, cpu_flags, is_bf16
from ctrgate.artifact.interface import GOLDEN, read_golden
from ctrgate.artifact.lookup import TableLookup
from ctrgate.artifact.manifest import Manifest, PartFile
from ctrgate.artifact.parity import Parity, largest_difference
from ctrgate.artifact.snapshot import SNAPSHOT, Snapshot
from ctrgate.artifact.tensors import load_tensors, read_tensors
from ctrgate.artifact.written import LOGITS, TABLES, WEIGHTS
from ctrgate.contracts import Batch, TableSpec
from ctrgate.data.block import Block
from ctrgate.errors import ArtifactError, ConfigError, SchemaError
from ctrgate.features.checks import check_values
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.folders import ENCODER, NETWORK
from ctrgate.layers.catalogue import best_items
from ctrgate.models.network import Network
from ctrgate.models.next_item import Items
from ctrgate.models.plan import plan_inputs
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import TablesConfig
from ctrgate.progress import warned_of
from ctrgate.row_ids import FIRST_VALUE_ID

__all__ = ["Artifact", "encode", "seal", "to_batch"]

_ROWS_AT_ONCE = 16_384


def seal(folder: Path, artifact: Artifact, *, forms: Mapping[Form, Parity], snapshot: Snapshot) -> None:
    """Put down what was proven and seen of an artifact that was just written; its files are read-only afterwards.

    Rounded rows cannot give the checkpoint's logits: their golden rows are replayed against what the artifact itself
    says of them, after that was found near enough to the checkpoint.
    """
    manifest, parts = artifact.manifest, dict(artifact.manifest.parts)
    snapshot.write(folder)
    for name in (SNAPSHOT, *(compiled_part(form) for form in forms if form in COMPILED)):
        parts[name] = PartFile.of(folder / name)
    if any(size.form != "float32" for size in manifest.tables.values()):
        save_file({"logits": torch.from_numpy(artifact.logits(artifact.golden))}, folder / LOGITS)
        parts[LOGITS] = PartFile.of(folder / LOGITS)
    replace(manifest, forms=forms, parts=parts).write(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            os.chmod(path, 0o444)


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """An exported model, ready to score; its tables are mapped from their file, so processes of a host share one copy.

    Args:
        manifest: What it says of itself.
        identity: Names this very model: the hash of the manifest.
        encoder: Raw rows to encoded ones.
        layout: The encoded columns.
        lookup: The tables.
        network: What stands above them, in evaluation mode.
        golden: Raw rows with known logits.
        golden_logits: Logits ``(n, L)``, or queries ``(n, D)``.
        items: Where the items are, for a network that ranks them; None for one that gives logits.
        calibration: The curve from logits to probabilities; None where none was fitted.
        snapshot: How rows looked when it was exported; None in artifacts of earlier formats.
        form: How the network is computed.
        library: The network, where that is a compiled form.
    """

    manifest: Manifest
    identity: str
    encoder: Encoder
    layout: Layout
    lookup: TableLookup
    network: Network
    golden: pl.DataFrame
    golden_logits: NDArray[np.float32]
    items: Items | None
    calibration: Calibration | None = None
    snapshot: Snapshot | None = None
    form: Form = "fp32"
    library: Compiled | None = None

    @classmethod
    def load(cls, folder: str | Path, *, form: Form = "fp32", trusted: str = "", replay: bool = True) -> Artifact:
        """Open a folder, see that it is as it was written, and replay its golden rows.

        Args:
            folder: Written by ``ctrgate export``.
            form: How the network is to be computed; where the processor lacks what that needs, it is fp32, with a
                warning.
            trusted: For a compiled form, which is code: the identity of the artifact whose code may run, from where
                it was exported or from the registry, not from the folder itself.
            replay: False leaves the golden rows out, for a caller that compares them itself.

        Raises:
            ConfigError: Where there is no artifact, or it was not exported for the form, or is not the trusted one.
            ArtifactError: Where it is damaged, changed, of another format, or scores its golden rows otherwise here.
        """
        folder = Path(folder)
        manifest, named = Manifest.identified(folder)
        encoder = Encoder.load(folder / ENCODER)
        if encoder.hash != manifest.encoder:
            raise ArtifactError(f"{folder / ENCODER} is not the encoder that the manifest names; export the run again")
        forms = {name: size.form for name, size in manifest.tables.items() if size.rows}
        layout, lookup, network, items = _model(folder, encoder, forms=forms)
        golden = read_golden(folder)
        width = len(layout.labels) if items is None else lookup.dim(items.table)
        artifact = cls(
            manifest=manifest,
            identity=named,
            encoder=encoder,
            layout=layout,
            lookup=lookup,
            network=network,
            golden=golden,
            golden_logits=read_tensors(folder / LOGITS, {"logits": ("float32", (golden.height, width))})[
                "logits"
            ].numpy(),
            items=items,
            calibration=Calibration.read(folder, labels=layout.labels) if CALIBRATION in manifest.parts else None,
            snapshot=Snapshot.read(folder, layout=layout) if SNAPSHOT in manifest.parts else None,
        )
        if replay:
            artifact._replay(folder, tolerance=manifest.tolerance)
        return artifact._computed_in(form, folder=folder, trusted=trusted, replay=replay)

    @property
    def dataset(self) -> DatasetConfig:
        """The settings by which raw rows are read."""
        try:
            return TypeAdapter(DatasetConfig).validate_python(self.manifest.origin.dataset)
        except ValidationError as error:
            raise ArtifactError(
                f"the artifact's dataset settings are damaged: {error}; export the run again"
            ) from error

    def logits(self, raw: pl.DataFrame | pl.LazyFrame) -> NDArray[np.float32]:
        """The logits (or queries) of raw rows, ``(n, L)`` in the rows' order; joined columns must be there already.

        Raises:
            SchemaError: Where columns are missing or of a type that does not fit what was learnt.
            DataError: Naming the first row that cannot be used.
        """
        encoded = self.encoder.transform(raw.lazy(), scoring=True)
        check_values(self.encoder.features, raw.lazy(), source="the rows to be scored", scoring=True)
        pieces = encoded.collect().iter_slices(_ROWS_AT_ONCE)
        parts = [self.logits_of(to_batch(rows, layout=self.layout)) for rows in pieces]
        return np.concatenate([np.empty((0, self.golden_logits.shape[1]), dtype=np.float32), *parts])

    def logits_of(self, batch: Batch) -> NDArray[np.float32]:
        """The logits of encoded rows, ``(B, L)``, or their queries ``(B, D)``.

        Logits are corrected for the sampling of train's negatives: their sigmoid is the probability among all rows.
        """
        with torch.inference_mode():
            result: NDArray[np.float32] = self._answers(batch).numpy()
        shifts = self.manifest.logit_shifts
        return result + np.asarray(shifts, dtype=np.float32) if any(shifts) else result

    def calibrated(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probabilities of logits that ``logits`` or ``logits_of`` gave, ``(n, L)``, by the artifact's calibration.

        Raises:
            ConfigError: Where it has none; ``calibration`` tells.
        """
        if self.calibration is None:
            raise ConfigError("the artifact has no calibration; export the run with export.calibrate.method")
        return self.calibration(logits)

    def best_items(self, batch: Batch, *, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The scores and ids of the best items for encoded rows, ``(B, count)`` each, best first.

        Where fewer than ``count`` are candidates, the scores of the rest are -inf.
        """
        if self.items is None:
            raise ConfigError(f"the network {self.manifest.model} gives logits and ranks no items")
        ids = batch.ids[self.items.seen] if self.items.seen else None
        seen = None if ids is None or ids.lengths is None else (ids.values, ids.lengths)
        with torch.inference_mode():
            rows = self.lookup.rows(self.items.table)
            scores, best = best_items(self._answers(batch), rows, first=FIRST_VALUE_ID, count=count, seen=seen)
        return scores.numpy(), best.numpy()

    def golden_difference(self) -> float:
        """By how much the golden rows' logits differ from the recorded ones, see ``parity.largest_difference``."""
        return largest_difference(self.logits(self.golden), self.golden_logits)

    def _answers(self, batch: Batch) -> Tensor:
        """Logits as the network gives them, or queries, in float32."""
        fields = self.lookup(batch)
        if self.library is not None:
            return self.library(fields)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16(self.form)):
            output = self.network(fields)
        answers: Tensor = output.logits if self.items is None else output.query
        return answers.float()

    def _computed_in(self, form: Form, *, folder: Path, trusted: str, replay: bool) -> Artifact:
        """The same artifact in another form, as far as this machine can compute it as it was proven."""
        if form == "fp32":
            return self
        parity = self.manifest.forms.get(form)
        if parity is None:
            known = ", ".join(self.manifest.forms) or "fp32"
            raise ConfigError(f"{folder} is proven for {known}, not for {form}; export it with export.forms=[{form}]")
        library = None
        if form in COMPILED and trusted != self.identity:
            raise ConfigError(
                f"{folder}: the form {form} is code, which runs only for the artifact that is trusted: this one is "
                f"{self.identity}, trusted is {trusted or 'none'}; name what ctrgate export has told as its identity"
            )
        lacking = (
            [f"a processor with {', '.join(flags)}"] if (flags := sorted({*parity.cpu_flags} - cpu_flags())) else []
        )
        if parity.torch not in ("", torch.__version__):
            lacking.append(f"torch {parity.torch}")
        if lacking:
            warned_of(f"{folder}: {form} needs {' and '.join(lacking)}; fp32 is computed instead")
            return self
        if form in COMPILED:
            part = compiled_part(form)
            library = open_compiled(folder / part, sha256=self.manifest.parts[part].sha256)
        formed = replace(self, form=form, library=library)
        if replay:
            formed._replay(folder, tolerance=parity.tolerance)
        return formed

    def _replay(self, folder: Path, *, tolerance: float) -> None:
        try:
            difference = self.golden_difference()
        except SchemaError as error:
            raise ArtifactError(f"{folder / GOLDEN} does not fit the encoder: {error}; export the run again") from error
        if not difference <= tolerance:
            raise ArtifactError(
                f"{folder} does not score its golden rows as it did when it was exported: the largest difference of a "
                f"logit in {self.form} is {difference:.3g}, allowed is {tolerance:g}; export the run again with the "
                "versions installed here"
            )


def encode(raw: pl.DataFrame, *, encoder: Encoder, layout: Layout) -> Batch:
    """Raw rows that are to be scored, as one batch."""
    return to_batch(encoder.transform(raw.lazy(), scoring=True).collect(), layout=layout)


def to_batch(encoded: pl.DataFrame, *, layout: Layout) -> Batch:
    """Encoded rows as one batch; other columns are left out."""
    return Block.from_arrow(encoded.to_arrow(compat_level=pl.CompatLevel.oldest()), layout=layout).batch()


def _model(
    folder: Path, encoder: Encoder, *, forms: Mapping[str, RowForm]
) -> tuple[Layout, TableLookup, Network, Items | None]:
    """Tables and network, built from their settings and filled from their files; tables without a form are zeros."""
    path = folder / NETWORK
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        layout = Layout.from_json(values["layout"])
        config: ModelConfig = TypeAdapter[ModelConfig](ModelConfig).validate_python(values["model"])
        tables = TypeAdapter(TablesConfig).validate_python(values["tables"])
        items = TypeAdapter[Items | None](Items | None).validate_python(values["items"])
        if (layout.fields, layout.sequences, layout.tables) != encoder.layout_parts():
            raise ArtifactError(f"{path} describes other encoded columns than the encoder gives; export the run again")
        inputs = plan_inputs(layout, tables, config.embeddings(layout))
        with torch.random.fork_rng(devices=[]):  # its start is thrown away and must not move the caller's randomness
            network = Network(config, inputs=inputs)
        network.load_state_dict(load_tensors(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ConfigError, ValidationError) as error:
        raise ArtifactError(
            f"{path} and {WEIGHTS} are no network of this version: {error}; export the run again"
        ) from error
    expected = {spec.name: (forms[spec.name], _shape(spec)) for spec in inputs.tables if spec.name in forms}
    rows = read_tensors(folder / TABLES, expected)
    zeros = {spec.name: torch.zeros(1, spec.dim).expand(_shape(spec)) for spec in inputs.tables}
    rows = {spec.name: rows.get(spec.name, zeros[spec.name]) for spec in inputs.tables}
    return layout, TableLookup(rows, inputs.lookups), network.eval().requires_grad_(False), items


def _shape(spec: TableSpec) -> tuple[int, int]:
    return spec.num_rows, spec.dim
