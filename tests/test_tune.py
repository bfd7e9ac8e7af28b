"""Searching: ranges, what is drawn, what is refused, the journal, ASHA that goes on, and a search killed under Ray."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ctrgate import prepare, train, tune
from ctrgate.cluster.trial import TrialProcess
from ctrgate.cluster.tune import Asha
from ctrgate.config import dump, faults_of, load
from ctrgate.errors import ConfigError, CtrgateError, DataError
from ctrgate.files import locked
from ctrgate.tracking import TrackingConfig
from ctrgate.training.runs import RunFolder
from ctrgate.tuning.journal import Journal, Record
from ctrgate.tuning.plan import plan
from ctrgate.tuning.results import lines
from ctrgate.tuning.settings import AshaSettings
from ctrgate.tuning.space import Range, draw, unit
from tests.training.conftest import rows, run_file

SPACE = {
    "train.learning_rate": {"log_uniform": [1e-4, 3e-2]},
    "model.mlp1.dropout": {"uniform": [0, 0.5], "step": 0.1},
    "tables.dim": {"choice": [4, 8, 16]},
    "model.num_heads": {"int": [1, 8]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared rows."""
    folder = tmp_path_factory.mktemp("search")
    for seed, (split, number) in enumerate({"train": 1300, "valid": 401, "test": 257}.items()):
        rows(number, seed=seed).write_parquet(folder / f"{split}.parquet")
    prepare.run(load(run_file(folder, folder / "prepare.yaml", "dense"), prepare.Config))
    return folder


