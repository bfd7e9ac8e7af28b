"""Splits: every row in one of them, by a rule that can be worked out by hand, and the same one every time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.hashing import hash_column, hash_text
from ctrgate.features.roles import SPLIT
from ctrgate.features.sources import open_sources
from ctrgate.features.splits import assign, uniform


def split(folder: Path, tables: list[dict[str, Any]], **values: Any) -> pl.DataFrame:
    """All rows with the split they fell in."""
    for number, columns in enumerate(tables):
        pl.DataFrame(columns).write_parquet(folder / f"{number}.parquet")
    given = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "labels": [{"name": "y"}],
        "features": [{"kind": "categorical", "name": "u"}],
    }
    dataset = TypeAdapter(DatasetConfig).validate_python(given | values)
    return pl.concat([frame.collect() for frame in assign(dataset, open_sources(dataset))])


def by_split(frame: pl.DataFrame, column: str) -> dict[str, list[Any]]:
    return {name: frame.filter(pl.col(SPLIT) == name)[column].to_list() for name in ("train", "valid", "test")}


def test_given_files_are_their_splits(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{number}.parquet") for number, name in enumerate(("test", "train", "valid"))}
    frame = split(tmp_path, [{"x": [1, 2]}, {"x": [3]}, {"x": [4]}], files=[], splits=files)
    assert by_split(frame, "x") == {"train": [3], "valid": [4], "test": [1, 2]}


def test_by_time_the_moments_part_the_rows(tmp_path: Path) -> None:
    rule = {"by": "time", "valid_from": "1970-01-01T00:00:20Z", "test_from": 30}
    frame = split(tmp_path, [{"t": [30, 19, 20]}, {"t": [29, 31]}], split=rule, roles={"timestamp": "t"})
    assert by_split(frame, "t") == {"train": [19], "valid": [20, 29], "test": [30, 31]}


def test_by_time_a_moment_without_a_zone_is_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    rule = {"by": "time", "test_from": "1970-01-01 00:00:30"}
    frame = split(tmp_path, [{"t": [29, 30]}], split=rule, roles={"timestamp": "t"})
    monkeypatch.undo()
    time.tzset()
    assert by_split(frame, "t") == {"train": [29], "valid": [], "test": [30]}


def test_by_time_shares_take_the_latest_rows_and_keep_a_second_together(tmp_path: Path) -> None:
    rule = {"by": "time", "valid": 0.2, "test": 0.2}
    frame = split(tmp_path, [{"t": [9, 3, 8, 1, 5]}, {"t": [7, 2, 6, 4, 0]}], split=rule, roles={"timestamp": "t"})
    assert by_split(frame, "t") == {"train": [3, 1, 5, 2, 4, 0], "valid": [7, 6], "test": [9, 8]}
    frame = split(tmp_path, [{"t": [0, 1, 2, 3, 4]}, {"t": [5, 6, 7, 7, 7]}], split=rule, roles={"timestamp": "t"})
    assert by_split(frame, "t") == {"train": [0, 1, 2, 3, 4, 5], "valid": [6], "test": [7, 7, 7]}


def test_by_order_the_last_rows_of_the_last_files_test(tmp_path: Path) -> None:
    frame = split(tmp_path, [{"x": [0, 1, 2, 3]}, {"x": [4, 5, 6, 7, 8, 9]}], split={"by": "order"})
    assert by_split(frame, "x") == {"train": list(range(8)), "valid": [8], "test": [9]}
    frame = split(tmp_path, [{"x": [0, 1]}, {"x": [2]}], split={"by": "order", "valid": 0.3, "test": 0.34})
    assert by_split(frame, "x") == {"train": [0], "valid": [1], "test": [2]}


@pytest.mark.parametrize("users", [list(range(500)), [f"u{n}" for n in range(500)]])
def test_by_user_a_user_is_in_one_split_whichever_file_holds_the_row(tmp_path: Path, users: list[Any]) -> None:
    rule = {"by": "user", "valid": 0.2, "test": 0.1}
    frame = split(tmp_path, [{"u": users}, {"u": users[::-1]}], split=rule, roles={"group": "u"})
    parts = {name: set(found) for name, found in by_split(frame, "u").items()}
    assert sum(len(part) for part in parts.values()) == 500
    assert len(parts["valid"]) == pytest.approx(100, abs=30)
    assert len(parts["test"]) == pytest.approx(50, abs=25)
    alone = split(tmp_path, [{"u": users[:10]}, {"u": users[:1]}], split=rule, roles={"group": "u"})
    assert all(set(found) <= parts[name] for name, found in by_split(alone, "u").items())


def test_by_ratio_the_shares_hold_and_only_seed_and_place_decide(tmp_path: Path) -> None:
    files = [{"x": list(range(5000)), "z": [0] * 5000}, {"x": list(range(5000, 10_000)), "z": [1] * 5000}]
    rule = {"by": "ratio", "valid": 0.2, "test": 0.1, "seed": 3}
    first = by_split(split(tmp_path, files, split=rule), "x")
    assert len(first["valid"]) == pytest.approx(2000, abs=200)
    assert len(first["test"]) == pytest.approx(1000, abs=150)
    assert by_split(split(tmp_path, files, split=rule), "x") == first
    assert by_split(split(tmp_path, files, split=rule | {"seed": 4}), "x") != first
    second_file = {x - 5000 for x in first["test"] if x >= 5000}
    assert second_file != {x for x in first["test"] if x < 5000}


def test_a_draw_is_the_upper_53_bits_of_the_hash() -> None:
    numbers = pl.Series([0, 1, -1, 2**62])
    drawn = pl.select(uniform(pl.lit(numbers), seed="s")).to_series().to_list()
    expected = [(value >> 11) / 2**53 for value in hash_column(numbers, seed=hash_text("s")).to_list()]
    assert drawn == expected
    assert all(0 <= value < 1 for value in drawn)


def test_sampling_keeps_positives_other_splits_and_a_share_of_the_negatives(tmp_path: Path) -> None:
    columns = {"x": list(range(20_000)), "y": [int(n % 4 == 0) for n in range(20_000)]}
    values = {"split": {"by": "order", "valid": 0.2, "test": 0.2}, "negative_sampling_rate": 0.3}
    frame = split(tmp_path, [columns], **values)
    kept = by_split(frame, "x")
    assert kept["valid"] == list(range(12_000, 16_000))
    assert kept["test"] == list(range(16_000, 20_000))
    train = frame.filter(pl.col(SPLIT) == "train")
    assert train["y"].sum() == 3000
    assert (train["y"] == 0).sum() == pytest.approx(2700, abs=200)
    assert by_split(split(tmp_path, [columns], **values), "x") == kept
