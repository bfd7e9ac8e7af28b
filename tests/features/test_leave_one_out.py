"""A user's last rows: which are left out, which are the only ones of train."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.leave_one_out import last_train_rows
from ctrgate.features.roles import SPLIT
from ctrgate.features.sources import open_sources
from ctrgate.features.splits import assign

Rows = list[tuple[int, int]]  # user and time


def parted(folder: Path, tables: list[Rows], *, last: bool = False, **values: Any) -> list[str | None]:
    """The split of every row, file by file; None for rows that are not kept."""
    for number, rows in enumerate(tables):
        schema = {"u": pl.Int64, "t": pl.Int64}
        frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(n=pl.int_range(pl.len()))
        frame.write_parquet(folder / f"{number}.parquet")
    base = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "split": {"by": "leave_one_out"},
        "roles": {"group": "u", "timestamp": "t"},
        "features": [{"kind": "categorical", "name": "u"}],
    }
    config = TypeAdapter(DatasetConfig).validate_python(base | values)
    sources = open_sources(config)
    frames = assign(config, sources)
    if last:
        frames = last_train_rows(config, sources, frames)
    found: list[str | None] = []
    for frame, rows in zip(frames, tables, strict=True):
        kept = dict(frame.select("n", SPLIT).collect().iter_rows())
        found += [kept.get(place) for place in range(len(rows))]
    return found


def test_a_users_last_row_tests_the_one_before_validates_and_the_rest_train(tmp_path: Path) -> None:
    files = [[(1, 1), (2, 9), (1, 4), (1, 2)], [(2, 3), (2, 4), (1, 3)]]
    assert parted(tmp_path, files) == ["train", "test", "test", "train", "train", "valid", "valid"]


def test_users_with_too_few_rows_only_train(tmp_path: Path) -> None:
    files = [[(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)]]
    assert parted(tmp_path, files) == ["train", "train", "train", "train", "valid", "test"]
    rule = {"by": "leave_one_out", "valid": False}
    assert parted(tmp_path, files, split=rule) == ["train", "train", "test", "train", "train", "test"]
    rule = {"by": "leave_one_out", "test": False}
    assert parted(tmp_path, files, split=rule) == ["train", "train", "valid", "train", "train", "valid"]


def test_rows_of_one_time_go_by_the_order_of_the_files(tmp_path: Path) -> None:
    assert parted(tmp_path, [[(1, 5), (1, 5)], [(1, 5), (1, 4)]]) == ["train", "valid", "test", "train"]


@pytest.mark.parametrize("roles", [{"order": "t"}, {}])
def test_without_a_clock_the_order_column_or_the_files_decide(tmp_path: Path, roles: dict[str, str]) -> None:
    found = parted(tmp_path, [[(1, 3), (1, 2)], [(1, 1)]], roles={"group": "u"} | roles)
    assert found == (["test", "valid", "train"] if roles else ["train", "valid", "test"])


some_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


@examples(max_examples=50, deadline=None)
@given(files=st.lists(some_rows, min_size=1, max_size=3), last=st.booleans())
def test_it_is_what_a_loop_over_users_gives(files: list[Rows], last: bool) -> None:
    rows = [row for part in files for row in part]
    expected: list[str | None] = ["train"] * len(rows)
    for user in {user for user, _ in rows}:
        places = sorted((row[1], place) for place, row in enumerate(rows) if row[0] == user)
        if len(places) >= 3:
            expected[places[-1][1]], expected[places[-2][1]] = "test", "valid"
        if last:
            for _, place in [each for each in places if expected[each[1]] == "train"][:-1]:
                expected[place] = None
    with tempfile.TemporaryDirectory() as folder:
        assert parted(Path(folder), files, last=last) == expected


def test_the_last_row_of_train_is_told_by_any_split(tmp_path: Path) -> None:
    files = [[(1, 1), (2, 7), (1, 4), (3, 9)], [(1, 8), (2, 2), (1, 2)]]
    rule = {"by": "time", "valid_from": 7, "test_from": 8}
    found = parted(tmp_path, files, last=True, split=rule)
    assert found == [None, "valid", "train", "test", "test", "train", None]


def test_the_last_row_of_train_may_be_in_any_of_the_given_files(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{number}.parquet") for number in range(3)]
    splits = {"train": names[:2], "test": names[2]}
    files = [[(1, 5), (2, 1)], [(1, 3), (3, 3)], [(1, 1), (2, 9)]]
    found = parted(tmp_path, files, last=True, files=[], split=None, splits=splits)
    assert found == ["train", "train", None, "train", "test", "test"]
