"""What is drawn from a space of settings, and what is refused of one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctrgate import train, tune
from ctrgate.config import faults_of
from ctrgate.errors import ConfigError
from ctrgate.tuning.plan import plan
from ctrgate.tuning.space import Range, draw, unit
from tests.tuning.conftest import SPACE, drawn, loaded

# Ranges


@pytest.mark.parametrize(
    ("form", "low", "high"),
    [
        ({"uniform": (-1.0, 3.0)}, -1.0, 3.0),
        ({"log_uniform": (1e-5, 1e-1)}, 1e-5, 1e-1),
        ({"int": (2, 5)}, 2, 5),
        ({"log_int": (1, 100)}, 1, 100),
        ({"uniform": (0.0, 0.5), "step": 0.2}, 0.0, 0.4),
        ({"int": (8, 70), "step": 16}, 8, 56),
        ({"log_int": (4, 64), "step": 4}, 4, 64),
    ],
)
def test_values_lie_within_the_ends_and_reach_both(form: dict[str, Any], low: float, high: float) -> None:
    of = Range(**form)
    values = [of.at(place) for place in np.linspace(0, 1, 20_001)[:-1]]
    assert of.corners == (low, high)
    assert (min(values), max(values)) == pytest.approx((low, high), rel=1e-3)
    assert all(low <= value <= high for value in values)
    whole = "int" in form or "log_int" in form
    assert all(isinstance(value, int) == whole for value in values)
    if "step" in form:
        assert len(set(values)) == of.size
        assert all(math.isclose((value - low) / form["step"], round((value - low) / form["step"])) for value in values)


def test_each_factor_is_alike_likely_on_a_logarithmic_range_and_each_value_on_others() -> None:
    places = (np.arange(30_000) + 0.5) / 30_000
    decades = np.floor(np.log10([Range(log_uniform=(1e-4, 1e-1)).at(place) for place in places]))
    assert np.unique(decades, return_counts=True)[1] == pytest.approx([10_000] * 3, abs=2)
    for of in (Range(int=(3, 5)), Range(choice=("a", "b", "c")), Range(uniform=(0.0, 0.2), step=0.1)):
        assert np.unique([of.at(place) for place in places], return_counts=True)[1].tolist() == [10_000] * 3
    halves = [Range(log_int=(1, 63)).at(place) < 8 for place in places]  # 1 to 7, and 8 to 63: a factor of 8 each
    assert sum(halves) == 15_000


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "give one of uniform, log_uniform, int, log_int, choice; this has none"),
        ({"uniform": [0, 1], "int": [0, 1]}, "this has uniform and int"),
        ({"uniform": [1, 1]}, r"uniform: the first end must be below the second, got \[1, 1\]"),
        ({"log_uniform": [0, 1]}, r"log_uniform: the ends must be above 0, got \[0, 1\]"),
        ({"int": [1, 8], "step": 0.5}, "whole numbers need a whole step, got 0.5"),
        ({"uniform": [0, 1], "step": 2}, "step: 2 is more than the whole range from 0 to 1"),
        ({"choice": [1, 2], "step": 1}, "a choice has none"),
        ({"int": [1.5, 8]}, "got 1.5"),
        ({"log_unifrom": [1, 2]}, "log_unifrom: no such setting; did you mean log_uniform?"),
    ],
)
def test_a_range_that_is_none_is_told(write: Callable[..., Path], form: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"tune.space.train.learning_rate.*{said}"):
        loaded(write(space={"train.learning_rate": form}))


# What is drawn


def test_units_are_spread_evenly_and_never_change() -> None:
    values = np.array([unit(f"{number}") for number in range(20_000)])
    assert np.histogram(values, bins=10, range=(0, 1))[0] == pytest.approx([2_000] * 10, abs=200)
    assert unit("a") == (0xCA978112CA1BBDCA >> 11) / 2**53  # the head of its SHA-256


def test_what_is_drawn_depends_on_seed_number_and_path_alone() -> None:
    space = {path: Range(**form) for path, form in SPACE.items()}
    turned = dict(reversed(space.items()))
    assert draw(space, seed=3, trial=5) == draw(turned, seed=3, trial=5)
    one = {"tables.dim": space["tables.dim"]}
    assert [draw(one, seed=3, trial=number)["tables.dim"] for number in range(20)] == [
        draw(space, seed=3, trial=number)["tables.dim"] for number in range(20)
    ]
    rates = [draw(space, seed=seed, trial=trial)["train.learning_rate"] for seed in range(5) for trial in range(5)]
    assert len(set(rates)) == 25


def test_more_trials_keep_those_that_were_and_all_differ(write: Callable[..., Path]) -> None:
    path = write()
    few, many = drawn(path), drawn(path, "tune.trials=30")
    assert list(many) == [f"{number:03d}" for number in range(30)]
    assert list(many.values())[:6] == list(few.values())
    assert len({json.dumps(settings) for settings in many.values()}) == 30
    assert drawn(path, "tune.seed=1") != few
    assert drawn(path, "seed=9", "tune.parallel=4") == few


def test_a_drawn_trial_that_is_no_valid_run_is_drawn_again(write: Callable[..., Path]) -> None:
    """Heads must divide the streams' widths of 16 and 8: 3, 5, 6 and 7 do not, though both ends do."""
    heads = {settings["model.num_heads"] for settings in drawn(write(), "tune.trials=30").values()}
    assert heads == {1, 2, 4, 8}


