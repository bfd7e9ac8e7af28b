"""A server of MLflow's own: runs, children, registry and scoring by it, its loss, its return, and its password."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

from ctrgate import evaluate, export, promote, score, train
from ctrgate.config import load
from tests.tracking.server import MlflowServer, gate, served
from tests.training.conftest import rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One for all tests here."""
    with served(tmp_path_factory.mktemp("server")) as server:
        yield server


def tracked(server: MlflowServer, **more: object) -> dict[str, Any]:
    """The section ``tracking``."""
    return {"uri": server.tracking.uri, "timeout_seconds": 20, **more}


def command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """``ctrgate`` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "ctrgate", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run_of(server: MlflowServer, name: str) -> Any:
    """MLflow's run of that name."""
    client = MlflowClient(server.tracking.uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    return run


def histories(server: MlflowServer, name: str) -> dict[str, list[tuple[int, float]]]:
    """Every metric's points, in order, but for those that tell of time."""
    run, client = run_of(server, name), MlflowClient(server.tracking.uri)
    return {
        metric: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
        for metric in run.data.metrics
        if "second" not in metric
    }


def metrics_file(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same, of the run's own file."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for name, value in line.items():
            if value is not None and "second" not in name:
                found.setdefault(name, []).append((int(line["step"]), float(value)))
    return found


def num_sent(run: Path) -> int:
    """How many records of a run MLflow has."""
    file = run / "mlflow_sent"
    return int(file.read_text() or 0) if file.exists() else 0


def assert_logged_once(server: MlflowServer, name: str, *, run: Path) -> None:
    """Whether MLflow holds what the run's own file says, point by point."""
    found, written = histories(server, name), metrics_file(run)
    assert {metric: found.get(metric) for metric in written} == written


def test_a_model_goes_from_training_to_the_servers_own_scoring(
    server: MlflowServer, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    raw = tmp_path / "raw.csv"
    rows(500, seed=9).drop("click").write_csv(raw)
    path = write_run(tracking=tracked(server, experiment="whole way"), score={"files": str(raw)}, name="whole")
    train.run(load(path, train.Config))
    assert_logged_once(server, "whole", run=path.parent / "runs/whole")
    for verb in (evaluate, export):
        verb.run(load(path, verb.Config))
    run = run_of(server, "whole")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert run.data.metrics["test/auc"] > 0.5
    assert promote.run(load(path, promote.Config, ["promote.rules.calibration=null"]))["champion"] == 1

    scores = tmp_path / "scores"
    score.run(load(path, score.Config, ["score.model=models:/small@champion", f"score.into={scores}"]))
    (part,) = scores.glob("part-*.parquet")
    asked = [
        "-m",
        "models:/small@champion",
        "-i",
        raw,
        "-t",
        "csv",
        "-o",
        tmp_path / "out.json",
        "--env-manager",
        "local",
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.tracking.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    predict = [sys.executable, "-m", "mlflow", "models", "predict", "--env-manager", "local", *map(str, asked)]
    told = subprocess.run(predict, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert [line["score"] for line in found] == pl.read_parquet(part)["score"].to_list()


def test_a_search_is_a_run_with_its_trials_as_children(server: MlflowServer, write_run: Callable[..., Path]) -> None:
    space = {"train.learning_rate": {"choice": [0.01, 0.02]}}
    path = write_run(tracking=tracked(server), name="searched", tune={"space": space, "trials": 2, "parallel": 1})
    search = command("tune", path, "train.epochs=2")
    _, told = search.communicate(timeout=400)
    assert search.returncode == 0, told
    parent, client = run_of(server, "searched"), MlflowClient(server.tracking.uri)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(child.info.run_name for child in children) == ["searched/trials/000", "searched/trials/001"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for child in children:
        home = path.parent / "runs" / child.info.run_name
        assert_logged_once(server, child.info.run_name, run=home)
        assert len(metrics_file(home)["valid/auc"]) == 2


def test_a_server_lost_in_mid_run_costs_nothing_that_sync_does_not_bring(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "lost").mkdir()
    sections = {"train": {"batch_size": 100, "learning_rate": 0.01, "epochs": 60, "strikes": 60}}
    with served(tmp_path / "lost") as server:
        undisturbed = write_run(tracking=tracked(server), name="undisturbed", **sections)
        train.run(load(undisturbed, train.Config))
        path = write_run(under="two", tracking=tracked(server, timeout_seconds=2), name="disturbed", **sections)
        home = path.parent / "runs" / "disturbed"
        training = command("train", path)
        while num_sent(home) < 5:
            assert training.poll() is None, training.communicate()
            time.sleep(0.01)
        server.stop(signal.SIGKILL)
        _, told = training.communicate(timeout=300)
        assert training.returncode == 0, told
        assert "going on, logging to mlflow_spool.jsonl" in " ".join(told.split())
        assert "ctrgate sync sends it" in " ".join(told.split())
        waiting = len((home / "mlflow_spool.jsonl").read_text().splitlines()) - num_sent(home)
        assert waiting > 10
        refused = command("sync", path)
        assert "does not take the run" in refused.communicate(timeout=100)[1]
        assert refused.returncode == 2

        server.start()
        draw = random.Random(0)
        for _ in range(3):  # killed where it happens to be; mostly the import of MLflow takes the time
            syncing = command("sync", path)
            before = num_sent(home)
            while syncing.poll() is None and num_sent(home) == before:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.1))
            syncing.kill()
            syncing.communicate()
        assert (home / "mlflow_spool.jsonl").exists()
        last = command("sync", home)  # a run's folder is named by itself, too
        out, told = last.communicate(timeout=100)
        assert last.returncode == 0, told
        assert 0 < json.loads(out)["sent"][str(home)] < waiting
        assert not (home / "mlflow_spool.jsonl").exists()

        assert histories(server, "disturbed") == histories(server, "undisturbed")
        ended, whole = run_of(server, "disturbed"), run_of(server, "undisturbed")
        assert (ended.info.status, ended.data.tags["ctrgate.encoder"]) == (
            "FINISHED",
            whole.data.tags["ctrgate.encoder"],
        )
        differing = {name for name, text in whole.data.params.items() if ended.data.params[name] != text}
        assert differing == {"name", "runs", "tracking.timeout_seconds"}
        files = {
            name: {item.path for item in MlflowClient(server.tracking.uri).list_artifacts(run.info.run_id)}
            for name, run in (("disturbed", ended), ("undisturbed", whole))
        }
        assert files["disturbed"] == files["undisturbed"] == {"config.yaml", "figures"}


def test_a_password_comes_from_the_environment_and_stands_nowhere(
    server: MlflowServer, write_run: Callable[..., Path]
) -> None:
    with gate(server, name="ann", password="s3cret") as uri:
        path = write_run(tracking={"uri": uri, "timeout_seconds": 20}, name="behind", train={"epochs": 1})
        wrong = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "wr0ng"}
        right = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
        training = command("train", path, **wrong)
        out, told = training.communicate(timeout=200)
        assert training.returncode == 0, told
        assert "MLFLOW_TRACKING_USERNAME" in told
        refused = command("sync", path)
        assert "MLFLOW_TRACKING_USERNAME" in refused.communicate(timeout=100)[1]
        assert refused.returncode == 2
        syncing = command("sync", path, **right)
        assert syncing.communicate(timeout=100)[0]
        assert syncing.returncode == 0
    assert_logged_once(server, "behind", run=path.parent / "runs/behind")
    for file in (path.parent / "runs").rglob("*"):
        if file.is_file():
            assert not {b"wr0ng", b"s3cret"} & {word for word in (b"wr0ng", b"s3cret") if word in file.read_bytes()}
    assert "wr0ng" not in out + told
    assert yaml.safe_load(path.read_text())["tracking"] == {"uri": uri, "timeout_seconds": 20}
