"""Histories from the log: nothing of the future, the rule of the same second, and what is an event."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ctrgate.errors import DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.histories import histories
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import open_sources

ITEM = {"kind": "categorical", "name": "item"}
Row = tuple[int | None, int | None, int, int]  # user, time, item, click


def dataset(folder: Path, **values: Any) -> DatasetConfig:
    """Files ``0.parquet`` and so on with users ``u``, times ``t``, items and clicks; histories of at most 3 items."""
    group = {"kind": "sequence", "name": "h", "max_length": 3, "log": {}, "members": [ITEM]} | values.pop("group", {})
    given = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "split": {"by": "order"},
        "roles": {"group": "u", "timestamp": "t"},
        "features": [group],
    }
    return TypeAdapter(DatasetConfig).validate_python(given | values)


def written(folder: Path, *files: list[Row]) -> None:
    schema = {"u": pl.Int64, "t": pl.Int64, "item": pl.Int64, "click": pl.Int64}
    for number, rows in enumerate(files):
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / f"{number}.parquet")


def built(config: DatasetConfig, *, partition_rows: int = 1 << 20, column: str = "h/item") -> list[list[Any]]:
    """The history of every row, file by file."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = open_sources(config)
        columns = histories(config, sources, scratch=Path(scratch), partition_rows=partition_rows)
        frames = [source.rows.with_columns(added) for source, added in zip(sources, columns, strict=True)]
        lists = [frame.select(column).collect(engine="streaming")[column].to_list() for frame in frames]
    return [history for part in lists for history in part]


def naive(rows: list[Row], *, unseen: bool, timed: bool, clicks: bool, longest: int) -> list[list[int]]:
    """The same by a loop over pairs of rows, which are given in the order of files."""
    found = []
    for place, (user, time, _, _) in enumerate(rows):
        earlier = []
        for other, (of, at, item, click) in enumerate(rows):
            if of is None or of != user or (clicks and not click) or (timed and (at is None or time is None)):
                continue
            before = (at, other) < (time, place) if timed else other < place
            if before and not (timed and unseen and at == time):
                earlier.append(((at if timed else 0), other, item))
        found.append([item for *_, item in sorted(earlier)[-longest:]])
    return found


small = st.integers(0, 3)
some_rows = st.lists(st.tuples(st.none() | small, st.none() | small, st.integers(0, 9), st.integers(0, 1)), max_size=12)


@examples(max_examples=60, deadline=None)
@given(
    files=st.lists(some_rows, min_size=1, max_size=3),
    unseen=st.booleans(),
    clock=st.sampled_from(["timestamp", "order", ""]),
    clicks=st.booleans(),
    longest=st.integers(1, 4),
    partition_rows=st.sampled_from([2, 5, 1000]),
)
def test_histories_are_those_of_a_loop_over_all_pairs_of_rows(
    files: list[list[Row]], unseen: bool, clock: str, clicks: bool, longest: int, partition_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), *files)
        config = dataset(
            Path(folder),
            roles={"group": "u"} | ({clock: "t"} if clock else {}),
            same_second="unseen" if unseen else "file_order",
            group={"max_length": longest, "log": {"column": "click", "equals": 1} if clicks else {}},
        )
        rows = [row for part in files for row in part]
        expected = naive(rows, unseen=unseen, timed=bool(clock), clicks=clicks, longest=longest)
        assert built(config, partition_rows=partition_rows) == expected


@pytest.mark.parametrize("same_second", ["unseen", "file_order"])
@pytest.mark.parametrize("partition_rows", [70, 1000])
def test_many_rows_out_of_order_in_several_files_have_the_histories_of_the_loop(
    tmp_path: Path, same_second: str, partition_rows: int
) -> None:
    random = np.random.default_rng(1)
    columns = (random.integers(high, size=600).tolist() for high in (12, 20, 50, 2))
    rows: list[Row] = list(zip(*columns, strict=True))
    written(tmp_path, rows[:250], rows[250:251], rows[251:])
    config = dataset(tmp_path, same_second=same_second, group={"log": {"column": "click", "equals": 1}})
    expected = naive(rows, unseen=same_second == "unseen", timed=True, clicks=True, longest=3)
    assert built(config, partition_rows=partition_rows) == expected