@pytest.fixture
def write(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a run file whose search lies in this test's own folder."""

    def write(**settings: object) -> Path:
        return run_file(folder, tmp_path / "run.yaml", "dense", tune={"space": SPACE, "trials": 6, **settings})

    return write


def loaded(path: Path, *overrides: str) -> tune.Config:
    return load(path, tune.Config, overrides)


def drawn(path: Path, *overrides: str) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = tune.run(loaded(path, "tune.dry_run=true", *overrides))["trials"]
    return result


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
        "model.num_heads = 7: model.final_mlp: num_heads 7 does not divide mlp1's last width 16",
        "model.mlp1.dropout = 1.5: model.final_mlp.mlp1.dropout: input should be less than",
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


def finished(config: tune.Config, values: dict[int, list[float]]) -> Journal:
    """A search that has begun and whose trials are done."""
    tune._begin(config, tune._base(config, metric="auc"), metric="auc", encoder=encoder(config))
    journal = Journal(config.folder.path / "tune" / "journal.jsonl")
    for trial, curve in values.items():
        for epoch, value in enumerate(curve, start=1):
            journal.report(trial, epoch=epoch, value=value, seconds=1.5, decision="continue")
        journal.end(trial, "finished", seconds=0.5)
    return journal


def encoder(config: tune.Config) -> str:
    opened = prepare.Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    return str(opened.manifest.encoder)


CURVES = {0: [0.5, 0.6], 1: [0.7, 0.9, 0.8], 2: [0.9], 3: [0.1], 4: [0.2], 5: [0.3]}


def test_a_search_that_is_done_is_not_repeated_and_another_in_its_place_is_refused(write: Callable[..., Path]) -> None:
    path = write()
    finished(loaded(path), CURVES)
    result = tune.run(loaded(path, "tune.parallel=2"))
    assert (result["best"]["trial"], result["best"]["value"], result["best"]["epoch"]) == ("001", 0.9, 2)
    for override, said in [
        ("train.batch_size=50", r"train.batch_size differ"),
        ("tune.seed=4", "tune.seed differ"),
        ("tune.space={tables.dim: {int: [1, 90]}}", "tune.space"),
        ("seed=4", "seed differ"),
        ("tune.max_epochs=3", "tune.max_epochs.*train.epochs differ|train.epochs.*"),
    ]:
        with pytest.raises(ConfigError, match=f"(?s)holds another search .*{said}"):
            tune.run(loaded(path, override))
    name = load(path, tune.Config).folder.path
    with (
        locked(name.with_name(f".{name.name}.tune.lock"), what="it"),
        pytest.raises(ConfigError, match="another process works on the search"),
    ):
        tune.run(loaded(path))


# What is written


def test_the_best_run_file_trains_and_the_tables_say_what_was_found(write: Callable[..., Path]) -> None:
    path = write()
    finished(loaded(path), CURVES)
    trials = drawn(path)
    result = tune.run(loaded(path))
    best = Path(result["run_file"])
    assert best.read_text().startswith("# Trial 001: valid auc 0.900000 in epoch 2; test unseen.\n")
    config = load(best, train.Config)
    values = dump(config)
    assert (config.name, config.train.epochs, config.train.monitor) == ("small_best", 4, "auc")
    for setting, value in trials["001"].items():
        place: Any = values
        for part in setting.split("."):
            place = place[part]
        assert place == value
    train.run(load(best, train.Config, ["train.epochs=1"]))
    with (best.parent / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(line["trial"], line["valid_auc"], line["best_epoch"]) for line in table] == [
        ("001", "0.9", "2"),
        ("002", "0.9", "1"),
        ("000", "0.6", "2"),
        ("005", "0.3", "1"),
        ("004", "0.2", "1"),
        ("003", "0.1", "1"),
    ]
    assert [float(line["train.learning_rate"]) for line in table[:1]] == [trials["001"]["train.learning_rate"]]
    assert table[0]["seconds"] == "5.0"
    assert json.loads((best.parent / "trials.json").read_text())[0]["curve"] == [0.7, 0.9, 0.8]
    page = (best.parent / "index.html").read_text()
    for part in ("Trial 001 of 6 is best", "Only valid was looked at", *SPACE, "0.90000", "Learning curves"):
        assert part in page
    assert "<script" not in page


def test_a_smaller_log_loss_is_better(write: Callable[..., Path]) -> None:
    journal = finished(loaded(write()), CURVES)
    config = loaded(write())
    trials = plan(tune._base(config, metric="log_loss"), config.tune, into=tune._TrialConfig)
    found = lines(trials, journal, larger_is_better=False)
    assert [line.trial for line in found] == [3, 4, 5, 0, 1, 2]
    assert [(line.value, line.epoch) for line in found[3:5]] == [(0.5, 1), (0.7, 1)]


def test_a_password_stands_in_no_file(write: Callable[..., Path]) -> None:
    uri = "http://ann:s3cret@127.0.0.1:9"
    config = loaded(write(), f"tracking.uri={uri}")
    (trial, *_) = plan(tune._base(config, metric="auc"), config.tune, into=tune._TrialConfig)
    values, environment = tune._run_file(config, trial, parent="abc")
    assert "s3cret" not in yaml.safe_dump(values)
    assert environment == {"CTRGATE_TRACKING_URI": uri}
    assert values["tracking"]["uri"] == "${CTRGATE_TRACKING_URI}"
    assert values["tracking"]["parent"] == "abc"
    assert values["name"] == "small/trials/000"


def test_a_search_without_any_value_ends_with_what_a_trial_said(write: Callable[..., Path]) -> None:
    path = write()
    journal = finished(loaded(path), {})
    for trial in range(6):
        journal.end(trial, "failed", reason="exit code 2: the loss is no longer finite")
    with pytest.raises(DataError, match="trial 000 said: exit code 2: the loss is no longer finite"):
        tune.run(loaded(path))


# The journal


def test_a_journal_is_read_as_it_was_written_but_for_a_line_cut_short(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.report(0, epoch=1, value=0.5, seconds=1.0, decision="continue")
    journal.report(1, epoch=1, value=0.25, seconds=2.0, decision="stop")
    journal.report(0, epoch=2, value=0.75, seconds=1.0, decision="continue")
    journal.end(2, "broken", seconds=3.0, reason="exit code -9")
    with journal.path.open("a") as file:
        file.write('{"trial": 0, "epo')
    again = Journal(journal.path)
    assert again.records == journal.records
    assert again.reports == journal.reports == [(0, 1, "continue"), (1, 1, "stop"), (0, 2, "continue")]
    assert [again.of(trial).state for trial in range(4)] == ["open", "stopped", "broken", "open"]
    assert [again.of(trial).decided for trial in range(4)] == [False, True, False, False]
    again.end(0, "finished")
    assert Journal(journal.path).of(0).state == "finished"
    journal.path.write_text('{"trial": 0}\n')
    with pytest.raises(DataError, match="line 1 is damaged"):
        Journal(journal.path)


def test_the_earlier_of_equally_good_epochs_is_best() -> None:
    record = Record(values=[0.5, 0.9, 0.9, 0.5])
    assert record.best(larger_is_better=True) == (2, 0.9)
    assert record.best(larger_is_better=False) == (1, 0.5)
    assert record.best(larger_is_better=True, before=1) == (1, 0.5)
    assert Record().best(larger_is_better=True) is None


def naive_asha(reports: list[tuple[int, int, float]], *, grace: int, factor: int, most: int) -> list[str]:
    """A rung keeps what came to it; a trial stops where it is below the upper 1 / factor of those before it."""
    rungs: dict[int, list[float]] = {}
    rung, decisions, best = grace, [], {}
    while rung <= most:
        rungs[rung] = []
        rung *= factor
    for trial, epoch, value in reports:
        best[trial] = max(value, best.get(trial, -math.inf))
        before = rungs.get(epoch)
        if before is None or epoch == most:
            decisions.append("continue")
            continue
        below = before and best[trial] < np.percentile(before, 100 * (1 - 1 / factor))
        decisions.append("stop" if below else "continue")
        before.append(best[trial])
    return decisions


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 7, 20, 33])
def test_asha_decides_as_a_naive_one_and_goes_on_as_if_it_had_never_ended(
    tmp_path: Path, cut: int, larger: bool
) -> None:
    random = np.random.default_rng(5)
    asha = AshaSettings(grace_epochs=1, factor=3)

    def open_journal() -> tuple[Journal, Asha]:
        journal = Journal(tmp_path / "journal.jsonl")
        return journal, Asha(asha, max_epochs=9, journal=journal, larger_is_better=larger)

    journal, judge = open_journal()
    taken: list[tuple[int, int, float]] = []
    going = dict.fromkeys(range(12), 0)
    while going:
        trial = int(random.choice(list(going)))
        going[trial] += 1
        value = float(random.normal())
        if len(taken) == cut:
            journal, judge = open_journal()
        decision = judge.take(trial, epoch=going[trial], value=value, seconds=0.0)
        taken.append((trial, going[trial], value))
        if decision == "stop" or going[trial] == 9:
            del going[trial]
    decisions = [decision for _, _, decision in journal.reports]
    assert decisions == naive_asha(taken, grace=1, factor=3, most=9)
    assert {"stop", "continue"} == set(decisions)
    sign = 1 if larger else -1
    assert [sign * value for trial, _, value in taken if trial == 3] == journal.of(3).values


