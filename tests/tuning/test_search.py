"""A search and what it leaves: results, the best run file, errors, and one that is killed under Ray."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctrgate import prepare, train, tune
from ctrgate.config import dump, load
from ctrgate.errors import ConfigError, CtrgateError, DataError
from ctrgate.files import locked
from ctrgate.tracking import TrackingConfig
from ctrgate.training.runs import RunFolder
from ctrgate.tuning.journal import Journal
from ctrgate.tuning.plan import plan
from ctrgate.tuning.results import lines
from ctrgate.tuning.search import Search
from tests.training.conftest import run_file
from tests.tuning.conftest import SPACE, drawn, loaded


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
    search = Search(
        name="small",
        folder=config.folder.path / "tune",
        trials=plan(tune._base(config, metric="log_loss"), config.tune, into=tune._TrialConfig),
        metric="log_loss",
        larger_is_better=False,
        max_epochs=4,
        settings=config.tune,
    )
    found = lines(search, journal)
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
