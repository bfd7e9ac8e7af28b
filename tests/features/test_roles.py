"""Labels and the other roles: rules, types, and what is said of values that cannot be used."""

from __future__ import annotations

import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.roles import check_roles, count_rows, role_columns, roles_of
from ctrgate.features.sources import Source, open_sources
from ctrgate.features.splits import assign

NAN, INF = math.nan, math.inf


def opened(folder: Path, columns: dict[str, Any], **values: Any) -> tuple[DatasetConfig, Source]:
    path = folder / "a.parquet"
    pl.DataFrame(columns, strict=False).write_parquet(path)
    given = {
        "name": "d",
        "splits": {"train": str(path)},
        "labels": [{"name": "y"}],
        "features": [{"kind": "categorical", "name": "u"}],
    }
    dataset = TypeAdapter(DatasetConfig).validate_python(given | values)
    return dataset, open_sources(dataset)[0]


def encoded(folder: Path, columns: dict[str, Any], **values: Any) -> dict[str, list[Any]]:
    dataset, source = opened(folder, columns, **values)
    check_roles(dataset, source)
    return source.rows.select(role_columns(dataset, source.schema)).collect().to_dict(as_series=False)


def counted(folder: Path, columns: dict[str, Any], **values: Any) -> Any:
    dataset, source = opened(folder, columns, **values)
    check_roles(dataset, source)
    return count_rows(dataset, source, assign(dataset, [source])[0])


@pytest.mark.parametrize(
    ("values", "label", "expected"),
    [
        ([0, 1, 1], {}, [0.0, 1.0, 1.0]),
        ([True, False], {}, [1.0, 0.0]),
        ([1.0, 0.0], {}, [1.0, 0.0]),
        ([3, 4, 5], {"at_least": 4}, [0.0, 1.0, 1.0]),
        ([3.5, 4.0], {"at_least": 3.75}, [0.0, 1.0]),
        (["buy", "view"], {"equals": "buy"}, [1.0, 0.0]),
        ([2, 3], {"equals": 3}, [0.0, 1.0]),
    ],
)
def test_a_label_is_a_column_or_a_rule_over_one(
    tmp_path: Path, values: list[Any], label: dict[str, Any], expected: list[float]
) -> None:
    columns = encoded(tmp_path, {"raw": values}, labels=[{"name": "y", "column": "raw"} | label])
    assert columns == {"label:y": expected}


@pytest.mark.parametrize("rule", [{}, {"at_least": 1}, {"equals": 1}])
def test_a_label_that_may_be_missing_is_nan_where_it_is(tmp_path: Path, rule: dict[str, Any]) -> None:
    columns = {"y": [1.0, None, NAN]}
    label = {"name": "y", "allow_missing": True} | rule
    found = encoded(tmp_path, columns, labels=[label])["label:y"]
    assert found[0] == 1.0
    assert math.isnan(found[1])
    assert math.isnan(found[2])
    assert counted(tmp_path, columns, labels=[label])["train"].positives == {"y": 1}


