"""From raw tables to a prepared folder: what is in it."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from ctrgate.features.encoder import Encoder
from ctrgate.features.prepared import Prepared
from ctrgate.prepare import run
from tests.preparing import FEATURES, FRAME, config, encoded, written


def test_a_prepared_folder_holds_encoded_splits_an_encoder_and_a_manifest(tmp_path: Path) -> None:
    written(tmp_path, FRAME[:7], FRAME[7:])
    result = run(config(tmp_path))
    prepared = Prepared.open(tmp_path / "out")
    assert result["rows"] == {"train": 6, "valid": 2, "test": 2}
    train = encoded(prepared, "train")
    assert train.columns == ["user", "price", "label:click", "group:user", "timestamp:time", "key:user"]
    assert train["user"].to_list() == [2, 3, 2, 4, 3, 5]  # by frequency, then by value
    assert train["price"].to_list() == [0.5, 0.0, 2.0, 1.0, 4.0, 0.5]
    assert train["label:click"].to_list() == [1, 0, 0, 1, 0, 0]
    valid, test = encoded(prepared, "valid"), encoded(prepared, "test")
    assert valid["key:user"].to_list() == [1, 5]
    assert test["timestamp:time"].to_list() == [90, 100]
    assert prepared.manifest.splits["train"].positives == {"click": 2}
    assert prepared.num_rows("test") == 2
    assert prepared.layout.labels == ("click",)
    assert prepared.layout.roles["key"] == ("key:user",)
    assert prepared.dataset == config(tmp_path).dataset
    assert Encoder.load(prepared.encoder_folder).hash == prepared.manifest.encoder == result["encoder"]


def test_the_encoder_learns_from_train_alone(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    prepared = Prepared.open(tmp_path / "out")
    assert encoded(prepared, "valid")["user"].to_list() == [2, 1]  # user 5 was first seen in valid
    assert encoded(prepared, "test")["user"].to_list() == [3, 1]
    assert prepared.layout.tables == {"user": 6}


def test_rows_keep_their_order_in_row_groups_of_one_size(tmp_path: Path) -> None:
    rows = 70_000
    frame = pl.DataFrame(
        {"user": [n % 7 for n in range(rows)], "time": range(rows), "click": [n % 2 for n in range(rows)]}
    )
    written(tmp_path, frame, frame.with_columns(pl.col("time") + rows))
    split = {"by": "order", "valid": 0.0, "test": 0.01}
    run(config(tmp_path, split=split, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert encoded(prepared, "train")["timestamp:time"].to_list() == list(range(2 * rows - 1400))
    assert encoded(prepared, "test")["timestamp:time"].to_list() == list(range(2 * rows - 1400, 2 * rows))
    groups = [pq.read_metadata(path) for path in prepared.files("train")]
    sizes = [[group.row_group(n).num_rows for n in range(group.num_row_groups)] for group in groups]
    assert sizes == [[65_536, rows - 65_536], [65_536, rows - 65_536 - 1400]]
    assert prepared.files("valid") == []
    assert prepared.num_rows("valid") == 0


def test_a_part_ends_after_sixteen_row_groups(tmp_path: Path) -> None:
    rows = 65_536 * 16 + 5
    frame = pl.DataFrame({"user": pl.repeat(1, rows, eager=True), "time": pl.int_range(rows, eager=True)})
    written(tmp_path, frame.with_columns(click=pl.lit(1)))
    run(config(tmp_path, split={"by": "order", "valid": 0.0, "test": 0.0}, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert [path.name for path in prepared.files("train")] == ["part-00000-000.parquet", "part-00000-001.parquet"]
    assert [part.num_rows for part in prepared.manifest.splits["train"].parts] == [rows - 5, 5]
    assert encoded(prepared, "train")["timestamp:time"].equals(pl.int_range(rows, eager=True).alias("timestamp:time"))


def test_extra_columns_are_no_fault(tmp_path: Path) -> None:
    written(tmp_path, FRAME, FRAME.with_columns(other=pl.lit("x")))
    assert run(config(tmp_path))["rows"] == {"train": 12, "valid": 4, "test": 4}


def test_a_missing_number_is_no_fault_whether_null_or_nan(tmp_path: Path) -> None:
    written(tmp_path, FRAME.with_columns(price=pl.lit(math.nan)))
    run(config(tmp_path))
    assert encoded(Prepared.open(tmp_path / "out"), "train")["price"].to_list() == [0.0] * 6


def test_a_dataset_without_labels_can_be_prepared(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path, labels=[]))
    assert Prepared.open(tmp_path / "out").layout.labels == ()


def test_sampled_negatives_are_counted_and_the_rate_is_recorded(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1] * 4000, "time": range(4000), "click": [1, 0, 0, 0] * 1000})
    written(tmp_path, frame)
    run(config(tmp_path, negative_sampling_rate=0.25, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.manifest.negative_sampling_rate == 0.25
    assert prepared.manifest.splits["train"].positives == {"click": 600}
    assert prepared.num_rows("train") == encoded(prepared, "train").height == pytest.approx(600 + 450, abs=70)
    assert prepared.num_rows("test") == 800
