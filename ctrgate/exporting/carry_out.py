"""An export carried out: written, proven against its checkpoint, sealed, and put in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrgate.artifact.bundle import Artifact, seal
from ctrgate.artifact.interchange import ONNX, check_installed, write_onnx
from ctrgate.artifact.manifest import identity
from ctrgate.artifact.settings import ExportSettings
from ctrgate.config import dump
from ctrgate.errors import ConfigError
from ctrgate.exporting.calibrated import mended
from ctrgate.exporting.proof import in_forms, prove, snapshot_of
from ctrgate.exporting.trained import write_trained
from ctrgate.files import atomic_folder, writing
from ctrgate.folders import is_artifact
from ctrgate.progress import console
from ctrgate.tracking import DATA, TrackingConfig, open_tracker, place_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.runs import Restored, RunFolder, restore

__all__ = ["carry_out"]


def carry_out(export: ExportSettings, *, name: str, runs: str, tracking: TrackingConfig) -> dict[str, Any]:
    """Write the artifact of a run.

    Args:
        export: What is written where.
        name: The run.
        runs: Where run folders lie.
        tracking: Where the artifact is logged.

    Returns:
        The folder, its identity, step and bytes, the largest differences of logits, the parity of each form, what
        rounding and selection saved, and what a fitted curve does.

    Raises:
        ConfigError: Where there is no such run, it still searches for values, or the folder holds something else; where
            ONNX is asked for, its packages are not there or it has no form of an operator.
        HeldBackError: Where artifact and checkpoint differ; nothing is written.
    """
    if export.onnx:
        check_installed()
    folder = RunFolder(Path(runs) / name)
    restored = restore(folder, which=export.which)
    restored.model.precision = "fp32"
    into = _place(export, restored, folder=folder)
    before = identity(into) if into.exists() else None
    with writing(into, setting="export.into"), atomic_folder(into) as temporary:
        shrunk = write_trained(temporary, restored, name=name, export=export)
        artifact = Artifact.load(temporary, replay=False)
        formed = in_forms(artifact, folder=temporary, forms=export.forms)
        forms = prove(formed, restored, shrunk=shrunk, export=export)
        snapshot = snapshot_of(artifact, restored, shrunk=shrunk, num_rows=export.parity_rows)
        seal(temporary, artifact, forms=forms, snapshot=snapshot)
        differences = {"golden": forms["fp32"].golden, forms["fp32"].split: forms["fp32"].largest}
        if export.onnx:
            with atomic_folder(_beside(into)) as beside:
                named, limit = identity(temporary), export.tolerance.onnx
                differences["onnx"] = write_onnx(beside, artifact, identity=named, tolerance=limit)
    after = identity(into)
    if export.log and after != before:
        tracker = open_tracker(tracking, folder=folder.path)
        tracker.start(run_name=name, params={}, tags={"ctrgate.artifact": after}, resume=True)
        tracker.artifact(into, folder=f"{place_of(after)}/{DATA}")
        tracker.end()
    return {
        "artifact": str(into),
        "identity": after,
        "step": restored.step,
        **_told(into, artifact, restored, differences=differences),
        "forms": {name: dump(parity) for name, parity in forms.items()},
        **({} if artifact.calibration is None else {"calibration": mended(artifact.calibration, restored)}),
    }


def _place(export: ExportSettings, restored: Restored, *, folder: RunFolder) -> Path:
    """Where the artifact goes, once the settings are seen to fit the run and nothing else to lie there."""
    if export.calibrate.method != "none" and isinstance(restored.settings.objective, NextItemConfig):
        raise ConfigError(
            f"export.calibrate.method: {folder.path.name} ranks items and gives no probabilities; use none"
        )
    into = Path(export.into or folder.path / "artifact")
    if into.exists() and not is_artifact(into):
        raise ConfigError(f"{into} is there and holds no artifact; set export.into to another place")
    if export.onnx and _beside(into).exists() and not (_beside(into) / ONNX).is_file():
        raise ConfigError(f"{_beside(into)} is there and holds no network as ONNX; set export.into to another place")
    return into


def _beside(into: Path) -> Path:
    """Where the network goes as ONNX."""
    return into.with_name(f"{into.name}_onnx")


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
