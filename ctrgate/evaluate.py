"""Score every row of a split with a trained model and measure it, with intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ctrgate import figures
from ctrgate.config import Place, settings
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.layout import Layout, SequenceGroup, role_column
from ctrgate.features.prepared import Prepared
from ctrgate.features.sources import SplitName
from ctrgate.files import atomic_file, write_json, writing
from ctrgate.gate_report import gate_figures, headline
from ctrgate.heap import keep_heap
from ctrgate.metrics.summary import evaluate_scores
from ctrgate.models.inputs import plan_inputs
from ctrgate.progress import console
from ctrgate.tracking import Tracker, TrackingConfig, open_tracker
from ctrgate.training.next_item import items_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.observer import has_gates, observe
from ctrgate.training.predict import EVALUATION_BATCH, outputs
from ctrgate.training.ranked import measure_ranks, ranked
from ctrgate.training.runs import Restored, RunFolder, restore
from ctrgate.training.task import logits_of

__all__ = ["Config", "EvaluateSettings", "run"]

_HEADLINE = (
    "num_rows",
    *("auc", "log_loss", "normalized_entropy", "calibration_ratio", "ece", "gauc"),
    *("ranking", "num_candidates", "unknown_targets", "seen_targets", "seen"),
)
_GATE_BATCHES = 4  # at most 65,536 rows tell enough of the gates


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
        By split the number of rows, AUC with interval, log loss, normalised entropy, calibration ratio and grouped AUC.

    Raises:
        ConfigError: Where the run or all its splits are missing.
        DataError: Where not exactly the split's rows came out.
    """
    keep_heap()
    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=config.evaluate.which)
    splits = [split for split in config.evaluate.splits if restored.prepared.num_rows(split)]
    if not splits:
        raise ConfigError(f"{restored.prepared.folder} has none of the splits {', '.join(config.evaluate.splits)}")
    tracker = open_tracker(config.tracking, folder=folder.path)
    tracker.start(run_name=config.name, params={}, tags={}, resume=True)
    step = int(restored.checkpoint.name.removeprefix("step-"))
    results: dict[str, Any] = {"run": str(folder.path)}
    shifts = {"logit_shifts": restored.logit_shifts} if any(restored.logit_shifts) else {}
    try:
        for split in splits:
            scored, rate, result = _measured(restored, split, seed=config.evaluate.seed)
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


def _measured(restored: Restored, split: SplitName, *, seed: int) -> tuple[pl.DataFrame, float, dict[str, Any]]:
    """A split's rows with what the model says of them, rows per second, and the metrics."""
    objective, layout = restored.settings.objective, restored.layout
    lengths = [_events(restored.prepared, split, group) for group in layout.sequences]
    if not isinstance(objective, NextItemConfig):
        scored, rate = _scored(restored, split)
        scored = scored.with_columns(lengths)
        return scored, rate, measure(scored, layout=layout, seed=seed)
    scored, rate = ranked(restored, split, objective=objective)
    scored = scored.with_columns(lengths)
    items, groups = items_of(layout, restored.settings.model, objective), _role(scored, layout, "group")
    return scored, rate, measure_ranks(scored, objective=objective, items=items, groups=groups, seed=seed)


def measure(scored: pl.DataFrame, *, layout: Layout, seed: int) -> dict[str, Any]:
    """All metrics of the first label, and under ``labels`` those of the others; a row without a label is left out.

    Raises:
        DataError: Where no row has the label.
    """
    by_label = {}
    for name in layout.labels:
        known = scored.filter(pl.col(role_column("label", name)).is_not_nan())
        if known.is_empty():
            raise DataError(f"no row has a value of label {name}; there is nothing to measure")
        by_label[name] = evaluate_scores(
            known[role_column("label", name)].to_numpy(),
            known[f"logit:{name}"].to_numpy(),
            weights=_role(known, layout, "weight"),
            groups=_role(known, layout, "group"),
            segments=_segments(known),
            seed=seed,
        )
    first, *others = layout.labels
    return {**by_label[first], "labels": {name: by_label[name] for name in others}}


