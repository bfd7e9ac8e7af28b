"""What the encoder learns of a log: the train rows' own events, each once."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.observe import observe

ITEM: dict[str, Any] = {"kind": "categorical", "name": "item"}
SHARED = ITEM | {"share": "item"}
GROUP: dict[str, Any] = {"kind": "sequence", "name": "h", "max_length": 3, "log": {}}
CLICKS = {"column": "click", "equals": 1}
ROWS = pl.DataFrame(
    {"item": [7, 7, 7, 8, 8, None], "click": [1, 0, 1, 0, 1, 1], "price": [1.0, 9.0, 3.0, 9.0, 5.0, None]}
)


def declared(*features: dict[str, Any]) -> tuple[Feature, ...]:
    return TypeAdapter(Features).validate_python(features)


def counts(*features: dict[str, Any], table: str, rows: pl.DataFrame = ROWS) -> dict[str | None, int]:
    found = observe(declared(*features), rows.lazy()).counts[table]
    return dict(found.iter_rows())


def test_a_member_of_its_own_table_counts_the_events() -> None:
    assert counts(GROUP | {"members": [ITEM]}, table="h/item") == {None: 1, "7": 3, "8": 2}
    assert counts(GROUP | {"members": [ITEM], "log": CLICKS}, table="h/item") == {None: 1, "7": 2, "8": 1}


def test_what_a_feature_counts_in_every_row_is_not_counted_again() -> None:
    group = GROUP | {"members": [SHARED]}
    for features in (
        [ITEM, group],
        [group, ITEM],
        [ITEM, group | {"log": CLICKS}],
        [ITEM, group, group | {"name": "k"}],
    ):
        assert counts(*features, table="item") == {None: 1, "7": 3, "8": 2}


def test_events_of_several_histories_of_one_column_and_table_count_once() -> None:
    clicks = GROUP | {"members": [ITEM | {"share": "t"}], "log": CLICKS}
    dear = GROUP | {"name": "k", "members": [ITEM | {"share": "t"}], "log": {"column": "price", "at_least": 5}}
    rows = ROWS.with_columns(pl.col("price").fill_null(6.0))
    assert counts(clicks, dear, table="t", rows=rows) == {None: 1, "7": 3, "8": 2}


def test_another_column_of_the_same_table_is_counted_beside_it() -> None:
    group = GROUP | {"members": [{"kind": "categorical", "name": "click", "share": "item"}]}
    assert counts(ITEM, group, table="item") == {None: 1, "7": 3, "8": 2, "0": 2, "1": 4}


def test_missing_values_that_only_the_history_gives_a_row_are_counted_by_it() -> None:
    group = GROUP | {"members": [SHARED]}
    assert counts(ITEM | {"missing": "unknown"}, group, table="item") == {None: 1, "7": 3, "8": 2}
    assert counts(ITEM, GROUP | {"members": [SHARED | {"missing": "zero"}]}, table="item")[None] == 1
    assert None not in counts(
        ITEM | {"missing": "zero"}, GROUP | {"members": [SHARED | {"missing": "zero"}]}, table="item"
    )


def test_min_count_means_events_and_not_how_often_histories_repeat_them() -> None:
    encoding = {"kind": "vocabulary", "min_count": 3}
    features = declared(ITEM | {"encoding": encoding}, GROUP | {"members": [SHARED | {"encoding": encoding}]})
    encoder = Encoder.fit(features, [observe(features, ROWS.lazy())])
    assert encoder.decode("item", pl.Series([2, 3])).to_list() == [7, None]


def test_dropped_values_are_not_counted() -> None:
    assert counts(GROUP | {"members": [ITEM | {"drop": [8]}]}, table="h/item") == {None: 1, "7": 3}


def test_numbers_are_measured_over_the_events() -> None:
    member = {"kind": "numeric", "name": "price"}
    features = declared(GROUP | {"members": [member], "log": CLICKS})
    scaling = Encoder.fit(features, [observe(features, ROWS.lazy())]).scalings["h/price"]
    assert scaling.shift == pytest.approx(3.0)
    assert scaling.scale == pytest.approx(np.std([1.0, 3.0, 5.0]))
    logged = declared(GROUP | {"members": [member | {"transform": "log"}]})
    assert Encoder.fit(logged, [observe(logged, ROWS.lazy())]).scalings["h/price"].missing == pytest.approx(
        np.log1p([1, 9, 3, 9, 5]).mean()
    )


def test_rows_bring_lists_and_a_log_values() -> None:
    (group,) = declared(GROUP | {"members": [ITEM, {"kind": "numeric", "name": "p", "column": "price"}], "log": CLICKS})
    assert group.columns_read() == group.columns_read(scoring=True) == ("h/item", "h/p")
    assert group.columns_read(log=True) == ("item", "price", "click")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"item": pl.Int64, "click": pl.Int64}, r"lacks columns \['price'\]"),
        ({"item": pl.List(pl.Int64), "price": pl.Float64, "click": pl.Int64}, "h/item needs an integer or string in"),
        ({"item": pl.Int64, "price": pl.String, "click": pl.Int64}, "h/price needs a number in each row"),
        ({"item": pl.Int64, "price": pl.Float64, "click": pl.String}, r"h \(log\) needs a number in each row"),
        (
            {"item": pl.Int64, "price": pl.Float64, "click": pl.Int64, "h/item": pl.List(pl.Int64)},
            "log.parquet has the column 'h/item' already, which h is to build from the log",
        ),
        ({"item": pl.Int64, "price": pl.Float64}, r"lacks columns \['click'\]"),
    ],
)
def test_a_log_that_cannot_be_read_is_refused(schema: dict[str, Any], message: str) -> None:
    features = declared(GROUP | {"members": [ITEM, {"kind": "numeric", "name": "price"}], "log": CLICKS})
    with pytest.raises(SchemaError, match=message):
        check_columns(features, pl.Schema(schema), source="log.parquet", log=True)


def test_text_dropped_from_a_log_of_integers_is_refused() -> None:
    features = declared(GROUP | {"members": [ITEM | {"drop": ["0"]}]})
    with pytest.raises(SchemaError, match="h drops the text"):
        check_columns(features, pl.Schema({"item": pl.Int64}), source="log.parquet", log=True)


def test_an_infinite_number_in_a_log_is_told_with_its_row() -> None:
    features = declared(GROUP | {"members": [{"kind": "numeric", "name": "price"}]})
    with pytest.raises(DataError, match=r"log\.parquet, row 1 \(counted from 0\): h: 'price' is infinite"):
        check_values(features, pl.LazyFrame({"price": [1.0, float("inf")]}), source="log.parquet", log=True)


def test_rows_to_encode_without_their_lists_are_refused() -> None:
    features = declared(GROUP | {"members": [ITEM]})
    encoder = Encoder.fit(features, [observe(features, ROWS.lazy())])
    with pytest.raises(SchemaError, match=r"lacks columns \['h/item'\]"):
        encoder.transform(ROWS.lazy(), scoring=True)


def test_a_category_unknown_when_scoring_reads_the_unknown_row_whatever_the_rows_hold() -> None:
    for encoding in ({"kind": "vocabulary"}, {"kind": "identity", "num_values": 9}, {"kind": "hash", "num_buckets": 5}):
        features = declared(ITEM | {"encoding": encoding, "unknown_when_scoring": True})
        encoder = Encoder.fit(features, [observe(features, ROWS.lazy())])
        for rows in (ROWS, ROWS.drop("item"), ROWS.with_columns(item=pl.lit("x"))):
            assert encoder.transform(rows.lazy(), scoring=True).collect()["item"].to_list() == [1] * 6
        assert 1 not in encoder.transform(ROWS.lazy()).collect()["item"].to_list()