def test_a_trial_that_improved_since_a_rung_stands_there_as_it_came(tmp_path: Path) -> None:
    for again in (False, True):
        journal = Journal(tmp_path / f"{again}.jsonl")
        judge = Asha(AshaSettings(factor=2), max_epochs=9, journal=journal, larger_is_better=True)
        judge.take(0, epoch=1, value=0.1, seconds=0.0)
        judge.take(0, epoch=2, value=0.9, seconds=0.0)
        if again:
            judge = Asha(AshaSettings(factor=2), max_epochs=9, journal=Journal(journal.path), larger_is_better=True)
        assert judge.take(1, epoch=1, value=0.5, seconds=0.0) == "continue"
        assert judge.take(2, epoch=1, value=0.2, seconds=0.0) == "stop"


def test_an_epoch_that_is_known_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    judge = Asha(AshaSettings(), max_epochs=9, journal=journal, larger_is_better=True)
    judge.take(0, epoch=1, value=0.5, seconds=1.0)
    text = journal.path.read_text()
    assert judge.take(0, epoch=1, value=0.9, seconds=1.0) == "continue"
    assert journal.path.read_text() == text


def test_without_asha_no_trial_ends_early(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    judge = Asha(None, max_epochs=9, journal=journal, larger_is_better=True)
    for trial in range(10):
        assert judge.take(trial, epoch=1, value=-float(trial), seconds=0.0) == "continue"


# A trial's process

TRAINING = """
import json, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "pid").write_text(str(__import__("os").getpid()))
def save(epoch, finished=False):
    (folder / "checkpoints/step").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints/step/progress.json").write_text(json.dumps({"epoch": epoch, "finished": finished}))
    (folder / "checkpoints/last").write_text("step")
def stop(*_):
    (folder / "told").touch()
    raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
"""


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., TrialProcess]:
    """A trial whose training is a few lines of Python."""
    folder = tmp_path / "trials" / "000"
    folder.mkdir(parents=True)

    def begin(script: str, *, reported: int = 0, epochs_before: int = 0) -> TrialProcess:
        given = {
            "folder": str(folder),
            "command": [sys.executable, "-c", TRAINING + script, str(folder)],
            "environment": {},
            "cwd": str(tmp_path),
            "stop_file": str(tmp_path / ".stop"),
            "metric": "auc",
            "sign": 1,
            "epochs_before": epochs_before,
            "reported": reported,
        }
        trial = TrialProcess.__new__(TrialProcess)  # without Ray's own beginnings
        trial.setup({"trial": 0, "given": {0: given}})
        return trial

    return begin


