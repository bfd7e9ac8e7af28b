"""Preparing on several processes: the same folder to the last byte, and a worker's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ctrgate import prepare
from ctrgate.cluster.pool import Pool
from ctrgate.cluster.ray import ray, started
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import load
from ctrgate.errors import ClusterError, ConfigError, DataError
from ctrgate.files import checksum
from tests.conftest import FEATURES, raw_rows


@pytest.fixture(scope="module", autouse=True)
def ray_of_these_tests() -> Iterator[None]:
    """Ray, started once."""
    with started(ClusterConfig(), num_cpus=3):
        yield


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of seven files with every kind of feature; paths are relative, as users write them."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for number in range(7):
        raw_rows(150 + number, seed=number).write_parquet(f"raw/part-{number}.parquet")
    dataset: dict[str, Any] = {
        "name": "spread",
        "files": "raw/*.parquet",
        "split": {"by": "ratio", "valid": 0.2, "test": 0.1},
        "labels": [{"name": "click"}],
        "roles": {"group": "id", "keys": ["id"]},
        "features": [{**each, "when_scoring": None} if "when_scoring" in each else each for each in FEATURES],
        "negative_sampling_rate": 0.8,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"dataset": dataset}))
    return path


def prepared(run_file: Path, into: str, *overrides: str) -> dict[str, str]:
    prepare.run(load(run_file, prepare.Config, [f"prepare.into={into}", *overrides]))
    return {str(path.relative_to(into)): checksum(path) for path in Path(into).rglob("*") if path.is_file()}


def test_two_processes_prepare_what_one_does_to_the_last_byte(run_file: Path) -> None:
    alone = prepared(run_file, "alone")
    assert len(alone) > 20
    assert prepared(run_file, "spread", "prepare.workers=2") == alone
    assert prepared(run_file, "many", "prepare.workers=3") == alone
    assert sorted(path.name for path in Path().iterdir()) == ["alone", "many", "raw", "run.yaml", "spread"]


@pytest.mark.slow
def test_a_split_by_shares_of_time_is_the_same_in_every_process(run_file: Path) -> None:
    values = yaml.safe_load(run_file.read_text())
    values["dataset"]["roles"]["timestamp"] = "id"
    values["dataset"]["split"] = {"by": "time", "valid": 0.2, "test": 0.2}
    run_file.write_text(yaml.safe_dump(values))
    assert prepared(run_file, "spread", "prepare.workers=2") == prepared(run_file, "alone")


@pytest.mark.slow
def test_a_fault_of_one_file_is_told_as_by_one_process_and_leaves_nothing(run_file: Path) -> None:
    pl.read_parquet("raw/part-4.parquet").with_columns(price=pl.lit(float("inf"))).write_parquet("raw/part-4.parquet")
    told = []
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"raw/part-4.parquet") as error:
            prepared(run_file, "out", f"prepare.workers={workers}")
        told.append(str(error.value))
    assert told[0] == told[1]
    assert sorted(path.name for path in Path().iterdir() if path.suffix != ".lock") == ["raw", "run.yaml"]


def test_what_hangs_on_all_files_is_refused(run_file: Path) -> None:
    values = yaml.safe_load(run_file.read_text())
    values["dataset"]["roles"] |= {"group": "user", "timestamp": "id"}
    values["dataset"]["split"] = {"by": "time", "valid": 0.2, "test": 0.2}
    values["dataset"]["features"] = [
        {"kind": "categorical", "name": "item"},
        {
            "kind": "sequence",
            "name": "past",
            "max_length": 3,
            "log": {},
            "members": [{"kind": "categorical", "name": "item", "share": "item"}],
        },
    ]
    run_file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"histories of past hangs on all files at once; set prepare.workers to 0"):
        prepared(run_file, "out", "prepare.workers=2")


def test_workers_that_there_are_no_cores_for_are_not_waited_for_without_end(run_file: Path) -> None:
    with pytest.raises(ClusterError, match=r"[0-3] of 4 workers have started within 5 s .* has 3 cores"):
        prepared(run_file, "out", "prepare.workers=4", "cluster.patience_seconds=5")
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_file_whose_worker_is_lost_is_worked_on_again(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker is killed while it works; Ray starts it again and gives it the file once more."""
    alone = prepared(run_file, "alone")
    submit, killed = Pool.submit, []

    def submit_and_kill(self: Pool, place: int, task: Any) -> None:
        submit(self, place, task)
        if not killed and task[1] == 3:
            ray.kill(self._actors[place], no_restart=False)
            killed.append(task)

    monkeypatch.setattr(Pool, "submit", submit_and_kill)
    assert prepared(run_file, "spread", "prepare.workers=2") == alone
    assert killed
