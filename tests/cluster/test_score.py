"""Scoring in processes of Ray: the bytes of one process, faults told alike, lost processes made up for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ctrgate.cluster.pool import Pool
from ctrgate.cluster.ray import ray, started
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.errors import DataError, HeldBackError
from ctrgate.files import checksum


@pytest.fixture(scope="module", autouse=True)
def ray_of_these_tests() -> Iterator[None]:
    """Ray, started once."""
    with started(ClusterConfig(), num_cpus=2):
        yield


@pytest.fixture
def files(dense_run: Any, tmp_path: Path) -> Path:
    """Six files of small row groups."""
    for number in range(6):
        dense_run.rows[number * 90 : number * 90 + 90].write_parquet(
            tmp_path / f"in-{number}.parquet", row_group_size=20
        )
    return tmp_path


def scored(dense_run: Any, files: Path, into: str, *overrides: str) -> dict[str, str]:
    """The scores, byte by byte."""
    order = [f"score.files=['{files}/in-*.parquet']", f"score.model={dense_run.artifact}", "score.unit_rows=40"]
    dense_run("score", *order, f"score.into={files / into}", *overrides)
    return {path.name: checksum(path) for path in (files / into).iterdir()}


TWO = ("score.ray=true", "score.processes=2")


def test_processes_of_ray_score_to_the_bytes_of_one_process(dense_run: Any, files: Path) -> None:
    alone = scored(dense_run, files, "alone")
    assert len(alone) > 12
    assert scored(dense_run, files, "spread", *TWO) == alone


@pytest.mark.slow
def test_a_file_at_fault_is_told_or_left_out_as_by_one_process(dense_run: Any, files: Path) -> None:
    rows = pl.read_parquet(files / "in-2.parquet").with_row_index("place")
    spoilt = rows.with_columns(price=pl.when(pl.col("place") == 50).then(float("inf")).otherwise("price"))
    spoilt.drop("place").write_parquet(files / "in-2.parquet", row_group_size=20)
    told = []
    for name, overrides in {"alone": (), "spread": TWO}.items():
        with pytest.raises(DataError, match=r"in-2.parquet, row 50 ") as error:
            scored(dense_run, files, name, *overrides)
        told.append(str(error.value))
        with pytest.raises(HeldBackError, match=r"in-2.parquet"):
            scored(dense_run, files, name, *overrides, "score.on_bad_file=skip")
    assert told[0] == told[1]
    alone, spread = ({path.name for path in (files / name).iterdir()} for name in ("alone", "spread"))
    assert alone == spread
    assert not any("in-2" in name for name in alone)


@pytest.mark.slow
def test_a_unit_whose_process_is_lost_is_scored_by_another(
    dense_run: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = scored(dense_run, files, "alone")
    submit, killed = Pool.submit, []

    def submit_and_kill(self: Pool, place: int, task: Any) -> None:
        submit(self, place, task)
        if len(killed) < 2 and task[0][0] in (1, 3):
            ray.kill(self._actors[place], no_restart=False)
            killed.append(task)

    monkeypatch.setattr(Pool, "submit", submit_and_kill)
    assert scored(dense_run, files, "spread", *TWO) == alone
    assert len(killed) == 2
