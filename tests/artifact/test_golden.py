"""Golden rows: made up, of every kind, the same for the same seed, and readable by the encoder."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.artifact.golden import golden_rows
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.registry import Features
from ctrgate.features.observe import observe


def fitted(features: list[dict[str, Any]], rows: pl.DataFrame) -> Encoder:
    declared = TypeAdapter(Features).validate_python(features)
    return Encoder.fit(declared, [observe(declared, rows.lazy())])


@pytest.fixture
def encoder(dense_run: Any) -> Encoder:
    """One with a feature of every kind."""
    return Encoder.load(dense_run.artifact / "encoder")


def test_golden_rows_can_be_read_as_every_feature_declares_them(encoder: Encoder) -> None:
    rows = golden_rows(encoder, num_rows=300, seed=1)
    check_columns(encoder.features, rows.schema, source="golden", scoring=True)
    check_values(encoder.features, rows.lazy(), source="golden", scoring=True)
    assert encoder.transform(rows.lazy(), scoring=True).collect().height == 300
    assert "position" not in rows.columns  # scoring has a constant for it


def test_a_seed_decides_every_value(encoder: Encoder) -> None:
    first = golden_rows(encoder, num_rows=50, seed=1)
    assert first.equals(golden_rows(encoder, num_rows=50, seed=1))
    assert not first.equals(golden_rows(encoder, num_rows=50, seed=2))


def test_the_first_row_is_null_the_second_unknown_and_the_rest_mixed(encoder: Encoder) -> None:
    rows = golden_rows(encoder, num_rows=300, seed=1)
    flat = rows.select(pl.exclude("words", "tags", "liked", "liked_weights", "seen", "ago"))
    assert all(value is None for value in flat.row(0))
    encoded = encoder.transform(rows.lazy(), scoring=True).collect()
    assert [encoded[name][1] for name in ("user", "item", "user_item")] == [1, 1, 1]
    for name in ("user", "item"):
        share = (encoded[name][2:] > 1).mean()
        assert 0.7 < share < 0.95, name
        assert rows[name][2:].null_count() > 0
        assert encoded[name].n_unique() >= encoder.tables[name].num_rows - 1  # every row but padding is looked up


def test_numbers_spread_as_the_train_rows_did() -> None:
    features = [
        {"kind": "numeric", "name": "standard"},
        {"kind": "numeric", "name": "log", "transform": "log"},
        {"kind": "numeric", "name": "minmax", "transform": "minmax"},
    ]
    train = pl.DataFrame({"standard": [90.0, 110.0], "log": [10.0, 1000.0], "minmax": [5.0, 7.0]})
    rows = golden_rows(fitted(features, train), num_rows=400, seed=0)
    assert rows["standard"].mean() == pytest.approx(100, abs=2)
    assert rows["standard"].std() == pytest.approx(10, rel=0.2)
    assert 50 < rows["log"].median() < 200  # about sqrt(10 * 1000)
    assert 4.5 < rows["minmax"].min() < 5 < 7 < rows["minmax"].max() < 7.5


def test_a_cross_that_was_seen_sets_the_columns_it_is_made_of() -> None:
    text = ["a|b", "c\\d", None, "\\N"]
    features = [
        {"kind": "cross", "name": "both", "columns": ["left", "right"]},
        {"kind": "categorical", "name": "right"},
    ]
    train = pl.DataFrame({"left": text, "right": [1, 2, 3, 4]})
    encoder = fitted(features, train)
    rows = golden_rows(encoder, num_rows=200, seed=0)
    seen = encoder.transform(rows.lazy()).collect()["both"]
    assert rows.schema == {"left": pl.String, "right": pl.Int64}
    assert set(seen) == {1, 2, 3, 4, 5}  # all four combinations were found again, and some that were never seen
    assert set(rows["left"].drop_nulls()) >= {"a|b", "c\\d", "\\N"}
    alone = golden_rows(fitted(features[:1], train), num_rows=200, seed=0)
    assert set(alone.rows()) > {("a|b", "1"), ("c\\d", "2"), (None, "3"), ("\\N", "4"), (None, None)}


def test_a_column_that_several_features_read_has_a_type_for_all_of_them() -> None:
    features = [
        {"kind": "numeric", "name": "age"},
        {"kind": "categorical", "name": "age_group", "column": "age"},
        {"kind": "sequence", "name": "one", "max_length": 2, "members": [{"kind": "categorical", "name": "seen"}]},
        {"kind": "weighted_bag", "name": "two", "column": "seen", "weights": "ago"},
    ]
    train = pl.DataFrame({"age": [20, 30], "seen": [["a"], ["b", "c"]], "ago": [[1.0], [2.0, 3.0]]})
    encoder = fitted(features, train)
    rows = golden_rows(encoder, num_rows=100, seed=0)
    assert rows.schema["age"] == pl.Int64
    check_values(encoder.features, rows.lazy(), source="golden")  # lists that belong together are equally long


def test_ids_beyond_what_floats_hold_come_through_exactly() -> None:
    train = pl.DataFrame({"user": [2**53 + 1, 2**62 + 1]})
    rows = golden_rows(fitted([{"kind": "categorical", "name": "user"}], train), num_rows=60, seed=0)
    assert {2**53 + 1, 2**62 + 1} < set(rows["user"].drop_nulls())