EPOCH = '(folder / "metrics.jsonl").open("a").write(json.dumps({{"epoch": {0}, "valid/auc": {1}}}) + "\\n")\n'


def test_a_trial_gives_its_epochs_and_then_its_end(process: Callable[..., TrialProcess]) -> None:
    trial = process(EPOCH.format(2, 0.5) + EPOCH.format(3, 0.75), epochs_before=1)
    steps = [trial.step() for _ in range(2)]
    assert [(step["epoch"], step["value"]) for step in steps] == [(1, 0.5), (2, 0.75)]
    last = trial.step()
    assert (last["ended"], last["done"]) == ("finished", True)


def test_epochs_that_were_reported_are_not_given_again(process: Callable[..., TrialProcess]) -> None:
    trial = process(EPOCH.format(1, 0.5) + EPOCH.format(2, 0.75), reported=1)
    assert trial.step()["epoch"] == 2
    assert trial.step()["ended"] == "finished"


@pytest.mark.parametrize(("script", "how"), [("raise SystemExit(2)", "failed"), ("raise SystemExit(9)", "broken")])
def test_an_error_is_told_by_its_last_line(process: Callable[..., TrialProcess], script: str, how: str) -> None:
    last = process("print('well')\nprint('no more room', flush=True)\n" + script).step()
    assert (last["ended"], last["reason"]) == (how, f"exit code {2 if how == 'failed' else 9}: no more room")


def test_a_value_that_is_no_number_ends_the_trial(process: Callable[..., TrialProcess]) -> None:
    last = process(EPOCH.format(1, "float('nan')") + "time.sleep(60)").step()
    assert (last["ended"], last["reason"]) == ("failed", "auc on valid is nan")


