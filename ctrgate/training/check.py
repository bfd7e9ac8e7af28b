"""Whether a run can be trained, asked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping

from ctrgate.compiler import need_compiler
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.prepared import Prepared
from ctrgate.gpu import need_gpu
from ctrgate.models.network import is_causal, task_of
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import DenseRule
from ctrgate.training.next_item import NextItemTask
from ctrgate.training.objective import NextItemConfig, SoftmaxConfig
from ctrgate.training.runs import RunSettings
from ctrgate.training.task import ClickTask

__all__ = ["check_run", "monitors"]


def monitors(model: ModelConfig) -> Mapping[str, bool]:
    """The metrics of valid that a network's run may be chosen by, the default first; whether more is better."""
    return (NextItemTask if task_of(model) == "next_item" else ClickTask).larger_is_better


def check_run(config: RunSettings, prepared: Prepared) -> None:
    """Refuse what would otherwise fail only after the first epoch.

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
        _check_next_item(config, config.objective)
    else:
        _check_click(config, prepared)


def _check_next_item(config: RunSettings, objective: NextItemConfig) -> None:
    if objective.positions == "all" and not is_causal(config.model):
        raise ConfigError(
            f"objective.positions: {config.model.name} looks ahead, so that all positions at once would show it what "
            "it is to predict; use last"
        )
    if isinstance(objective.loss, SoftmaxConfig) and not isinstance(config.tables.rule, DenseRule):
        raise ConfigError("objective.loss.name: softmax over all items needs tables.rule.name: dense")
    if config.select is not None:
        raise ConfigError("select: values are searched for click models only; leave it out")


def _check_click(config: RunSettings, prepared: Prepared) -> None:
    layout, splits = prepared.layout, prepared.manifest.splits
    if not layout.labels:
        raise ConfigError("objective.name: click needs a label; name its column in dataset.labels")
    if config.train.monitor == "gauc" and not layout.roles.get("group"):
        raise ConfigError("train.monitor: gauc needs users; name their column in dataset.roles.group")
    for split in ("train", "valid"):
        label = layout.labels[0]
        if split in splits and splits[split].positives[label] in (0, splits[split].num_rows):
            raise DataError(
                f"all rows of {split} have the same {label}, so AUC does not exist; split the rows otherwise"
            )
