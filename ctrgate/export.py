"""Write a trained run as one folder that scores raw rows without the training stack, and prove that it scores alike."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ctrgate.artifact.bundle import Artifact, Trained, encode, largest_difference, write
from ctrgate.artifact.golden import golden_rows
from ctrgate.artifact.manifest import MANIFEST, Origin, identity
from ctrgate.config import Place, settings
from ctrgate.contracts import Batch
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ArtifactError, ConfigError, HeldBackError
from ctrgate.features.encoder import Encoder
from ctrgate.files import atomic_folder, writing
from ctrgate.progress import console
from ctrgate.tracking import TrackingConfig, open_tracker
from ctrgate.training.model import CtrModel
from ctrgate.training.runs import Restored, RunFolder, restore

__all__ = ["Config", "ExportSettings", "run"]

_SAMPLE_ROWS = 4_096


@settings
class ExportSettings:
    """What is written where."""

    which: Literal["best", "last"] = "best"
    """The checkpoint."""
    into: Place = ""
    """The folder; ``RUNS/NAME/artifact`` by default."""
    golden_rows: Annotated[int, Field(ge=2)] = 64
    """Made-up rows that are replayed wherever the artifact is loaded."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    """Largest difference of a logit between checkpoint and artifact; relative for logits beyond 1."""
    log: bool = True
    """Whether the artifact, tables included, is copied to the tracking store."""


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

    Returns:
        The folder, its identity, step, bytes, and the largest differences of logits on golden and on real rows.

    Raises:
        ConfigError: Where there is no such run, or the folder holds something else.
        HeldBackError: Where artifact and checkpoint differ; nothing is written.
    """
    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=config.export.which)
    restored.model.precision = "fp32"
    into = Path(config.export.into) if config.export.into else folder.path / "artifact"
    if into.exists() and not (into / MANIFEST).is_file():
        raise ConfigError(f"{into} is there and holds no artifact; set export.into to another place")
    before = identity(into) if into.exists() else None
    with writing(into, setting="export.into"), atomic_folder(into) as temporary:
        _write(temporary, restored, name=config.name, export=config.export)
        differences = _prove(Artifact.load(temporary, replay=False), restored, tolerance=config.export.tolerance)
    after = identity(into)
    if config.export.log and after != before:
        tracker = open_tracker(config.tracking, folder=folder.path)
        tracker.start(run_name=config.name, params={}, tags={"ctrgate.artifact": after}, resume=True)
        tracker.artifact(into, folder=f"artifact/{after[:12]}")
        tracker.end()
    num_bytes = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    console.print(
        f"{into}: {num_bytes:,} bytes, {restored.checkpoint.name}; largest differences of logits {differences}"
    )
    step = _step(restored)
    return {"artifact": str(into), "identity": after, "step": step, "bytes": num_bytes, "differences": differences}


def _write(folder: Path, restored: Restored, *, name: str, export: ExportSettings) -> None:
    prepared, model = restored.prepared, restored.model
    encoder = Encoder.load(prepared.encoder_folder)
    if encoder.hash != prepared.manifest.encoder:
        raise ArtifactError(f"{prepared.encoder_folder} is not the encoder of its folder; run ctrgate prepare again")
    golden = golden_rows(encoder, num_rows=export.golden_rows, seed=0)
    trained = Trained(
        encoder=encoder,
        layout=restored.layout,
        model=restored.settings.model,
        tables=restored.settings.tables,
        rows={spec.name: weight[:, : spec.dim].cpu() for spec, weight in model.lookups.tables()},
        weights={name: value.cpu() for name, value in model.network.state_dict().items()},
    )
    logits = _logits(model, encode(golden, encoder=encoder, layout=restored.layout))
    if not np.isfinite(logits).all():
        raise HeldBackError(f"{restored.checkpoint} gives logits that are not finite; look at the run's loss")
    origin = Origin(
        run=name,
        step=_step(restored),
        dataset=prepared.manifest.dataset,
        negative_sampling_rate=prepared.manifest.negative_sampling_rate,
    )
    write(folder, trained, origin=origin, golden=golden, logits=logits, tolerance=export.tolerance)


def _prove(artifact: Artifact, restored: Restored, *, tolerance: float) -> dict[str, float]:
    """The largest differences on golden rows and on some encoded rows of valid, which are not kept."""
    split: Literal["valid", "train"] = "valid" if restored.prepared.num_rows("valid") else "train"
    reader = Reader(restored.prepared.files(split), layout=restored.layout)
    sample = next(reader.batches(Order(batch_size=_SAMPLE_ROWS)))
    differences = {
        "golden": artifact.golden_difference(),
        split: largest_difference(artifact.logits_of(sample), _logits(restored.model, sample)),
    }
    if not max(differences.values()) <= tolerance:
        raise HeldBackError(
            f"the artifact scores otherwise than {restored.checkpoint}: largest differences of a logit {differences}, "
            f"allowed is {tolerance:g}; nothing was written. A larger export.tolerance lets it pass"
        )
    return differences


def _logits(model: CtrModel, batch: Batch) -> NDArray[np.float32]:
    """What the checkpoint says, looked up as in training."""
    with torch.no_grad():  # FBGEMM does not know inference mode
        output, _ = model(batch)
    if output.logits is None:
        raise ConfigError("the network gives no logits, so that an artifact of it could score no rows")
    logits: NDArray[np.float32] = output.logits.float().cpu().numpy()
    return logits


def _step(restored: Restored) -> int:
    return int(restored.checkpoint.name.removeprefix("step-"))
