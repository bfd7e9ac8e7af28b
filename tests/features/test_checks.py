"""Tables that cannot be read as declared are refused with the feature, the column and the row named."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.rawfile import ROW

HISTORY = {
    "kind": "sequence",
    "name": "h",
    "max_length": 2,
    "members": [{"kind": "categorical", "name": "a"}, {"kind": "numeric", "name": "b"}],
}


def declared(*features: dict[str, Any]) -> tuple[Feature, ...]:
    return TypeAdapter(Features).validate_python(features)


def test_missing_columns_are_named_with_those_that_are_there() -> None:
    item = {"kind": "categorical", "name": "item", "column": "item_id"}
    features = declared(item, {"kind": "numeric", "name": "price"})
    with pytest.raises(SchemaError) as found:
        check_columns(features, pl.Schema({"user_id": pl.Int64, "price": pl.Float64}), source="events.parquet")
    assert str(found.value) == (
        "events.parquet lacks columns ['item_id'] that dataset.features declares; it has ['user_id', 'price']."
    )


def test_a_column_with_a_value_for_scoring_may_be_missing_there() -> None:
    features = declared({"kind": "categorical", "name": "position", "when_scoring": 1})
    check_columns(features, pl.Schema({}), source="today.parquet", scoring=True)
    with pytest.raises(SchemaError, match="lacks columns"):
        check_columns(features, pl.Schema({}), source="today.parquet")


@pytest.mark.parametrize(
    ("feature", "schema", "message"),
    [
        ({"kind": "categorical", "name": "x"}, {"x": pl.Float64}, "x needs an integer or string in each row"),
        ({"kind": "categorical", "name": "x"}, {"x": pl.List(pl.Int64)}, "x needs an integer or string in each row"),
        ({"kind": "numeric", "name": "x"}, {"x": pl.String}, "x needs a number in each row"),
        ({"kind": "numeric", "name": "x"}, {"x": pl.Datetime()}, "x needs a number in each row"),
        ({"kind": "cross", "name": "c", "columns": ["x", "x"]}, {"x": pl.Date}, "c needs an integer or string"),
        ({"kind": "bag", "name": "x"}, {"x": pl.String}, "x needs a list in each row, of integers or strings"),
        ({"kind": "bag", "name": "x"}, {"x": pl.List(pl.Float32)}, "x needs a list in each row"),
        ({"kind": "bag", "name": "x", "separator": "|"}, {"x": pl.Int64}, "or text to split"),
        ({"kind": "bag", "name": "g", "columns": ["x"]}, {"x": pl.String}, "g needs a number in each row"),
        ({"kind": "weighted_bag", "name": "x", "weights": "w"}, {"x": pl.List(pl.Int8), "w": pl.Float32}, "'w' holds"),
        ({"kind": "vector", "name": "x", "width": 2}, {"x": pl.List(pl.String)}, "x needs a list in each"),
        (HISTORY, {"a": pl.List(pl.String), "b": pl.List(pl.String)}, "h/b needs a list in each row, of numbers"),
        ({"kind": "bag", "name": "x", "drop": ["0"]}, {"x": pl.List(pl.Int64)}, "x drops the text"),
        ({"kind": "bag", "name": "x"}, {"x": pl.String}, "convert the column, or set separator to what stands between"),
        (
            {"kind": "categorical", "name": "x"},
            {"x": pl.Float64},
            "convert the column, or declare the feature numeric or",
        ),
        ({"kind": "categorical", "name": "x"}, {"y;z": pl.String}, r"Then set dataset\.csv\.separator"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(feature: dict[str, Any], schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message) as found:
        check_columns(declared(feature), pl.Schema(schema), source="events.parquet")
    assert "events.parquet" in str(found.value)


def test_all_wrong_types_are_told_at_once() -> None:
    features = declared({"kind": "categorical", "name": "x"}, {"kind": "numeric", "name": "y"})
    with pytest.raises(SchemaError) as found:
        check_columns(features, pl.Schema({"x": pl.Date, "y": pl.String}), source="events.parquet")
    assert len(str(found.value).splitlines()) == 2


def test_columns_without_any_value_fit_every_kind() -> None:
    features = declared(
        {"kind": "categorical", "name": "x"}, {"kind": "numeric", "name": "y"}, {"kind": "bag", "name": "z"}
    )
    check_columns(features, pl.Schema(dict.fromkeys("xyz", pl.Null)), source="events.parquet")


def test_the_first_infinite_number_is_found_over_many_batches() -> None:
    rows = pl.DataFrame({"x": pl.Series(range(300_000)).cast(pl.Float64), "y": 1.0}).with_columns(
        x=pl.when(pl.col("x").is_in([250_001.0, 250_007.0])).then(float("-inf")).otherwise(pl.col("x"))
    )
    features = declared({"kind": "numeric", "name": "price", "column": "x"}, {"kind": "numeric", "name": "y"})
    with pytest.raises(DataError) as found:
        check_values(features, rows.lazy(), source="events.parquet")
    assert str(found.value) == (
        "events.parquet, row 250001 (counted from 0): price: 'x' is infinite; mend it or leave it empty"
    )


@pytest.mark.parametrize(
    ("feature", "rows", "message"),
    [
        (HISTORY, {"a": [[1], [1, 2]], "b": [[1.0], [1.0]]}, "row 1 .*: h: 'a' and 'b' differ in length"),
        (HISTORY, {"a": [[1], None], "b": [[1.0], [1.0]]}, "row 1 .*: h: 'a' and 'b' differ in length"),
        (HISTORY, {"a": [[1]], "b": [[float("inf")]]}, "row 0 .*: h: 'b' has an infinite entry"),
        (
            {"kind": "weighted_bag", "name": "x", "weights": "w"},
            {"x": [[1, 2], [1]], "w": [[1.0, 2.0], [1.0, 2.0]]},
            "row 1 .*: x: 'x' and 'w' differ in length",
        ),
        ({"kind": "vector", "name": "x", "width": 2}, {"x": [[1.0, 2.0], [1.0]]}, "row 1 .*: x: 'x' does not hold 2"),
        (
            {"kind": "bag", "name": "x", "separator": ","},
            {"x": ["a,b", "", '["a", "b"]']},
            "row 2 .*: x: 'x' holds a list as JSON",
        ),
        # beyond float32, as which these go on unscaled
        ({"kind": "vector", "name": "x", "width": 1}, {"x": [[1.0], [1e39]]}, "row 1 .*: x: 'x' has an infinite entry"),
        (
            {"kind": "weighted_bag", "name": "x", "weights": "w"},
            {"x": [[1]], "w": [[-1e39]]},
            "row 0 .*: x: 'w' has an infinite entry",
        ),
    ],
)
def test_rows_whose_values_cannot_be_used_are_named(
    feature: dict[str, Any], rows: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_values(declared(feature), pl.LazyFrame(rows), source="events.parquet")


def test_a_row_is_told_by_its_number_in_the_file_also_where_others_were_left_out() -> None:
    rows = pl.LazyFrame({"x": [1.0, 2.0, 3.0, float("inf")]}).with_row_index(ROW).filter(pl.col("x") > 2)
    with pytest.raises(DataError, match="row 3 "):
        check_values(declared({"kind": "numeric", "name": "x"}), rows, source="events.parquet")


def test_good_rows_pass() -> None:
    features = declared(HISTORY, {"kind": "numeric", "name": "x"}, {"kind": "vector", "name": "v", "width": 1})
    rows = pl.LazyFrame({"a": [[1], None], "b": [[None], None], "x": [float("nan"), None], "v": [[1.0], None]})
    check_values(features, rows, source="events.parquet")


def test_nothing_is_read_where_nothing_can_go_wrong() -> None:
    def refuse(_: pl.Series) -> pl.Series:
        raise AssertionError("read")

    rows = pl.LazyFrame({"x": [1]}).with_columns(pl.col("x").map_batches(refuse, return_dtype=pl.Int64))
    check_values(declared({"kind": "categorical", "name": "x"}), rows, source="events.parquet")
