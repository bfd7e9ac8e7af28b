"""Score every row of a split with a trained model and measure it, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ctrgate import figures
from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError
from ctrgate.features.sources import SplitName
from ctrgate.files import atomic_file, write_json, writing
from ctrgate.gate_report.drawn import gate_figures
from ctrgate.gate_report.headline import headline
from ctrgate.heap import keep_heap
from ctrgate.progress import console
from ctrgate.tracking import Tracker, TrackingConfig, open_tracker

__all__ = ["Config", "EvaluateSettings", "run"]

_HEADLINE = (
    "num_rows",
    *("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece", "gauc"),
    *("ranking", "num_candidates", "unknown_targets", "seen_targets", "seen"),
)


@settings
class EvaluateSettings:
    """Which rows are measured, with which state of the model."""

    splits: Annotated[tuple[SplitName, ...], Field(min_length=1)] = ("valid", "test")
    """The splits; those that the dataset lacks are passed over."""
    which: Literal["best", "last"] = "best"
    """The checkpoint."""
    seed: int = 0
    """Of the bootstrap behind grouped AUC's interval."""


@settings
class Config:
    """The sections that ``evaluate`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    """What is measured."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the results are logged."""


def run(config: Config) -> dict[str, Any]:
    """Write ``evaluation/SPLIT.parquet`` (a logit for every row) and ``SPLIT.json`` (the metrics) beside the run.

    ``evaluation/gates.json`` says what the network's gates do on rows of the first split; a network that has neither
    gates nor cross matrices leaves none.

    Returns:
        ``run``, its folder, and by split ``num_rows``, ``rows_per_second`` and what was measured. Of clicks that is
        ``auc`` with its interval, ``log_loss``, ``normalized_entropy``, ``calibration_ratio``, ``ece`` and ``gauc``; of
        ranked items ``ranking``, ``num_candidates``, ``unknown_targets``, ``seen_targets`` and ``seen``.

    Raises:
        ConfigError: Where the run or all its splits are missing.
        DataError: Where not exactly the split's rows came out.
    """
    from ctrgate.training.evaluation import measured, observed  # bring torch, which the settings alone do not need
    from ctrgate.training.runs import RunFolder, restore

    keep_heap()
    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=config.evaluate.which)
    splits = [split for split in config.evaluate.splits if restored.prepared.num_rows(split)]
    if not splits:
        raise ConfigError(f"{restored.prepared.folder} has none of the splits {', '.join(config.evaluate.splits)}")
    tracker = open_tracker(config.tracking, folder=folder.path)
    tracker.start(run_name=config.name, params={}, tags={}, resume=True)
    step = restored.step
    results: dict[str, Any] = {"run": str(folder.path)}
    shifts = {"logit_shifts": restored.logit_shifts} if any(restored.logit_shifts) else {}
    try:
        for split in splits:
            scored, rate, result = measured(restored, split, seed=config.evaluate.seed)
            target = folder.path / "evaluation" / f"{split}.parquet"
            with writing(target, setting="runs"), atomic_file(target) as temporary:
                scored.write_parquet(temporary)
            write_json(target.with_suffix(".json"), {"step": step, "rows_per_second": rate, **shifts, **result})
            results[split] = {name: result[name] for name in _HEADLINE if name in result} | {"rows_per_second": rate}
            _log(tracker, split, result, step=step)
            _print(split, result)
            if split == splits[0]:
                seen = observed(restored, scored, split=split)
                _keep_gates(folder.path / "evaluation" / "gates.json", seen, tracker=tracker, step=step)
    finally:
        tracker.end()
    return results


def _keep_gates(path: Path, seen: Mapping[str, Any], *, tracker: Tracker, step: int) -> None:
    if not seen["gates"] and not seen["cross"]:
        path.unlink(missing_ok=True)
        return
    write_json(path, {"step": step, **seen})
    for name, figure in gate_figures(seen).items():
        tracker.figure(figure, name=name)
    if seen["gates"]:
        known = headline(seen)
        tracker.metrics({"gates/saturated": known.saturated, "gates/dead": known.dead}, step=step)
        console.print(f"gates: {known}", markup=False)


def _log(tracker: Tracker, split: str, result: Mapping[str, Any], *, step: int) -> None:
    if "ranking" in result:
        means = {f"{split}/{name}": estimate["value"] for name, estimate in result["ranking"].items()}
        tracker.metrics(means, step=step)
        return
    gauc = result["gauc"] or {}
    values = {
        "auc": result["auc"]["value"],
        "auc_low": result["auc"]["low"],
        "auc_high": result["auc"]["high"],
        "gauc": gauc.get("value"),
        **{name: result[name] for name in ("log_loss", "normalized_entropy", "calibration_ratio", "ece")},
    }
    tracker.metrics({f"{split}/{name}": value for name, value in values.items()}, step=step)
    if result["roc"]["false_positive_rate"]:
        tracker.figure(figures.roc(result["roc"], auc=result["auc"]["value"]), name=f"{split}_roc")
    tracker.figure(figures.reliability(result["reliability"]), name=f"{split}_calibration")


def _interval(name: str, of: Mapping[str, Any]) -> str:
    return f"{name} {of['value']:.4f} [{of['low']:.4f}, {of['high']:.4f}]"


def _print(split: str, result: Mapping[str, Any]) -> None:
    if "ranking" in result:
        means = ", ".join(_interval(name, of) for name, of in result["ranking"].items())
        console.print(
            f"{split}: {means}; {result['num_rows']:,} rows, {result['num_candidates']:,} candidates, seen items "
            f"{result['seen']}, {result['unknown_targets']:,} targets unknown",
            markup=False,
        )
        return
    auc = result["auc"]
    known = auc["low"] is not None
    interval = f"{auc['value']:.5f} [{auc['low']:.5f}, {auc['high']:.5f}]" if known else "not defined (one class)"
    console.print(
        f"{split}: AUC {interval}, log loss {result['log_loss']:.5f}, {result['num_rows']:,} rows", markup=False
    )
    entropy, ratio = result["normalized_entropy"], result["calibration_ratio"]
    if entropy is not None and entropy >= 1:
        console.print(
            f"{split}: probabilities are no better than the click rate for every row (normalised entropy "
            f"{entropy:.2f}, predicted to seen clicks {ratio:.2f}), whatever their order; train longer, choose by "
            "train.monitor=log_loss, or let export.calibrate mend them",
            markup=False,
        )