def test_a_space_with_too_few_trials_is_told(write: Callable[..., Path]) -> None:
    small = {"tables.dim": {"choice": [4, 8]}, "model.mlp1.dropout": {"uniform": [0, 0.2], "step": 0.1}}
    assert len(drawn(write(space=small))) == 6
    with pytest.raises(ConfigError, match="the space has only 6 different trials, not 7"):
        drawn(write(space=small, trials=7))
    with pytest.raises(ConfigError, match=r"no further trial after 4 different ones.*no valid run: .*does not divide"):
        drawn(write(space={"model.num_heads": {"int": [1, 8]}}))


def test_a_trial_is_the_run_file_with_its_settings(write: Callable[..., Path]) -> None:
    sections = {"choice": [{"name": "dnn", "mlp": {"hidden": [8]}}, {"name": "fm"}]}
    path = write(space={"model": sections, "tables.rule.l2": {"choice": [0.0, 0.1]}}, trials=4, max_epochs=7)
    config = loaded(path)
    base = tune._base(config, metric="auc")
    trials = plan(base, config.tune, into=tune._TrialConfig)
    assert {(trial.values["model"]["name"], trial.values["tables"]["rule"]["l2"]) for trial in trials} == {
        (name, l2) for name in ("dnn", "fm") for l2 in (0.0, 0.1)
    }
    for trial in trials:
        assert faults_of(trial.values, train.Config) == []
        assert (trial.values["train"]["epochs"], trial.values["train"]["monitor"]) == (7, "auc")
        assert trial.values["seed"] == base["seed"] == 3
        rest = {name: values for name, values in trial.values.items() if name not in ("model", "tables")}
        assert rest == {name: values for name, values in base.items() if name not in ("model", "tables")}


# What is refused


def test_all_faults_of_a_space_are_told_at_once(write: Callable[..., Path]) -> None:
    space = {
        "train.bath_size": {"int": [32, 64]},
        "train.learning_rate": {"uniform": [0, 0.1]},
        "model.num_heads": {"choice": [2, 7]},
        "model.mlp1.dropout": {"uniform": [0, 1.5]},
        "dataset.name": {"choice": ["a", "b"]},
        "train.epochs": {"int": [1, 5]},
        "seed": {"int": [1, 5]},
        "train.warm_start.decay": {"uniform": [0.1, 0.5]},
        "model.mlp2": {"choice": [{"hidden": [8]}]},
        "model.mlp2.dropout": {"uniform": [0, 0.5]},
    }
    with pytest.raises(ConfigError) as told:
        drawn(write(space=space))
    head, *found = str(told.value).splitlines()
    assert head == "tune.space cannot be searched:"
    expected = [
        "train.bath_size: no such setting; did you mean batch_size?",
        "train.learning_rate = 0.0: train.learning_rate: input should be greater than 0",
        "model.num_heads = 7: model: num_heads 7 does not divide mlp1's last width 16",
        "model.mlp1.dropout = 1.5: model.mlp1.dropout: input should be less than",
        "dataset.name: only settings of tables, model, objective, train, select can be searched",
        "train.epochs: cannot be searched; set tune.max_epochs",
        "seed: only settings of tables",
        "train.warm_start.decay: there is no section train.warm_start in this run; search it as a whole",
        "model.mlp2.dropout: lies within model.mlp2, which is searched as a whole; leave one of them out",
    ]
    assert len(found) == len(expected), found
    for line, part in zip(sorted(found), sorted(expected), strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tune.metric=ndcg", "tune.metric: ndcg is not measured here; use auc, gauc"),
        ("tune.metric=gauc", "tune.metric: gauc needs users"),
        ("train.workers=2", "train.workers: a trial is one process; set train.workers=0, and tune.parallel"),
        ("model.gate1_context=[nobody]", "trials do not fit the prepared data:.*nobody"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    write: Callable[..., Path], override: str, said: str
) -> None:
    path = write()
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        tune.run(loaded(path, override))
    assert not (path.parent / "runs").exists()


def test_a_dry_run_checks_that_networks_fit_the_rows_where_they_are_prepared(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write()
    with pytest.raises(ConfigError, match="trials do not fit the prepared data"):
        drawn(path, "model={name: final_mlp, gate1_context: [nobody]}", "tune.space={tables.dim: {int: [1, 90]}}")
    assert len(drawn(path, f"prepare.into={tmp_path / 'nowhere'}")) == 6
