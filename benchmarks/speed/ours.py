"""What ctrgate does in a turn of the stages that run a network."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from tempfile import mkdtemp
from typing import Literal

import torch

from benchmarks.speed.place import Place
from benchmarks.speed.size import BATCH, TURN_ROWS
from benchmarks.speed.turns import Turn
from ctrgate import export, score, train
from ctrgate.contracts import Batch
from ctrgate.data.prefetch import prefetch
from ctrgate.data.reader import Order, Reader
from ctrgate.heap import keep_heap
from ctrgate.training.checkpoint import Checkpoints
from ctrgate.training.loop import Fit
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.objective import ClickObjective
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.task import ClickTask

__all__ = ["batches", "evaluate_side", "export_side", "fit_of", "read_side", "score_side", "steps", "train_side"]


def batches(place: Place) -> Iterator[Batch]:
    """Batches of the turn's rows, in another order each time, without an end."""
    reader = Reader([place.turn], layout=place.layout)
    for epoch in itertools.count():
        yield from reader.batches(Order(batch_size=BATCH, seed=1, epoch=epoch))


def read_side(place: Place) -> Turn:
    """Encoded Parquet to shuffled batches, in this thread."""
    source = batches(place)
    return lambda: sum(next(source).num_rows for _ in range(TURN_ROWS // BATCH))


def train_side(
    place: Place, *, rule: Literal["fused", "dense"], precision: Literal["fp32", "bf16"], compiled: str = ""
) -> Turn:
    """Steps of training as ``train`` takes them, with the reader working ahead; ``compiled``, as ``train.compile``."""
    keep_heap()
    fit = fit_of(place, rule=rule, precision=precision, compiled=bool(compiled))
    return steps(fit, prefetch(batches(place)))


def steps(fit: Fit, source: Iterator[Batch]) -> Turn:
    """A turn's steps on the next batches, until the device is done with them."""

    def turn() -> int:
        loss = torch.zeros((), device=fit.model.device)
        for _ in range(TURN_ROWS // BATCH):
            loss += fit.step(next(source)).loss
        assert torch.isfinite(loss)
        return TURN_ROWS

    return turn


def fit_of(
    place: Place,
    *,
    rule: Literal["fused", "dense"],
    precision: Literal["fp32", "bf16"],
    compiled: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Fit:
    """The place's network before its first step, as ``train`` builds it."""
    settings = {"precision": precision, "device": device}
    config = place.settings(train.Config, tables={"rule": {"name": rule}}, train=settings)
    model = _model(config, place)
    if compiled:
        model.compile_for(BATCH)
    return Fit(
        model=model,
        optimizer=Optimizer(model, train=config.train, tables=config.tables),
        task=ClickTask(ClickObjective(torch.ones(1, device=model.device))),
        train=Reader([place.turn], layout=place.layout),
        valid=None,
        settings=config.train,
        tables=config.tables,
        seed=config.seed,
        checkpoints=Checkpoints(place.folder / "none"),
    )


def evaluate_side(place: Place, *, precision: Literal["fp32", "bf16"]) -> Turn:
    """AUC and log loss of prepared rows, as after each epoch of training."""
    keep_heap()
    model = _model(place.settings(train.Config, train={"precision": precision}), place)
    task, reader = ClickTask(ClickObjective(torch.ones(1))), Reader([place.turn], layout=place.layout)

    def turn() -> int:
        task.measure(model, reader, title="valid")
        return TURN_ROWS

    return turn


def _model(config: train.Config, place: Place) -> CtrModel:
    return build_model(
        config.model,
        layout=place.layout,
        tables=config.tables,
        seed=config.seed,
        precision=config.train.precision,
        device=torch.device(config.train.device),
    )


def export_side(place: Place) -> Turn:
    """The verb ``export``, its proofs included; a row is a row of the tables."""

    def turn() -> int:
        into = mkdtemp(dir=place.folder)
        export.run(place.settings(export.Config, export={"into": f"{into}/artifact"}))
        shutil.rmtree(into)
        return sum(place.layout.tables.values())

    return turn


def score_side(place: Place) -> Turn:
    """The verb ``score``, from raw Parquet to Parquet with scores."""

    def turn() -> int:
        into = mkdtemp(dir=place.folder)
        rows = score.run(place.settings(score.Config, score={"into": f"{into}/scores"}))["rows"]
        shutil.rmtree(into)
        return int(rows)

    return turn