@examples(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(small, st.integers(0, 5), st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=12),
    later=st.lists(st.tuples(small, st.integers(6, 9), st.integers(0, 9), st.integers(0, 1)), max_size=8),
    at=st.integers(0, 5),
    same_second=st.sampled_from(["unseen", "file_order"]),
)
def test_what_happens_later_changes_no_earlier_history(
    rows: list[Row], later: list[Row], at: int, same_second: str
) -> None:
    changed = [row if row[1] <= at else (row[0], row[1], row[2] + 100, 1 - row[3]) for row in rows]  # type: ignore[operator]
    with tempfile.TemporaryDirectory() as folder:
        config = dataset(Path(folder), same_second=same_second)
        written(Path(folder), rows)
        before = built(config)
        written(Path(folder), changed, later)
        after = built(config)
    kept = [place for place, row in enumerate(rows) if row[1] <= at]  # type: ignore[operator]
    assert [after[place] for place in kept] == [before[place] for place in kept]


def test_rows_of_the_same_second_see_none_of_it_or_those_before_them_in_the_files(tmp_path: Path) -> None:
    written(tmp_path, [(1, 5, 10, 0), (1, 5, 11, 0)], [(1, 5, 12, 0), (1, 6, 13, 0), (1, 4, 14, 0)])
    assert built(dataset(tmp_path)) == [[14], [14], [14], [10, 11, 12], []]
    assert built(dataset(tmp_path, same_second="file_order")) == [[14], [14, 10], [14, 10, 11], [10, 11, 12], []]


def test_milliseconds_and_datetimes_count_in_whole_seconds(tmp_path: Path) -> None:
    times = pl.Series([1000, 1999, 2000])
    for time, unit in ((times, "milliseconds"), (times.cast(pl.Datetime("ms")), "seconds")):
        pl.DataFrame({"u": [1, 1, 1], "t": time, "item": [7, 8, 9]}).write_parquet(tmp_path / "0.parquet")
        config = dataset(tmp_path, roles={"group": "u", "timestamp": "t", "timestamp_unit": unit})
        assert built(config) == [[], [], [7, 8]]


def test_repeated_items_stay_and_the_last_ones_are_kept_the_oldest_first(tmp_path: Path) -> None:
    written(tmp_path, [(1, time, item, 0) for time, item in enumerate([4, 4, 5, 4, 6])])
    assert built(dataset(tmp_path)) == [[], [4], [4, 4], [4, 4, 5], [4, 5, 4]]


def test_a_user_with_one_row_has_an_empty_history(tmp_path: Path) -> None:
    written(tmp_path, [(1, 1, 10, 0), (2, 2, 11, 0), (1, 3, 12, 0)])
    assert built(dataset(tmp_path)) == [[], [], [10]]


def test_a_row_without_user_or_time_has_no_history_and_is_no_event(tmp_path: Path) -> None:
    written(tmp_path, [(1, 1, 10, 0), (None, 2, 11, 0), (1, None, 12, 0), (None, 3, 13, 0), (1, 4, 14, 0)])
    assert built(dataset(tmp_path)) == [[], [], [], [], [10]]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ({"column": "what", "equals": "buy"}, [[], [], [11], [11], [11]]),
        ({"column": "stars", "at_least": 4}, [[], [10], [10, 11], [10, 11], [10, 11]]),
        ({"column": "stars", "equals": 5}, [[], [], [11], [11], [11]]),
        ({"column": "flag", "equals": 1}, [[], [10], [10], [10, 12], [10, 12]]),
        ({"column": "nothing", "equals": 1}, [[]] * 5),
    ],
)
def test_a_rule_tells_which_rows_are_events_and_all_rows_have_histories(
    tmp_path: Path, log: dict[str, Any], expected: list[list[int]]
) -> None:
    frame = pl.DataFrame(
        {
            "u": [1] * 5,
            "t": range(5),
            "item": [10, 11, 12, 13, 14],
            "what": ["view", "buy", None, "view", "buy"],
            "stars": [4.0, 5.0, None, float("nan"), 3.0],
            "flag": [True, False, True, None, False],
            "nothing": [None] * 5,
        }
    )
    frame.write_parquet(tmp_path / "0.parquet")
    assert built(dataset(tmp_path, group={"log": log})) == expected


