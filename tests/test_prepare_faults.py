"""Faulty rows, damaged files and full disks: what is wrong is named, and nothing half-written is left."""

from __future__ import annotations

import errno
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import ConfigError, CtrgateError, DataError, SchemaError
from ctrgate.prepare import Config, run
from tests.preparing import FEATURES, FRAME, config, left, made_at, written


@pytest.mark.parametrize(
    ("frame", "values", "error", "said"),
    [
        (FRAME.drop("price"), {}, SchemaError, r"1\.parquet lacks columns \['price'\] that dataset\.features declares"),
        (FRAME.drop("click"), {}, SchemaError, r"1\.parquet lacks columns \['click'\] that dataset\.labels"),
        (FRAME.with_columns(price=pl.lit("x")), {}, SchemaError, r"1\.parquet: price needs a number"),
        (FRAME.with_columns(user=pl.lit("x")), {}, SchemaError, r"1\.parquet: column user holds String"),
        (
            FRAME.with_columns(price=pl.when(pl.col("time") == 30).then(math.inf).otherwise(1.0)),
            {},
            DataError,
            r"1\.parquet, row 2 \(counted from 0\): price: 'price' is infinite",
        ),
        (FRAME.with_columns(click=pl.col("time")), {}, DataError, r"1\.parquet row 0 .*: click is 10; the label click"),
        (FRAME.with_columns(time=None), {}, SchemaError, r"1\.parquet: the timestamp reads column time"),
    ],
)
def test_a_faulty_file_is_named_and_nothing_is_left(
    tmp_path: Path, frame: pl.DataFrame, values: dict[str, Any], error: type[CtrgateError], said: str
) -> None:
    written(tmp_path, FRAME, frame)
    with pytest.raises(error, match=said):
        run(config(tmp_path, **values))
    assert left(tmp_path) == []


def test_what_features_and_roles_lack_is_told_together(tmp_path: Path) -> None:
    written(tmp_path, FRAME.drop("price", "time"))
    with pytest.raises(SchemaError) as told:
        run(config(tmp_path))
    assert "lacks columns ['price'] that dataset.features declares" in str(told.value)
    assert "lacks columns ['time'] that dataset.labels and dataset.roles name" in str(told.value)


def test_train_without_a_positive_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME.with_columns(click=(pl.col("time") > 60).cast(pl.Int8)))
    with pytest.raises(DataError, match="train has no positive row: label click is 0 everywhere"):
        run(config(tmp_path))
    assert left(tmp_path) == []


def test_a_split_without_rows_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    split = {"by": "time", "valid_from": 1000, "test_from": 2000}
    with pytest.raises(DataError, match=r"valid has no rows; see dataset\.split"):
        run(config(tmp_path, split=split))
    written(tmp_path, FRAME.clear())
    with pytest.raises(DataError, match="train has no rows"):
        run(config(tmp_path))
    assert left(tmp_path) == []


def test_damage_in_the_middle_of_a_file_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    pl.DataFrame({"user": range(50_000), "click": [0, 1] * 25_000}).write_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", "a") as file:
        file.write("7,1,9,9,9\n")
    values = {"files": str(tmp_path / "a.csv"), "roles": {}, "features": FEATURES[:1]}
    with pytest.raises(DataError, match=r"a\.csv cannot be read: .*found more fields"):
        run(config(tmp_path, **values))
    assert left(tmp_path) == []


def test_a_parquet_file_with_broken_pages_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": pl.int_range(50_000, eager=True).shuffle(seed=1), "click": [0, 1] * 25_000})
    written(tmp_path, frame)
    path = tmp_path / "0.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"0\.parquet cannot be read: "):
        run(config(tmp_path, roles={}, features=FEATURES[:1]))
    assert left(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    before = made_at(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match=r"no space left on the disk of .*out; nothing was written"):
        run(config(tmp_path, features=FEATURES[:1]))
    assert made_at(tmp_path) == before
    assert left(tmp_path) == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_while_writing_is_told(tmp_path: Path, small_disk: Path) -> None:
    rows = pl.DataFrame({"user": pl.int_range(60_000, eager=True).shuffle(seed=1), "click": [0, 1] * 30_000})
    written(tmp_path, rows)
    given = config(tmp_path, roles={}, features=[{"kind": "numeric", "name": "user"}])
    given = TypeAdapter(Config).validate_python(
        {"dataset": given.dataset, "prepare": {"into": str(small_disk / "out")}}
    )
    with pytest.raises(DataError, match="no space left on the disk"):
        run(given)
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    known = TypeAdapter(Config).validate_python
    for name in ("notes", "artifact"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes/notes.txt").write_text("keep me")
    for file in ("manifest.json", "network.json"):
        (tmp_path / "artifact" / file).write_text("{}")
    for place in ("", "notes", "artifact", "0.parquet"):
        before = sorted(tmp_path.rglob("*"))
        given = {"dataset": config(tmp_path).dataset, "prepare": {"into": str(tmp_path / place)}}
        with pytest.raises(ConfigError, match=r"prepare\.into: .* holds other files than prepared rows"):
            run(known(given))
        assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "out").mkdir()
    run(config(tmp_path))
