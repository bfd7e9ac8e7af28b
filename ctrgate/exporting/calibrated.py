"""The curve from logits to click rates: fitted, and measured on rows that it was not fitted on."""

from __future__ import annotations

from typing import Any, Literal

from ctrgate.artifact.calibration import Calibration, Isotonic, Platt, log_odds
from ctrgate.artifact.settings import CalibrateSettings
from ctrgate.errors import DataError
from ctrgate.metrics.calibration import calibration_ratio, ece, log_loss
from ctrgate.metrics.pooled import PooledRows
from ctrgate.metrics.recalibration import fit_isotonic, fit_platt
from ctrgate.progress import console
from ctrgate.training.held_out import held_out
from ctrgate.training.runs import Restored

__all__ = ["fitted", "mended"]


def fitted(restored: Restored, calibrate: CalibrateSettings) -> Calibration | None:
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


def mended(calibration: Calibration, restored: Restored) -> dict[str, Any]:
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
