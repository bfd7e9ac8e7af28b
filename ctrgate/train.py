"""Fit a network on prepared rows; run again, it resumes or says that it is done."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ctrgate.cluster.settings import STOP_FILE, ClusterConfig
from ctrgate.config import dump, settings
from ctrgate.contracts import Batch, Output
from ctrgate.data.reader import Reader
from ctrgate.errors import ConfigError, Interrupted
from ctrgate.features.prepared import Prepared
from ctrgate.features.sampling import logit_shifts
from ctrgate.figures import learning_curve
from ctrgate.files import locked, write_json
from ctrgate.heap import keep_heap
from ctrgate.lookups.sharded import distribute
from ctrgate.masking import masked
from ctrgate.models.next_item import Items
from ctrgate.progress import console
from ctrgate.tracking import RUN_FILE, Tracker, TrackingConfig, open_tracker
from ctrgate.training.check import check_run
from ctrgate.training.checkpoint import Checkpoints
from ctrgate.training.loop import Fit
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.next_item import NextItemTask, items_of
from ctrgate.training.objective import ClickConfig, ClickObjective, SampledSoftmaxConfig
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.runs import RunSettings
from ctrgate.training.task import ClickTask, Task
from ctrgate.training.warm_start import Earlier, earlier_run, warm_start
from ctrgate.training.workers import ALONE, Workers

__all__ = ["Config", "run", "work"]

_TRAINED = "{} is trained already; train.restart=true trains it again"
_CURVE = "learning_curve"
_SEEDS_APART = 1_000_003
"""Between the workers' seeds of dropout and sampling; the first has the run's own."""


@settings
class Config(RunSettings):
    """The sections that ``train`` reads."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the run is logged."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Where ``train.workers`` run."""


def run(config: Config) -> dict[str, Any]:
    """Train, with the best and the last state under ``runs/NAME/checkpoints``.

    Returns:
        The run's folder, parameters, steps and epochs, the best epoch's step and all that was measured of it on valid,
        the median of rows per second, and the share of values that stay where they were searched.

    Raises:
        ConfigError: Before anything is written, where the settings do not fit the data or an earlier run of that name.
        Interrupted: After Ctrl-C or SIGTERM, with the state saved.
    """
    prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    check_run(config, prepared)
    _earlier(config, prepared)
    folder = config.folder
    with locked(folder.path.with_name(f".{folder.path.name}.lock"), what=f"the run {folder.path}"):
        fit = None if config.train.workers else _fit(config, prepared, ALONE)
        restarted = config.train.restart
        if restarted:  # from here on as without it: whoever goes on with the run must not begin it again
            if folder.path.exists():
                shutil.rmtree(folder.path)
            config = replace(config, train=replace(config.train, restart=False))
        resolved = dump(config)
        resolved["tracking"] = masked(resolved["tracking"])  # a URI may hold a password
        folder.begin(resolved, seed=config.seed, prepared=prepared)
        if fit is not None:
            _carry_out(config, prepared, fit)
        elif folder.checkpoints.progress().finished:
            console.print(_TRAINED.format(folder.path))
            _end_tracking(config, encoder=prepared.manifest.encoder)
        else:
            _on_workers(config, restarted=restarted)
        return _summary(config)


def _on_workers(config: Config, *, restarted: bool) -> None:
    from ctrgate.cluster.train import train_on_workers  # Ray, which only runs with workers need

    if not config.cluster.address:
        console.print(f"starting Ray on this machine for {config.train.workers} workers")
    train_on_workers(
        work,
        dump(config),
        num_workers=config.train.workers,
        cluster=config.cluster,
        folder=config.folder.path,
        restarted=restarted,
    )


def work(settings: Mapping[str, Any], workers: Workers) -> None:
    """What one of several workers does of a run that ``run`` has begun."""
    config = TypeAdapter(Config).validate_python(settings)
    prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    _carry_out(config, prepared, _fit(config, prepared, workers))


def _carry_out(config: Config, prepared: Prepared, fit: Fit) -> None:
    """Train what is left of a run, in this process as one of its workers."""
    folder = config.folder
    keep_heap()
    torch.manual_seed(config.seed + _SEEDS_APART * fit.workers.rank)
    earlier = _earlier(config, prepared)
    progress = fit.resume()
    if earlier is not None and config.train.warm_start is not None:
        console.print(f"warm start from {earlier.checkpoint}")
        warm_start(fit.model, fit.optimizer, warm=config.train.warm_start, earlier=earlier, layout=prepared.layout)
    if fit.workers.is_first:
        folder.cut_metrics(after_epoch=progress.epoch)
        write_json(folder.path / "model.json", {"parameters": fit.model.num_parameters})
    if progress.finished:
        console.print(_TRAINED.format(folder.path))
        if fit.workers.is_first:
            _end_tracking(config, encoder=prepared.manifest.encoder)
    else:
        _train(config, fit, encoder=prepared.manifest.encoder)
    if config.select is not None and fit.model.gates is not None and fit.workers.is_first:
        search = {
            "form": config.select.name,
            "penalty": config.select.penalty,
            "search_epochs": config.select.epochs,
        }
        write_json(folder.path / "selection.json", search | fit.model.gates.summary())


def _train(config: Config, fit: Fit, *, encoder: str) -> None:
    """The steps that are left, logged by the first worker as they come."""
    folder = config.folder
    console.print(
        f"{config.name}: {config.model.name}, {fit.model.num_parameters:,} parameters, {fit.train.num_rows:,} rows"
    )
    if fit.progress.step:
        console.print(f"resumed after step {fit.progress.step}, in epoch {fit.progress.epoch + 1}")
    if config.train.compile:
        console.print("the first step compiles the network, which takes some twenty seconds")
    if not fit.workers.is_first:
        fit.run(lambda _: None)
        return
    tracker = _tracker(config, encoder=encoder)

    def record(line: dict[str, float]) -> None:
        folder.append_metrics(line)
        tracker.metrics(line, step=int(line["step"]))

    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        fit.run(record)
        tracker.figure(learning_curve(folder.metrics()), name=_CURVE)
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def _tracker(config: Config, *, encoder: str) -> Tracker:
    """What logs a run: to the MLflow run that its folder names, however little of it was trained, or to a new one."""
    tracker = open_tracker(config.tracking, folder=config.folder.path)
    tags = {"ctrgate.encoder": encoder, "ctrgate.dataset": config.dataset.name}
    tracker.start(run_name=config.name, params=dump(config), tags=tags, resume=True)
    return tracker


def _end_tracking(config: Config, *, encoder: str) -> None:
    """Log what a kill after the last checkpoint has kept from MLflow: the learning curve, and that the run is done."""
    folder = config.folder.path
    begun = config.tracking.enabled and (folder / RUN_FILE).exists()
    if begun and not (folder / "figures" / f"{_CURVE}.png").exists():
        tracker = _tracker(config, encoder=encoder)
        tracker.figure(learning_curve(config.folder.metrics()), name=_CURVE)
        tracker.end("FINISHED")


def _earlier(config: Config, prepared: Prepared) -> Earlier | None:
    """What a warm start begins with."""
    warm = config.train.warm_start
    if warm is None or (config.folder.checkpoints.find("last") and not config.train.restart):
        return None
    if config.select is not None:
        raise ConfigError("train.warm_start: values are searched from the start of a run; leave select out")
    return earlier_run(warm, prepared=prepared, tables=config.tables)


def _fit(config: Config, prepared: Prepared, workers: Workers) -> Fit:
    """Everything of the run, built from its settings; nothing is written yet."""
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    layout = prepared.layout
    model = build_model(
        config.model,
        layout=layout,
        tables=config.tables,
        seed=config.seed,
        select=config.select,
        precision=config.train.precision,
        candidates=_drawn(config, prepared),
        sharded=workers.count > 1,
        device=torch.device(config.train.device),
    )
    if config.train.compile:
        model.compile_for(config.train.batch_size)
    forward = _spread(config, model) if workers.count > 1 else None
    return Fit(
        model=model,
        forward=forward,
        optimizer=Optimizer(model, train=config.train, tables=config.tables, select=config.select),
        task=_task(config, prepared, model, workers),
        train=Reader(prepared.files("train"), layout=layout),
        valid=Reader(prepared.files("valid"), layout=layout) if prepared.num_rows("valid") else None,
        settings=config.train,
        tables=config.tables,
        seed=config.seed,
        checkpoints=Checkpoints(config.folder.path / "checkpoints", workers),
        select=config.select,
        workers=workers,
        stop_file=config.folder.path / STOP_FILE if config.train.workers else None,
    )


def _spread(config: Config, model: CtrModel) -> Callable[[Batch], tuple[Output, torch.Tensor]]:
    """The model over the workers of torch's process group: what is called in its place in training."""
    memory = None if config.cluster.memory_gb is None else int(config.cluster.memory_gb * 2**30)
    forward, placed = distribute(model, kinds=config.cluster.sharding, device=torch.device("cpu"), memory_bytes=memory)
    model.lookups.start(seed=config.seed)
    for table, workers in placed.items():
        console.print(f"table {table}: {workers}")
    return forward