@pytest.mark.parametrize(
    ("values", "rule", "said"),
    [
        ([0, 1, 2], {}, r"a\.parquet row 2 \(counted from 0\): y is 2; the label y must be 0 or 1"),
        ([0.0, 0.5, 1.0], {}, r"row 1 .*: y is 0\.5; the label y must be 0 or 1"),
        ([0, -1], {}, r"row 1 .*: y is -1"),
        ([1.0, INF], {}, r"row 1 .*: y is inf"),
        ([1.0, NAN], {}, r"row 1 .*: y is nan; every row needs the label y"),
        ([1, 0, None], {}, r"row 2 .*: y is None; every row needs the label y"),
        ([5, None], {"at_least": 4}, r"row 1 .*: y is None; every row needs the label y"),
        ([5.0, NAN], {"at_least": 4}, r"row 1 .*: y is nan; every row needs the label y"),
        (["a", None], {"equals": "a"}, r"row 1 .*: y is None; every row needs the label y"),
    ],
)
def test_a_label_outside_its_domain_is_told_with_file_and_row(
    tmp_path: Path, values: list[Any], rule: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        counted(tmp_path, {"y": values}, labels=[{"name": "y"} | rule])


@pytest.mark.parametrize("weight", [-0.5, NAN, INF, None])
def test_a_weight_that_is_no_weight_is_told_with_file_and_row(tmp_path: Path, weight: float | None) -> None:
    with pytest.raises(DataError, match=rf"a\.parquet row 1 .*: w is {weight}; a weight must be"):
        counted(tmp_path, {"y": [1, 0], "w": [2.0, weight]}, roles={"weight": "w"})


@pytest.mark.parametrize("role", ["group", "timestamp", "order"])
def test_a_missing_user_time_or_order_is_told_with_file_and_row(tmp_path: Path, role: str) -> None:
    with pytest.raises(DataError, match=rf"a\.parquet row 2 .*: c is None; every row needs the {role}"):
        counted(tmp_path, {"y": [1, 0, 1], "c": [1, 2, None]}, roles={role: "c"})


@pytest.mark.parametrize("role", ["group", "timestamp", "order"])
def test_integers_that_int64_does_not_hold_are_told_with_file_and_row(tmp_path: Path, role: str) -> None:
    values = pl.Series([1, 2**63 + 5, 2**64 - 1], dtype=pl.UInt64)
    with pytest.raises(
        DataError, match=rf"a\.parquet row 1 .*: c is {2**63 + 5}; integers of the {role} must be below"
    ):
        counted(tmp_path, {"y": [1, 0, 1], "c": values}, roles={role: "c"})
    small = pl.Series([7, 2**63 - 1], dtype=pl.UInt64)
    assert counted(tmp_path, {"y": [1, 0], "c": small}, roles={role: "c"})["train"].num_rows == 2


def test_rows_and_positives_are_counted_by_label(tmp_path: Path) -> None:
    count = counted(tmp_path, {"y": [1, 0, 1], "r": [1, 5, 4]}, labels=[{"name": "y"}, {"name": "r", "at_least": 5}])
    assert count["train"].num_rows == 3
    assert count["train"].positives == {"y": 2, "r": 1}


def test_roles_have_their_types_and_names(tmp_path: Path) -> None:
    columns = {"y": [1, 0], "u": [7, 2**40], "w": [1, 2], "t": [5, 6], "o": [1, 2], "s": [True, None], "k": ["a", "b"]}
    roles = {"group": "u", "weight": "w", "timestamp": "t", "order": "o", "segments": "s", "keys": ["k", "u"]}
    dataset, source = opened(tmp_path, columns, roles=roles)
    frame = source.rows.select(role_columns(dataset, source.schema)).collect()
    assert frame.schema == {
        "label:y": pl.Float32,
        "weight:w": pl.Float32,
        "group:u": pl.Int64,
        "timestamp:t": pl.Int64,
        "order:o": pl.Int64,
        "segment:s": pl.String,
        "key:k": pl.String,
        "key:u": pl.Int64,
    }
    assert frame["group:u"].to_list() == [7, 2**40]
    assert frame["segment:s"].to_list() == ["true", None]
    assert roles_of(dataset) == {
        "weight": ("weight:w",),
        "group": ("group:u",),
        "timestamp": ("timestamp:t",),
        "order": ("order:o",),
        "segment": ("segment:s",),
        "key": ("key:k", "key:u"),
    }


def test_a_user_given_as_text_is_the_upper_63_bits_of_its_xxh64(tmp_path: Path) -> None:
    found = encoded(tmp_path, {"y": [1, 0, 1], "u": ["a", "abc", "a"]}, roles={"group": "u"})["group:u"]
    assert found == [0xD24EC4F1A98C6E5B >> 1, 0x44BC2CF5AD770999 >> 1, 0xD24EC4F1A98C6E5B >> 1]


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([86_400, 90_000], "seconds"),
        ([86_400_999, 90_000_000], "milliseconds"),
        ([86_400_000_000, 90_000_000_000], "microseconds"),
        ([datetime(1970, 1, 2), datetime(1970, 1, 2, 1)], "seconds"),
    ],
)
def test_a_timestamp_is_whole_seconds(tmp_path: Path, values: list[Any], unit: str) -> None:
    roles = {"timestamp": "t", "timestamp_unit": unit}
    assert encoded(tmp_path, {"y": [1, 0], "t": values}, roles=roles)["timestamp:t"] == [86_400, 90_000]


def test_a_date_is_a_timestamp_too(tmp_path: Path) -> None:
    found = encoded(tmp_path, {"y": [1], "t": [date(1970, 1, 2)]}, roles={"timestamp": "t"})
    assert found["timestamp:t"] == [86_400]


def test_columns_that_roles_name_and_files_lack_are_told_together(tmp_path: Path) -> None:
    dataset, source = opened(tmp_path, {"y": [1]}, roles={"group": "u", "keys": ["k"]})
    with pytest.raises(SchemaError, match=r"a\.parquet lacks columns \['k', 'u'\] .*; it has \['y'\]"):
        check_roles(dataset, source)


@pytest.mark.parametrize(
    ("columns", "values", "said"),
    [
        ({"y": ["1"]}, {}, r"a\.parquet: label y reads column y, which is String; a label must be a number"),
        ({"y": [1]}, {"labels": [{"name": "y", "equals": "1"}]}, "write the value of equals without quotes"),
        ({"y": [1], "c": ["x"]}, {"roles": {"weight": "c"}}, "the weight reads column c, which is String"),
        ({"y": [1], "c": [1.5]}, {"roles": {"group": "c"}}, "the group reads column c, which is Float64"),
        ({"y": [1], "c": ["x"]}, {"roles": {"timestamp": "c"}}, "the timestamp reads column c, which is String"),
        ({"y": [1], "c": [1.5]}, {"roles": {"order": "c"}}, "the order reads column c, which is Float64"),
    ],
)
def test_a_column_of_the_wrong_type_is_told(
    tmp_path: Path, columns: dict[str, Any], values: dict[str, Any], said: str
) -> None:
    dataset, source = opened(tmp_path, columns, **values)
    with pytest.raises(SchemaError, match=said):
        check_roles(dataset, source)
