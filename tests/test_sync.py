"""Sending what a run and its trials have spooled."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from ctrgate import sync
from ctrgate.cli import main
from ctrgate.config import load
from ctrgate.errors import ConfigError, DataError
from ctrgate.tracking import SPOOL, TrackingConfig, open_tracker


def spooled(folder: Path, name: str, *, parent: str = "") -> str:
    """Log a run to where nothing answers; gives the name by which its children know it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = TrackingConfig(uri=f"http://127.0.0.1:{free.getsockname()[1]}", timeout_seconds=1, parent=parent)
    tracker = open_tracker(dead, folder=folder)
    tracker.start(run_name=name, params={"rate": 0.1}, tags={})
    tracker.metrics({"valid/auc": 0.7}, step=3)
    tracker.end()
    known: str = json.loads((folder / "mlflow_run.json").read_text())["run"]
    return known


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run file with a store of its own."""
    path = tmp_path / "run.yaml"
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "artifacts": str(tmp_path / "artifacts")}
    path.write_text(yaml.safe_dump({"name": "search", "runs": str(tmp_path / "runs"), "tracking": tracking}))
    return path


def test_a_search_is_sent_with_its_trials_and_only_once(run_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = run_file.parent / "runs" / "search"
    parent = spooled(home / "tune", "search")
    for trial in ("000", "001"):
        spooled(home / "trials" / trial, f"search/trials/{trial}", parent=parent)
    (home / "config.yaml").write_text(run_file.read_text())
    assert main(["sync", str(home)]) == 0  # a run's folder stands for its config.yaml
    said = json.loads(capfd.readouterr().out)
    assert said["sent"] == {str(home / name): 4 for name in ("trials/000", "trials/001", "tune")}
    assert not list(home.rglob(SPOOL))

    client = MlflowClient(f"sqlite:///{run_file.parent}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ctrgate").experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert sorted(by_name) == ["search", "search/trials/000", "search/trials/001"]
    for run in runs:
        assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"rate": "0.1"}, {"valid/auc": 0.7})
    children = [run for run in runs if run.info.run_name != "search"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {by_name["search"].info.run_id}
    assert sync.run(load(run_file, sync.Config))["sent"] == {}


@pytest.mark.parametrize(
    ("change", "says"), [("name=other", "other is not there"), ("tracking.enabled=false", "no store to send to")]
)
def test_a_run_that_cannot_be_sent_is_told(run_file: Path, change: str, says: str) -> None:
    (run_file.parent / "runs" / "search").mkdir(parents=True)
    with pytest.raises(ConfigError, match=says):
        sync.run(load(run_file, sync.Config, [change]))


@pytest.mark.parametrize("line", ["not JSON", "[]", '{"run": "a", "kind": "end"}'])
def test_a_damaged_spool_is_told_and_kept(run_file: Path, line: str) -> None:
    folder = run_file.parent / "runs" / "search"
    spooled(folder, "search")
    text = (folder / SPOOL).read_text()
    (folder / SPOOL).write_text(f"{line}\n{text}")
    with pytest.raises(DataError, match=r"mlflow_spool\.jsonl holds a line that is no record"):
        sync.run(load(run_file, sync.Config))
    assert (folder / SPOOL).read_text() == f"{line}\n{text}"
