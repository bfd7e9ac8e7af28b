"""The trials of a search: what may be searched, drawn settings that make valid runs, and each trial's run file."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctrgate.config import faults_of
from ctrgate.errors import ConfigError
from ctrgate.tuning.settings import TuneSettings
from ctrgate.tuning.space import draw

__all__ = ["Trial", "changed", "plan", "trial_name"]

_SECTIONS = ("tables", "model", "objective", "train", "select")
_RULED = {
    "train.epochs": "set tune.max_epochs",
    "train.monitor": "set tune.metric",
    "train.workers": "a trial is one process; set tune.parallel",
    "train.restart": "set tune.restart",
    "objective": "metrics of different objectives cannot be compared",
    "objective.name": "metrics of different objectives cannot be compared",
    "objective.cutoffs": "metrics at different cutoffs cannot be compared",
}
_ATTEMPTS = 200  # at one trial, before the space is taken to hold no other


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Args:
        number: From 0.
        settings: What was drawn, by path.
        values: Its whole run file.
    """

    number: int
    settings: Mapping[str, Any]
    values: Mapping[str, Any]


def trial_name(number: int) -> str:
    """The name of a trial's folder."""
    return f"{number:03d}"


def plan(base: Mapping[str, Any], tune: TuneSettings, *, into: type) -> list[Trial]:
    """Draw the trials, all different and all valid runs.

    A drawn trial that is no valid run although the ends of each range are (four heads and a width of 30, say) is
    drawn again; so is one that an earlier trial equals.

    Args:
        base: The run file's values, which trials change.
        tune: The search.
        into: The settings class of a trial.

    Raises:
        ConfigError: With every fault of the space at once, or where it has too few different trials.
    """
    found = _faults(base, tune, into=into)
    if found:
        raise ConfigError("tune.space cannot be searched:\n" + "\n".join(f"  {fault}" for fault in found))
    size = math.prod(of.size for of in tune.space.values())
    if tune.trials > size:
        raise ConfigError(f"tune.trials: the space has only {size} different trials, not {tune.trials}; widen it")
    seen: set[str] = set()
    trials: list[Trial] = []
    for number in range(tune.trials):
        trials.append(_next(base, tune, into=into, number=number, seen=seen))
    return trials


def changed(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with settings put in their places.

    Raises:
        KeyError: With the part of a path that is there no section.

    Example:
        >>> changed({"train": {"epochs": 3}}, {"train.batch_size": 8})
        {'train': {'epochs': 3, 'batch_size': 8}}
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for path, value in settings.items():
        *outer, name = path.split(".")
        place = result
        for depth, key in enumerate(outer):
            if not isinstance(place.get(key), dict):
                raise KeyError(".".join(outer[: depth + 1]))
            place = place[key]
        place[name] = copy.deepcopy(list(value) if isinstance(value, tuple) else value)
    return result


def _next(base: Mapping[str, Any], tune: TuneSettings, *, into: type, number: int, seen: set[str]) -> Trial:
    refused: list[str] = []
    for attempt in range(_ATTEMPTS):
        settings = draw(tune.space, seed=tune.seed, trial=number, attempt=attempt)
        text = json.dumps(settings, sort_keys=True)
        if text in seen:
            continue
        values = changed(base, settings)
        refused = faults_of(values, into)
        if not refused:
            seen.add(text)
            return Trial(number=number, settings=settings, values=values)
    why = f"; the last one drawn was no valid run: {'; '.join(refused)}" if refused else ""
    raise ConfigError(
        f"tune.trials: in {_ATTEMPTS} draws there was no further trial after {number} different ones; widen the space "
        f"or ask for {number} trials{why}"
    )


def _faults(base: Mapping[str, Any], tune: TuneSettings, *, into: type) -> list[str]:
    """Of every setting, that it may be searched, is there, and has ends that make valid runs."""
    found = []
    for path, of in tune.space.items():
        section = path.partition(".")[0]
        within = [other for other in tune.space if path.startswith(f"{other}.")]
        if section not in _SECTIONS:
            found.append(f"{path}: only settings of {', '.join(_SECTIONS)} can be searched")
        elif path in _RULED:
            found.append(f"{path}: cannot be searched; {_RULED[path]}")
        elif within:
            found.append(f"{path}: lies within {within[0]}, which is searched as a whole; leave one of them out")
        else:
            found += [fault for corner in of.corners for fault in _faults_at(base, path, corner, into=into)]
    return list(dict.fromkeys(found))


def _faults_at(base: Mapping[str, Any], path: str, value: Any, *, into: type) -> list[str]:
    try:
        values = changed(base, {path: value})
    except KeyError as error:
        return [f"{path}: there is no section {error.args[0]} in this run; search it as a whole, or write it out"]
    found = faults_of(values, into)
    return [fault if ": no such " in fault else f"{path} = {json.dumps(value)}: {fault}" for fault in found]
