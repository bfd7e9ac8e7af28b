import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate import evaluate, prepare, train
from ctrgate.config import load
from ctrgate.data.planted import best_scores
from ctrgate.data.synthetic import SyntheticConfig, write
from ctrgate.errors import ConfigError
from pipelines import demo, experiment
from pipelines.experiment import STAGES, Stage, Stopped

RUN_FILE = str(demo.RUN_FILE)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_goes_from_generated_clicks_to_scored_rows(here: Path, capfd: pytest.CaptureFixture[str]):
    assert demo.main(["--rows-per-day=1500", "train.epochs=1"]) == 0
    shown, progress = capfd.readouterr()
    for said in ("AUC", "best reachable", "generate", *STAGES, "scores: demo/scores", "report: demo/runs/demo/report/"):
        assert said in shown
    assert "epoch 1: valid AUC" in progress

    test = pl.read_parquet("demo/generated/rows/part-00006.parquet")
    scores = pl.read_parquet("demo/scores/*.parquet")
    assert scores["row"].to_list() == test["row"].to_list()
    of_checkpoint = pl.read_parquet("demo/runs/demo/evaluation/test.parquet")
    assert of_checkpoint["key:row"].cast(pl.Int64).to_list() == test["row"].to_list()
    np.testing.assert_allclose(scores["logit"].to_numpy(), of_checkpoint["logit:click"].to_numpy(), atol=1e-5)
    best = best_scores(test["click_probability"].to_numpy(), test["click"].to_numpy())
    assert f"{best.auc:.4f}" in shown
    assert f"{json.loads(Path('demo/runs/demo/evaluation/test.json').read_text())['auc']['value']:.4f}" in shown
    assert (here / "demo/runs/demo/report/index.html").is_file()


def test_a_gated_model_nears_the_best_log_loss_and_an_additive_one_does_not():
    write(SyntheticConfig(num_rows=140_000, rows_per_file=20_000), demo.FOLDER / "generated")
    test = pl.read_parquet(demo.ROWS / "part-00006.parquet")
    best = best_scores(test["click_probability"].to_numpy(), test["click"].to_numpy())
    prepare.run(load(RUN_FILE, prepare.Config))
    models = {
        "final_mlp": ["train.epochs=4"],
        "logistic_regression": ["model={name: logistic_regression}", "train.epochs=2"],
    }
    above = {}
    for name, overrides in models.items():
        overrides = [f"name={name}", "tracking.enabled=false", "evaluate.splits=[test]", *overrides]
        train.run(load(RUN_FILE, train.Config, overrides))
        above[name] = evaluate.run(load(RUN_FILE, evaluate.Config, overrides))["test"]["log_loss"] - best.log_loss
    assert above["final_mlp"] < 0.03
    assert above["logistic_regression"] > 0.06


def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Verbs that would run, with their overrides."""
    calls: dict[str, list[str]] = {}

    def record(verb: str, *, run_file: str, overrides: list[str]) -> Stage:
        calls[verb] = overrides
        return Stage(verb=verb, seconds=0.0, result={"run": run_file})

    monkeypatch.setattr(experiment, "run_verb", record)
    return calls


def run_file(folder: Path, **changed: object) -> Path:
    sections = yaml.safe_load(demo.RUN_FILE.read_text()) | changed
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in sections.items() if value is not None}))
    return path


def test_every_verb_gets_the_overrides_in_order(monkeypatch: pytest.MonkeyPatch):
    calls = recorded(monkeypatch)
    experiment.experiment(RUN_FILE, overrides=["train.epochs=2"])
    assert list(calls) == ["prepare", "train", "evaluate", "export", "score", "report"]
    assert all(overrides == ["train.epochs=2"] for overrides in calls.values())


def test_without_score_files_the_test_files_are_scored(here: Path, monkeypatch: pytest.MonkeyPatch):
    calls = recorded(monkeypatch)
    experiment.experiment(run_file(here, score=None))
    assert calls["score"] == ['score.files=["demo/generated/rows/part-00006.parquet"]']
    assert calls["report"] == []


def test_without_any_files_to_score_the_rest_runs(here: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = yaml.safe_load(demo.RUN_FILE.read_text())["dataset"]
    dataset = {name: value for name, value in dataset.items() if name != "splits"}
    dataset |= {"files": "clicks.parquet", "split": {"by": "time", "valid": 0.1, "test": 0.1}}
    calls = recorded(monkeypatch)
    experiment.experiment(run_file(here, dataset=dataset, score=None))
    assert list(calls) == ["prepare", "train", "evaluate", "export", "report"]


def test_the_first_verb_that_fails_ends_the_run_with_its_code(here: Path):
    ended = subprocess.run([sys.executable, "-m", "pipelines.experiment", RUN_FILE], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "part-0000[0-4].parquet: no such file" in ended.stderr
    assert "stopped at prepare, exit code 2" in ended.stderr
    assert not (here / "demo").exists()


def test_a_faulty_dataset_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch):
    calls = recorded(monkeypatch)
    with pytest.raises(ConfigError, match=r"dataset\.lables: no such setting; did you mean labels"):
        experiment.experiment(RUN_FILE, overrides=["dataset.lables=[]"])
    assert experiment.main([RUN_FILE, "dataset.lables=[]"]) == 2
    assert calls == {}


def test_a_verb_that_a_signal_kills_gives_the_shells_code(here: Path, monkeypatch: pytest.MonkeyPatch):
    killed = here / "python"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(Stopped, match="stopped at prepare, exit code 137"):
        experiment.run_verb("prepare", run_file=RUN_FILE)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_experiment_saves_its_state_and_goes_on_when_run_again(
    here: Path, number: signal.Signals, exit_code: int
):
    write(SyntheticConfig(num_rows=70_000, rows_per_file=10_000), demo.FOLDER / "generated")
    settings = ["tracking.enabled=false", "train.strikes=100", "train.epochs=15"]
    command = [sys.executable, "-m", "pipelines.experiment", RUN_FILE, *settings]
    with (here / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        deadline = time.monotonic() + 120
        while "epoch 2:" not in (here / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=60)
    said = (here / "log").read_text()
    assert process.returncode == exit_code
    assert output == b""
    assert "the state is saved" in said
    assert f"stopped at train, exit code {exit_code}" in said
    assert not (here / "demo/runs/demo/evaluation").exists()

    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "resumed after step" in again.stderr
    assert list(json.loads(again.stdout)) == list(STAGES)
