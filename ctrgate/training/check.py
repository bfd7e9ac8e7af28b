"""Whether a run can be trained, asked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from ctrgate.compiler import need_compiler
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.prepared import Prepared
from ctrgate.gpu import need_gpu
from ctrgate.models.network import Network, is_causal, task_of
from ctrgate.models.plan import plan_inputs
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import DenseRule
from ctrgate.training.next_item import NextItemTask, items_of
from ctrgate.training.objective import ClickConfig, NextItemConfig, SoftmaxConfig
from ctrgate.training.runs import RunSettings
from ctrgate.training.task import ClickTask

__all__ = ["check_run", "monitors"]


def monitors(model: ModelConfig) -> Mapping[str, bool]:
    """The metrics of valid that a network's run may be chosen by, the default first; whether more is better."""
    return (NextItemTask if task_of(model) == "next_item" else ClickTask).larger_is_better


def check_run(config: RunSettings, prepared: Prepared) -> None:
    """Refuse what would otherwise fail once the run's folder is there: in its workers, or after the first epoch.

    Args:
        config: The run.
        prepared: Its rows.

    Raises:
        ConfigError: Where settings do not fit one another, the rows, or the machine.
        DataError: Where all labels of a split are the same.
    """
    task = task_of(config.model)
    if task != config.objective.name:
        raise ConfigError(f"model.name: {config.model.name} is for objective.name: {task}, not {config.objective.name}")
    if config.train.compile:
        if config.train.workers > 1:
            raise ConfigError("train.compile: networks of several workers are not compiled; use one or the other")
        need_compiler("train.compile", otherwise="leave it out")
    if config.train.device == "cuda":
        if config.train.workers > 1:
            raise ConfigError("train.device: several workers train on processors; use train.workers=0 on a GPU")
        need_gpu("train.device")
    known = monitors(config.model)
    if config.train.monitor is not None and config.train.monitor not in known:
        raise ConfigError(f"train.monitor: {config.train.monitor} is not measured here; use {', '.join(known)}")
    if isinstance(config.objective, NextItemConfig):
        _check_next_item(config, config.objective, prepared)
    else:
        _check_click(config, config.objective, prepared)
    inputs = plan_inputs(prepared.layout, config.tables, config.model.embeddings(prepared.layout))
    if config.train.workers:
        Network(config.model, inputs=inputs)  # for what it refuses; one process builds it before anything is written
        _check_slices(config, prepared)


def _check_slices(config: RunSettings, prepared: Prepared) -> None:
    train, num_workers = Reader(prepared.files("train"), layout=prepared.layout), config.train.workers
    order = Order(batch_size=config.train.batch_size, seed=config.seed, num_workers=num_workers)
    if train.smallest_slice(order) < min(2, train.num_rows):
        raise ConfigError(
            f"train.batch_size: of {config.train.batch_size} rows {num_workers} workers would at times get fewer "
            "than two each; use larger batches or fewer workers"
        )


def _check_next_item(config: RunSettings, objective: NextItemConfig, prepared: Prepared) -> None:
    if objective.positions == "all" and not is_causal(config.model):
        raise ConfigError(
            f"objective.positions: {config.model.name} looks ahead, so that all positions at once would show it what "
            "it is to predict; use last"
        )
    if isinstance(objective.loss, SoftmaxConfig) and not isinstance(config.tables.rule, DenseRule):
        raise ConfigError("objective.loss.name: softmax over all items needs tables.rule.name: dense")
    if config.select is not None:
        raise ConfigError("select: values are searched for click models only; leave it out")
    items_of(prepared.layout, config.model, objective)


def _check_click(config: RunSettings, objective: ClickConfig, prepared: Prepared) -> None:
    layout, splits = prepared.layout, prepared.manifest.splits
    if not layout.labels:
        raise ConfigError("objective.name: click needs a label; name its column in dataset.labels")
    unknown = [name for name in objective.label_weights if name not in layout.labels]
    if unknown:
        raise ConfigError(
            f"objective.label_weights names {', '.join(unknown)}; the labels are {', '.join(layout.labels)}"
        )
    if config.train.monitor == "gauc" and not layout.roles.get("group"):
        raise ConfigError("train.monitor: gauc needs users; name their column in dataset.roles.group")
    for split in ("train", "valid"):
        label = layout.labels[0]
        if split in splits and splits[split].positives[label] in (0, splits[split].num_rows):
            raise DataError(
                f"all rows of {split} have the same {label}, so AUC does not exist; split the rows otherwise"
            )
