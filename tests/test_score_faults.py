"""Scoring what cannot be scored: each fault is told with its file, and nothing is left."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from ctrgate.errors import ArtifactError, ConfigError, DataError, SchemaError
from ctrgate.files import locked
from ctrgate.scoring.job import open_job
from ctrgate.scoring.scorer import Scorer
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.tracking import TrackingConfig


def scores(into: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(into.glob("part-*.parquet"))])


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def missing(rows: pl.DataFrame, path: Path) -> None:
    rows.drop("price", "seen").write_parquet(path)


def keyless(rows: pl.DataFrame, path: Path) -> None:
    rows.drop("id").write_parquet(path)


def wrong_type(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(pl.lit("dear").alias("price")).write_parquet(path)


def other_type(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(pl.col("user").cast(pl.String)).write_parquet(path)


def infinite(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(price=pl.when(pl.col("id") == 17).then(float("inf")).otherwise(1.0)).write_parquet(path)


def unequal(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(pl.when(pl.col("id") == 3).then([0.5] * 9).otherwise("ago").alias("ago")).write_parquet(path)


def truncated(rows: pl.DataFrame, path: Path) -> None:
    rows.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])


def scrambled(rows: pl.DataFrame, path: Path) -> None:
    rows.write_parquet(path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)


def empty(rows: pl.DataFrame, path: Path) -> None:  # noqa: ARG001
    path.write_bytes(b"")


def found_before_it_begins(says: str) -> bool:
    """Whether a fault shows without reading rows; one that does not may leave finished parts to go on from."""
    return "row " not in says and "cannot be read" not in says


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (missing, SchemaError, r"b\.parquet lacks columns \['price', 'seen'\] that dataset.features declares"),
        (keyless, SchemaError, r"b\.parquet lacks columns \['id'\] that dataset.roles.keys names"),
        (wrong_type, SchemaError, r"b\.parquet: price needs a number"),
        (
            other_type,
            SchemaError,
            r"b\.parquet: user is text in the table to encode, but was integers in the train rows",
        ),
        (infinite, DataError, r"b\.parquet, row 17 \(counted from 0\): price: 'price' is infinite"),
        (unequal, DataError, r"b\.parquet, row 3 .*'seen' and 'ago' differ in length"),
        (truncated, DataError, r"b\.parquet cannot be read"),
        (scrambled, DataError, r"b\.parquet cannot be read"),
        (empty, DataError, r"b\.parquet is empty \(0 bytes\)"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_cannot_be_scored_is_named_and_nothing_is_written(
    dense_run: Any,
    tmp_path: Path,
    spoil: Callable[[pl.DataFrame, Path], None],
    error: type[Exception],
    says: str,
) -> None:
    dense_run.rows.write_parquet(tmp_path / "a.parquet")
    spoil(dense_run.rows, tmp_path / "b.parquet")
    with pytest.raises(error, match=says):
        dense_run("score", f"score.files={tmp_path}/*.parquet", f"score.into={tmp_path / 'to/out'}")
    assert not (tmp_path / "to" / "out").exists()
    if found_before_it_begins(says):
        assert not (tmp_path / "to").exists()


def test_a_full_disk_is_told_and_leaves_what_was_there(
    dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense_run.rows.write_parquet(tmp_path / "a.parquet")
    order = [f"score.files={tmp_path / 'a.parquet'}", f"score.into={tmp_path / 'to/out'}"]
    dense_run("score", *order)
    before = scores(tmp_path / "to/out")
    order += ["score.batch_rows=50", "score.replace=true"]

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match=r"no space left on the disk of .*out; what is scored is kept"):
        dense_run("score", *order)
    assert "out" in left(tmp_path / "to")
    assert scores(tmp_path / "to/out").equals(before)


def test_two_jobs_for_one_folder_exclude_each_other(dense_run: Any, tmp_path: Path) -> None:
    dense_run.rows.write_parquet(tmp_path / "a.parquet")
    order = [f"score.files={tmp_path / 'a.parquet'}", f"score.into={tmp_path / 'out'}"]
    with (
        locked(tmp_path / ".out.lock", what="x"),
        pytest.raises(ConfigError, match="another process works on the scores"),
    ):
        dense_run("score", *order)
    assert left(tmp_path) == ["a.parquet"]


def test_a_file_named_twice_is_refused(dense_run: Any, tmp_path: Path) -> None:
    dense_run.rows.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is named 2 times"):
        dense_run("score", f"score.files=[{tmp_path}/*.parquet, {tmp_path}/a.parquet]", f"score.into={tmp_path}/out")


def test_scores_of_another_model_or_other_files_stay_unless_they_are_to_be_replaced(
    dense_run: Any, trained_run: Any, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        dense_run.rows[:5].write_parquet(tmp_path / f"{name}.parquet")
    into = f"score.into={tmp_path}/out"
    first, second = (f"score.files={tmp_path}/{name}.parquet" for name in ("a", "b"))
    dense_run("score", first, into)
    dense_run("score", first, into)  # the same again
    with pytest.raises(ConfigError, match=r"holds scores of other files; .*score\.replace=true"):
        dense_run("score", second, into)
    with pytest.raises(ConfigError, match=r"holds scores of another model"):
        trained_run("fused")("score", first, into)
    dense_run("score", second, into, "score.replace=true")
    assert left(tmp_path / "out") != []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="holds no finished scores"):
        dense_run("score", first, f"score.into={tmp_path / 'mine'}", "score.replace=true")
    assert left(tmp_path / "mine") == ["notes.txt"]


def test_a_machine_that_computes_another_form_scores_no_part(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    settings = ScoreSettings(files=(str(raw),))
    tracking = TrackingConfig(enabled=False)
    job = open_job(settings, into=tmp_path / "out", reference=str(dense_run.artifact), dataset=None, tracking=tracking)
    other = dataclasses.replace(job.order(tmp_path), form="bf16")
    with pytest.raises(ArtifactError, match=r"computes fp32, not the bf16 of the job.*score\.form"):
        Scorer(other, artifact=job.artifact)


def test_a_dataset_with_other_features_than_the_models_is_refused(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    features = "dataset.features=[{kind: categorical, name: user, missing: zero}]"
    with pytest.raises(ConfigError, match=r"dataset\.features differ from those that the model has learnt \(.*user"):
        dense_run("score", f"score.files={raw}", f"score.into={tmp_path}/out", features)


def test_a_key_that_is_called_as_a_score_is_refused(dense_run: Any, tmp_path: Path) -> None:
    dense_run.rows[:5].with_columns(score=1).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"dataset\.roles\.keys names score"):
        dense_run("score", f"score.files={tmp_path}/a.parquet", "dataset.roles.keys=[id, score]")