def _task(config: Config, prepared: Prepared, model: CtrModel, workers: Workers) -> Task:
    objective = config.objective
    if isinstance(objective, ClickConfig):
        labels = prepared.layout.labels
        shifts = logit_shifts(labels, prepared.manifest.negative_sampling_rate)
        weights = torch.tensor([objective.label_weights.get(name, 1.0) for name in labels])
        return ClickTask(ClickObjective(weights), workers, shifts=shifts)
    items = items_of(prepared.layout, config.model, objective)
    drawn_by_popularity = isinstance(objective.loss, SampledSoftmaxConfig) and objective.loss.popularity
    events = _events(prepared, items) if drawn_by_popularity else None
    rows = model.lookups.dense_tables().get(items.table)
    return NextItemTask(objective, items=items, events=events, rows=rows, workers=workers)


def _events(prepared: Prepared, items: Items) -> NDArray[np.int64]:
    """How often each row of the items' table stands in train, ``(V,)``: in histories and as a target."""
    files = pl.scan_parquet(prepared.files("train"))
    ids = [files.select(pl.col(items.target)), files.select(pl.col(items.history).explode().alias(items.target))]
    return np.bincount(pl.concat(ids).drop_nulls().collect().to_series(), minlength=items.num_rows)


def _drawn(config: Config, prepared: Prepared) -> tuple[str, int] | None:
    """What the loss looks up besides: the table, and the most rows for an example."""
    if isinstance(config.objective, ClickConfig):
        return None
    return NextItemTask.candidates(config.objective, items_of(prepared.layout, config.model, config.objective))


def _summary(config: Config) -> dict[str, Any]:
    lines, progress = config.folder.metrics(), config.folder.checkpoints.progress()
    best = next((line for line in lines if line["step"] == progress.best_step), lines[-1])
    return {
        "run": str(config.folder.path),
        "parameters": json.loads((config.folder.path / "model.json").read_text())["parameters"],
        "steps": progress.step,
        "epochs": progress.epoch,
        "best_step": progress.best_step,
        "valid": {name.removeprefix("valid/"): value for name, value in best.items() if name.startswith("valid/")},
        **({"feature_ratio": best["feature_ratio"]} if "feature_ratio" in best else {}),
        "rows_per_second": statistics.median(line["rows_per_second"] for line in lines),
    }