def test_a_stopped_trial_has_saved_what_it_reported(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process(EPOCH.format(1, 0.5) + "time.sleep(1)\nsave(1)\ntime.sleep(60)")
    assert trial.step()["epoch"] == 1
    trial.cleanup()
    folder = tmp_path / "trials" / "000"
    assert json.loads((folder / "checkpoints/step/progress.json").read_text())["epoch"] == 1
    assert (folder / "told").exists()


def test_a_trial_that_is_through_ends_by_itself(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process("save(1, finished=True)\n" + EPOCH.format(1, 0.5) + "time.sleep(1)\n(folder / 'logged').touch()")
    trial.step()
    trial.cleanup()
    folder = tmp_path / "trials" / "000"
    assert (folder / "logged").exists()
    assert not (folder / "told").exists()


def test_the_stop_file_ends_a_trial(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process("(folder / 'ready').touch()\ntime.sleep(60)")
    folder = tmp_path / "trials" / "000"
    while not (folder / "ready").exists():
        time.sleep(0.05)
    (tmp_path / ".stop").touch()
    assert trial.step()["ended"] == "interrupted"
    assert (folder / "told").exists()


def test_a_training_dies_with_its_worker(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'ctrgate.ward', "
        "str(os.getpid()), sys.executable, '-c', 'import os, pathlib, time; "
        'pathlib.Path("pid").write_text(str(os.getpid())); time.sleep(60)\']); time.sleep(60)'
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tune.__file__).parents[1])}
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    worker.kill()
    worker.wait()
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


# Under Ray


@pytest.mark.slow
def test_a_search_killed_twice_ends_as_an_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "artifacts": str(tmp_path / "artifacts")}
    settings = {"space": SPACE, "trials": 4, "max_epochs": 5, "seed": 1}
    path = run_file(folder, tmp_path / "run.yaml", "dense", tune=settings, tracking=tracking)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begun(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ctrgate", "tune", str(path), f"name={name}"]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
        try:
            return process.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def table(name: str) -> list[tuple[str, ...]]:
        with (tmp_path / "runs" / name / "tune" / "trials.csv").open() as file:
            return [tuple(line[key] for key in line if key != "seconds") for line in csv.DictReader(file)]

    whole = begun("whole")
    out, said = ended(whole)
    assert whole.returncode == 0, said
    result = json.loads(out)
    for number, (kind, code) in enumerate([(signal.SIGKILL, -9), (signal.SIGTERM, 143)]):
        process = begun("killed")
        journal = tmp_path / "runs" / "killed" / "tune" / "journal.jsonl"
        for _ in range(2000):
            if journal.exists() and len(journal.read_text().splitlines()) >= (3, 9)[number]:
                break
            time.sleep(0.1)
        process.send_signal(kind)
        _, said = ended(process)
        assert process.returncode == code, said
    process = begun("killed")
    out, said = ended(process)
    assert process.returncode == 0, said
    assert table("killed") == table("whole")
    assert json.loads(out)["best"]["value"] == result["best"]["value"]
    assert "stopped" in result["trials"]
    for name in ("whole", "killed"):
        assert not list((tmp_path / "runs" / name / "tune").glob(".*"))
        for line in json.loads((tmp_path / "runs" / name / "tune" / "trials.json").read_text()):
            run = RunFolder(tmp_path / "runs" / name / "trials" / f"{line['trial']:03d}")
            assert run.checkpoints.progress().epoch >= len(line["curve"])
            assert run.checkpoints.find("best") is not None
    assert_logged(TrackingConfig(**tracking), value=result["best"]["value"])


def assert_logged(config: TrackingConfig, *, value: float) -> None:
    """One run for the search, and one below it for each trial."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=config.uri)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {
        *("whole", "killed"),
        *(f"{name}/trials/{number:03d}" for name in ("whole", "killed") for number in range(4)),
    }
    for name, run in runs.items():
        search = name.partition("/")[0]
        parent = run.data.tags.get("mlflow.parentRunId")
        assert parent == (None if name == search else runs[search].info.run_id)
    assert runs["whole"].data.metrics["best_auc"] == value
    assert {item.path for item in client.list_artifacts(runs["whole"].info.run_id)} >= {"best.yaml", "index.html"}


def test_errors_of_a_search_are_the_users_own(write: Callable[..., Path]) -> None:
    with pytest.raises(CtrgateError, match=r"tune.space: is required"):
        path = write()
        values = yaml.safe_load(path.read_text())
        del values["tune"]["space"]
        path.write_text(yaml.safe_dump(values))
        loaded(path)