def test_dropped_values_are_no_events_before_the_history_is_cut(tmp_path: Path) -> None:
    written(tmp_path, [(1, time, item, 0) for time, item in enumerate([4, 5, 0, 6, 0, 7])])
    member = ITEM | {"drop": [0]}
    assert built(dataset(tmp_path, group={"members": [member]}))[-1] == [4, 5, 6]


def test_members_are_aligned_and_keep_their_nulls(tmp_path: Path) -> None:
    members = [ITEM, {"kind": "numeric", "name": "price"}, {"kind": "categorical", "name": "shop", "column": "s"}]
    first = pl.DataFrame({"u": ["x"] * 2, "t": [1, 2], "item": ["a", None], "price": [None, 2], "s": [None, None]})
    second = pl.DataFrame({"u": ["x"] * 2, "t": [4, 3], "item": ["b", "c"], "price": [0.5, 1.5], "s": ["p", "q"]})
    first.write_parquet(tmp_path / "0.parquet")
    second.write_parquet(tmp_path / "1.parquet")
    config = dataset(tmp_path, group={"members": members})
    assert built(config)[2] == ["a", None, "c"]
    assert built(config, column="h/price")[2] == [None, 2.0, 1.5]
    assert built(config, column="h/shop", partition_rows=1)[2] == [None, None, "q"]


def test_joined_columns_can_be_members(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,genre\n10,war\n11,love\n")
    written(tmp_path, [(1, 1, 10, 0), (1, 2, 11, 0), (1, 3, 12, 0)])
    joins = [{"files": str(tmp_path / "items.csv"), "on": "item"}]
    config = dataset(tmp_path, joins=joins, group={"members": [{"kind": "categorical", "name": "genre"}]})
    assert built(config, column="h/genre") == [[], ["war"], ["war", "love"]]


def test_several_histories_go_by_rules_and_lengths_of_their_own(tmp_path: Path) -> None:
    written(tmp_path, [(1, time, time, time % 2) for time in range(6)])
    group = {"kind": "sequence", "log": {}, "members": [ITEM]}
    features = [
        group | {"name": "h", "max_length": 5},
        group | {"name": "k", "max_length": 1, "log": {"column": "click", "equals": 1}},
    ]
    config = dataset(tmp_path, features=features)
    assert built(config)[-1] == [0, 1, 2, 3, 4]
    assert built(config, column="k/item", partition_rows=1)[-1] == [3]


def test_rows_left_out_or_read_in_another_order_keep_their_own_history(tmp_path: Path) -> None:
    written(tmp_path, [(1, time, 10 + time, 0) for time in range(4)])
    config = dataset(tmp_path)
    (source,) = open_sources(config)
    ((column,),) = histories(config, [source], scratch=tmp_path)
    rows = source.rows.with_columns(column).filter(pl.col(ROW) != 2).sort("t", descending=True)
    assert rows.collect()["h/item"].to_list() == [[10, 11, 12], [10], []]


def test_files_without_rows_have_columns_all_the_same(tmp_path: Path) -> None:
    written(tmp_path, [], [])
    assert built(dataset(tmp_path)) == []


def test_damage_is_told_with_the_file(tmp_path: Path) -> None:
    written(tmp_path, [(1, 1, 1, 1)] * 5000)
    config = dataset(tmp_path)
    content = bytearray((tmp_path / "0.parquet").read_bytes())
    content[4:60] = b"\xff" * 56
    (tmp_path / "0.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.parquet cannot be read"):
        built(config)
