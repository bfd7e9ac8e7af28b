"""MLflow logging: a real SQLite store, a server that is not there, and the replay of a spool."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from ctrgate.config import load
from ctrgate.config import settings as settings_class
from ctrgate.errors import ConfigError
from ctrgate.progress import console
from ctrgate.tracking import SPOOL, Tracker, TrackingConfig, flatten, open_tracker, probe, sync
from ctrgate.tracking.store import Store


@settings_class
class Run:
    """A run file of which only tracking is read."""

    tracking: TrackingConfig = TrackingConfig()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    """One database for all tests here, laid out already, which can take MLflow longer than a run waits at its end."""
    from mlflow import MlflowClient

    place = tmp_path_factory.mktemp("mlflow")
    MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db").search_experiments()
    return TrackingConfig(uri=f"sqlite:///{place}/mlflow.db", artifacts=str(place / "artifacts"), experiment="tests")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the user is told."""
    text = io.StringIO()
    monkeypatch.setattr(console, "file", text)
    return text


@pytest.fixture
def dead() -> TrackingConfig:
    """A server at a port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return TrackingConfig(uri=f"http://ann:s3cret@127.0.0.1:{port}", timeout_seconds=1)


PARAMS = {"train": {"batch_size": 512, "rate": 0.001}, "model": {"layers": [4, 4], "name": "final_mlp"}}


def log_a_run(tracker: Tracker, folder: Path) -> None:
    tracker.start(run_name=folder.name, params=PARAMS, tags={"dataset": "frappe"})
    for step in range(3):
        tracker.metrics({"train/loss": 1.0 / (1 + step), "valid/auc": None if step == 0 else 0.9}, step=step)
    (folder / "note.txt").write_text("kept", encoding="utf-8")
    tracker.artifact(folder / "note.txt", folder="notes")
    tracker.figure(Figure(figsize=(1, 1)), name="roc")
    tracker.end()


def logged(config: TrackingConfig, run_name: str) -> dict[str, Any]:
    """What MLflow holds of the one run of that name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=config.uri)
    experiment = client.get_experiment_by_name(config.experiment)
    (run,) = client.search_runs([experiment.experiment_id], filter_string=f"attributes.run_name = '{run_name}'")
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    files = [item.path for item in client.list_artifacts(run.info.run_id)]
    files += [item.path for folder in ("notes", "figures") for item in client.list_artifacts(run.info.run_id, folder)]
    return {
        "status": run.info.status,
        "params": run.data.params,
        "metrics": history,
        "tags": {name: value for name, value in run.data.tags.items() if name == "dataset"},
        "files": sorted(files),
    }