def observed(restored: Restored, scored: pl.DataFrame, *, split: SplitName) -> dict[str, Any]:
    """What the network's gates do on up to 65,536 rows, whole batches spread evenly over the split.

    A pass of its own, so that scores and their speed are those of the network alone.

    Args:
        restored: The run.
        scored: All rows of the split in their order, with their segments.
        split: Which.
    """
    network, layout = restored.model.network, restored.layout
    inputs = plan_inputs(layout, restored.settings.tables, restored.settings.model.embeddings(layout))
    reader, order = Reader(restored.prepared.files(split), layout=layout), Order(batch_size=EVALUATION_BATCH)
    places = np.linspace(0, reader.num_batches(order) - 1, _GATE_BATCHES).round().astype(int)
    chosen = np.unique(places).tolist() if has_gates(network) else []
    starts = [number * EVALUATION_BATCH for number in chosen]
    parts = [np.arange(start, min(start + EVALUATION_BATCH, reader.num_rows)) for start in starts]
    rows = np.concatenate([np.arange(0), *parts])
    batches = chain.from_iterable(islice(reader.batches(replace(order, first_batch=number)), 1) for number in chosen)
    with observe(network, inputs=inputs, segments=_segments(scored[rows])) as observer:
        for _ in outputs(restored.model, batches, num_rows=len(rows), title="gates"):
            pass  # the observer has seen the batch
    return {"split": split, **observer.summary()}


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


def _scored(restored: Restored, split: SplitName) -> tuple[pl.DataFrame, float]:
    """Every row of a split in its order: logits in float64, labels and roles; and the rows per second."""
    layout, files = restored.layout, restored.prepared.files(split)
    reader = Reader(files, layout=layout)
    if reader.num_rows != restored.prepared.num_rows(split):
        raise DataError(f"{split} has {reader.num_rows} rows, its manifest says {restored.prepared.num_rows(split)}")
    started = time.monotonic()
    batches = reader.batches(Order(batch_size=EVALUATION_BATCH))
    said = logits_of(restored.model, batches, num_rows=reader.num_rows, title=split, shifts=restored.logit_shifts)
    parts = [logits for _, logits in said]
    rate = reader.num_rows / (time.monotonic() - started)
    logits = np.concatenate(parts)
    columns = [role_column("label", name) for name in layout.labels]
    columns += [column for role, names in layout.roles.items() if role != "order" for column in names]
    roles = pl.scan_parquet(files).select(list(dict.fromkeys(columns))).collect()
    named = [pl.Series(f"logit:{name}", logits[:, i]) for i, name in enumerate(layout.labels)]
    return roles.with_columns(*named), rate


def _events(prepared: Prepared, split: SplitName, group: SequenceGroup) -> pl.Series:
    """A segment by the number of a row's past events: up to 3, the rest of train's lowest fifth, and more."""
    length = pl.col(group.members[0].column).list.len()
    lowest = pl.scan_parquet(prepared.files("train")).select(length.quantile(0.2, "lower")).collect().item()
    most = max(3, int(lowest))
    named = pl.when(length <= 3).then(pl.lit("0 to 3")).when(length <= most).then(pl.lit(f"4 to {most}"))
    rows = pl.scan_parquet(prepared.files(split)).select(named.otherwise(pl.lit(f"more than {most}"))).collect()
    return rows.to_series().alias(f"segment:events in {group.name}")


def _segments(scored: pl.DataFrame) -> dict[str, NDArray[Any]]:
    """The segments of scored rows by name: those of the dataset's roles, and those by the length of histories."""
    columns = [column for column in scored.columns if column.startswith("segment:")]
    return {column.removeprefix("segment:"): scored[column].to_numpy() for column in columns}


def _role(rows: pl.DataFrame, layout: Layout, role: Literal["weight", "group"]) -> NDArray[Any] | None:
    return next((rows[column].to_numpy() for column in layout.roles.get(role, ())), None)


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