EXPECTED = {
    "status": "FINISHED",
    "params": {
        "train.batch_size": "512",
        "train.rate": "0.001",
        "model.layers": "[4, 4]",
        "model.name": "final_mlp",
    },
    "metrics": {"train/loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)], "valid/auc": [(1, 0.9), (2, 0.9)]},
    "tags": {"dataset": "frappe"},
    "files": ["config.yaml", "figures", "figures/roc.png", "notes", "notes/note.txt"],
}


def test_a_run_is_logged_whole_and_leaves_no_spool(store: TrackingConfig, tmp_path: Path) -> None:
    folder = tmp_path / "direct"
    log_a_run(open_tracker(store, folder=folder), folder)
    assert logged(store, "direct") == EXPECTED
    assert not (folder / SPOOL).exists()
    assert probe(store) is None


def test_a_dead_server_neither_stalls_nor_stops_and_the_replay_equals_direct_logging(
    store: TrackingConfig, dead: TrackingConfig, tmp_path: Path, said: io.StringIO
) -> None:
    folder = tmp_path / "replayed"
    start = time.monotonic()
    log_a_run(open_tracker(dead, folder=folder), folder)
    assert time.monotonic() - start < 15  # mostly the import of MLflow; its own patience is four minutes
    assert said.getvalue().count("does not answer") == 1
    assert "Connection refused" in said.getvalue()
    assert "s3cret" not in said.getvalue()
    kinds = [json.loads(line)["kind"] for line in (folder / SPOOL).read_text(encoding="utf-8").splitlines()]
    assert kinds == ["start", "text", "metrics", "metrics", "metrics", "artifact", "artifact", "end"]
    with pytest.raises(ConfigError, match=r"http://\*\*\*@127"):
        sync(dead, folder=folder)

    spool = (folder / SPOOL).read_text(encoding="utf-8")
    moved = folder.rename(tmp_path / "moved")  # artifacts are told relative to the run's folder
    assert sync(store, folder=moved) == 8
    assert not (moved / SPOOL).exists()
    assert logged(store, "replayed") == EXPECTED
    (moved / SPOOL).write_text(spool, encoding="utf-8")
    assert sync(store, folder=moved) == 0  # it is known that all was sent
    (moved / SPOOL).write_text(spool, encoding="utf-8")
    (moved / "mlflow_sent").unlink()
    assert sync(store, folder=moved) == 8
    assert logged(store, "replayed") == EXPECTED  # sent twice, there once


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replay_that_is_killed_at_any_record_and_run_again_sends_each_once(
    store: TrackingConfig, dead: TrackingConfig, tmp_path: Path, place: int, when: str
) -> None:
    folder = tmp_path / f"{when}{place}"
    log_a_run(open_tracker(dead, folder=folder), folder)
    told: list[int] = []

    def killed(self: Store, record: Mapping[str, Any]) -> None:
        told.append(record["number"])
        if len(told) == place + 1 and when == "before":
            raise KeyboardInterrupt
        send(self, record)
        if len(told) == place + 1:
            raise KeyboardInterrupt

    send = Store.send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(store, folder=folder)
    assert told == list(range(1, place + 2))
    assert sync(store, folder=folder) == 8 - place  # the one that it was killed at is sent again
    assert logged(store, folder.name) == EXPECTED


def test_a_record_may_hold_any_text(store: TrackingConfig, dead: TrackingConfig, tmp_path: Path) -> None:
    odd = "a\u2028b\x85c\nd"
    tracker = open_tracker(dead, folder=tmp_path / "text")
    tracker.start(run_name="text", params={"odd": odd}, tags={})
    tracker.end()
    sync(store, folder=tmp_path / "text")
    assert logged(store, "text")["params"] == {"odd": odd}


def test_every_call_of_a_training_returns_at_once_though_the_server_hangs(tmp_path: Path) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = TrackingConfig(uri=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=1)
        tracker = open_tracker(config, folder=tmp_path)
        tracker.start(run_name="hangs", params=PARAMS, tags={})
        start = time.monotonic()
        for step in range(200):
            tracker.metrics({"train/loss": 0.5}, step=step)
        assert time.monotonic() - start < 0.5
        tracker.end()
        assert time.monotonic() - start < 12
        start = time.monotonic()
        assert "timed out" in str(probe(config))
        assert time.monotonic() - start < 5
    assert (tmp_path / SPOOL).exists()


def test_a_killed_process_leaves_a_spool_and_a_resumed_run_sends_it_and_goes_on(
    store: TrackingConfig, dead: TrackingConfig, tmp_path: Path, said: io.StringIO
) -> None:
    folder = tmp_path / "killed"
    script = (
        "import os, sys; from pathlib import Path; from ctrgate.tracking import *\n"
        "tracker = open_tracker(TrackingConfig(uri='http://127.0.0.1:9'), folder=Path(sys.argv[1]))\n"
        "tracker.start(run_name='killed', params={'a': 1}, tags={})\n"
        "tracker.metrics({'train/loss': 0.5}, step=1)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    with (folder / SPOOL).open("a", encoding="utf-8") as spool:
        spool.write('{"run": "cut sho')
    for config, step in ((dead, 2), (store, 3)):
        tracker = open_tracker(config, folder=folder)
        tracker.start(run_name="killed", params={"a": 2}, tags={}, resume=True)
        tracker.metrics({"train/loss": 0.25}, step=step)
        tracker.end("KILLED")
    assert "refuses" not in said.getvalue()
    found = logged(store, "killed")
    assert found["metrics"] == {"train/loss": [(1, 0.5), (2, 0.25), (3, 0.25)]}
    assert (found["params"], found["status"]) == ({"a": "1"}, "KILLED")


def test_two_processes_cannot_log_one_folder(dead: TrackingConfig, tmp_path: Path) -> None:
    tracker = open_tracker(dead, folder=tmp_path)
    tracker.start(run_name="first", params={}, tags={})
    with pytest.raises(ConfigError, match="another process logs the run"):
        open_tracker(dead, folder=tmp_path).start(run_name="second", params={}, tags={})
    with pytest.raises(ConfigError, match="another process logs the run"):
        sync(dead, folder=tmp_path)
    tracker.end()


def test_what_mlflow_refuses_is_told_and_the_rest_is_logged(
    store: TrackingConfig, tmp_path: Path, said: io.StringIO
) -> None:
    tracker = open_tracker(store, folder=tmp_path / "odd")
    tracker.start(run_name="odd", params={"a#b": "x" * 10_000}, tags={})
    tracker.artifact(tmp_path / "never_written.txt")
    tracker.metrics({"valid/auc #1": 0.5, "diverged": float("nan")}, step=0)
    tracker.end("FAILED")
    found = logged(store, "odd")
    assert list(found["params"]) == ["a_b"]
    assert found["metrics"] == {"valid/auc _1": [(0, 0.5)]}
    assert found["status"] == "FAILED"
    assert "never_written.txt is gone" in said.getvalue()


def test_switched_off_it_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "off"
    folder.mkdir()
    log_a_run(open_tracker(TrackingConfig(enabled=False), folder=folder), folder)
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


def test_importing_the_module_imports_no_mlflow() -> None:
    code = "import sys, ctrgate.tracking; sys.exit('mlflow' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("uri", ["sqlite:///", "sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"tracking: {{uri: '{uri}'}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tracking\.uri: .* in memory"):
        load(path, Run)


def test_a_relative_database_lies_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert probe(TrackingConfig()) is None
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_a_store_that_cannot_be_used_says_why(dead: TrackingConfig, tmp_path: Path) -> None:
    found = probe(dead)
    assert found is not None
    assert "refused" in found
    assert "s3cret" not in found
    broken = tmp_path / "mlflow.db"
    broken.write_text("not a database", encoding="utf-8")
    assert "not a database" in str(probe(TrackingConfig(uri=f"sqlite:///{broken}")))


def test_nested_settings_become_dotted_names() -> None:
    values = {"train": {"epochs": 3, "clip": None}, "layers": [{"width": 4}], "empty": {}}
    assert flatten(values) == {
        "train.epochs": "3",
        "train.clip": "null",
        "layers": '[{"width": 4}]',
        "empty": "{}",
    }
