"""What each kind of feature is encoded as."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ctrgate.errors import ConfigError
from ctrgate.features.encoder import Encoder
from ctrgate.features.hashing import hash_column, hash_text
from ctrgate.features.layout import Field, Member, SequenceGroup
from ctrgate.features.observe import observe
from tests.features.encoding import declared, encoded, fitted


def test_categories_read_rows_by_frequency_and_unseen_ones_the_unknown_row() -> None:
    train = pl.DataFrame({"city": ["Rom", "Bern", "Rom", None]})
    rows = pl.DataFrame({"city": ["Bern", "Rom", "Wien", None, ""]})
    assert encoded(train, {"kind": "categorical", "name": "city"}, rows=rows)["city"].to_list() == [4, 2, 1, 3, 1]


@pytest.mark.parametrize(("missing", "row"), [("value", 3), ("unknown", 1), ("zero", 0)])
@pytest.mark.parametrize("encoding", [{"kind": "vocabulary"}, {"kind": "identity", "num_values": 1}])
def test_missing_categories_follow_their_policy(missing: str, row: int, encoding: dict[str, Any]) -> None:
    feature = {"kind": "categorical", "name": "x", "encoding": encoding, "missing": missing}
    train = pl.DataFrame({"x": [0, 0, None]})
    assert encoded(train, feature)["x"].to_list() == [2, 2, row]
    rows = 4 if missing == "value" else 3
    assert fitted(declared(feature), train).layout_parts()[2] == {"x": rows}


def test_odd_texts_are_values_like_any_other() -> None:
    odd = ["", " ", "null", "NaN", "a\x00b", "a\nb", "ä", "a\u0308", "\U0001f600", "None", "|", "\\", "__missing__"]
    train = pl.DataFrame({"x": odd})
    found = encoded(train, {"kind": "categorical", "name": "x"})["x"]
    assert sorted(found.to_list()) == list(range(2, 2 + len(odd)))
    assert fitted(declared({"kind": "categorical", "name": "x"}), train).decode("x", found).to_list() == odd


def test_large_integers_keep_apart() -> None:
    values = [2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**62 + 1]
    assert encoded(pl.DataFrame({"x": values}), {"kind": "categorical", "name": "x"})["x"].n_unique() == 5


@pytest.mark.parametrize("width", [pl.Int8, pl.UInt16, pl.Int32, pl.UInt64, pl.Int64])
def test_any_width_of_integers_is_read(width: type[pl.DataType]) -> None:
    rows = pl.DataFrame({"x": pl.Series([7, 5], dtype=width)})
    found = encoded(pl.DataFrame({"x": [5, 5, 7]}), {"kind": "categorical", "name": "x"}, rows=rows)
    assert found["x"].to_list() == [3, 2]


def test_booleans_enums_and_categoricals_are_categories() -> None:
    train = pl.DataFrame(
        {
            "b": [True, True, False],
            "e": pl.Series(["u", "v", "v"], dtype=pl.Enum(["u", "v"])),
            "c": pl.Series(["u", "v", "v"], dtype=pl.Categorical),
        }
    )
    found = encoded(train, *({"kind": "categorical", "name": name} for name in "bec"))
    assert found.to_dict(as_series=False) == {"b": [2, 2, 3], "e": [3, 2, 2], "c": [3, 2, 2]}


def test_hashed_values_read_the_bucket_of_their_hash() -> None:
    encoding = {"kind": "hash", "num_buckets": 7}
    train = pl.DataFrame({"s": ["a", "b", None], "i": [5, -1, 2**60]})
    found = encoded(
        train,
        {"kind": "categorical", "name": "s", "encoding": encoding},
        {"kind": "categorical", "name": "i", "encoding": {**encoding, "salt": "x"}},
    )
    texts = hash_column(pl.Series(["a", "b"]), seed=hash_text("s"))
    whole = hash_column(train["i"], seed=hash_text("x"))
    assert found["s"].to_list() == [*(2 + value % 7 for value in texts), 9]
    assert found["i"].to_list() == [2 + value % 7 for value in whole]


def test_identity_takes_the_integers_of_its_range_alone() -> None:
    feature = {"kind": "categorical", "name": "x", "encoding": {"kind": "identity", "num_values": 3}}
    rows = pl.DataFrame({"x": pl.Series([0, 2, 3, -1, 2**63, None], dtype=pl.Int128).cast(pl.Int128)})
    assert encoded(pl.DataFrame({"x": [0, 1]}), feature, rows=rows)["x"].to_list() == [2, 4, 1, 1, 1, 1]


def test_crosses_tell_apart_what_merely_reads_alike() -> None:
    train = pl.DataFrame({"a": ["x|y", "x", "x", "\\N", None, "x", "N"], "b": ["z", "y|z", None, "z", "z", "y|z", "z"]})
    feature = {"kind": "cross", "name": "ab", "columns": ["a", "b"]}
    found = encoded(train, feature)["ab"].to_list()
    assert found[1] == found[5] == 2
    assert len(set(found)) == 6
    with_integers = pl.DataFrame({"a": ["x", "x", "y"], "b": [1, 1, 1]})
    assert encoded(with_integers, feature)["ab"].to_list() == [2, 2, 3]
    assert fitted(declared(feature), with_integers).decode("ab", pl.Series([2, 3])).to_list() == ["x|1", "y|1"]


def test_numbers_are_scaled_filled_and_flagged() -> None:
    train = pl.DataFrame({"x": [1.0, 3.0, None, float("nan")]})
    found = encoded(train, {"kind": "numeric", "name": "x", "indicator": True})
    assert found.to_dict(as_series=False) == {"x": [-1, 1, 0, 0], "x:missing": [0, 0, 1, 1]}
    assert found.schema == {"x": pl.Float32, "x:missing": pl.Float32}


def test_whole_numbers_booleans_and_decimals_are_numbers() -> None:
    train = pl.DataFrame(
        {"i": [1, 3], "b": [True, False], "d": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)), "n": [None, None]}
    )
    features = ({"kind": "numeric", "name": name, "transform": "none"} for name in "ibdn")
    assert encoded(train, *features).rows() == [(1, 1, 1.5, 0), (3, 0, 2.5, 0)]


def test_buckets_by_the_criteo_rule() -> None:
    # ln(3)^2 = 1.2, ln(10)^2 = 5.3, ln(100)^2 = 21.2: the buckets 1, 5, 21; -1, 0, 1 and 2 are their own
    train = pl.DataFrame({"x": [100, 100, 100, 100, 3, 1, 1, 10, 10, -1, None]})
    feature = {"kind": "bucketized", "name": "x", "buckets": {"kind": "floor_log_squared"}}
    encoder = fitted(declared(feature), train)
    found = encoder.transform(train.lazy()).collect()["x"]
    assert found.to_list() == [2, 2, 2, 2, 3, 3, 3, 4, 4, 6, 5]
    assert encoder.decode("x", found).to_list() == [21, 21, 21, 21, 1, 1, 1, 5, 5, -1, None]


def test_buckets_by_boundaries_hold_their_upper_end() -> None:
    feature = {"kind": "bucketized", "name": "x", "buckets": {"kind": "boundaries", "values": [0, 10]}}
    train = pl.DataFrame({"x": [-5.0, 0.0, 0.1, 10.0, 11.0, None]})
    assert encoded(train, feature)["x"].to_list() == [2, 2, 3, 3, 4, 5]


def test_buckets_by_quantiles_hold_equally_many_rows() -> None:
    feature = {"kind": "bucketized", "name": "x", "buckets": {"kind": "quantiles", "count": 4}}
    train = pl.DataFrame({"x": range(100)})
    assert encoded(train, feature)["x"].value_counts().sort("x").rows() == [(2, 25), (3, 25), (4, 25), (5, 25)]


def test_bags_hold_all_but_missing_and_dropped_entries() -> None:
    train = pl.DataFrame({"x": [[5, 5, 0], [None, 6], [], None, [0]]})
    assert encoded(train, {"kind": "bag", "name": "x", "drop": [0]})["x"].to_list() == [[2, 2], [3], [], [], []]
    assert encoded(train, {"kind": "bag", "name": "x"})["x"].to_list() == [[3, 3, 2], [4], [], [], [2]]


def test_bags_come_from_text_and_from_flags() -> None:
    train = pl.DataFrame({"x": ["a|b", "b", "", None, "b||c"], "war": [1, 0, None, 1, 0], "love": [1, 0, 0, 0, 0]})
    found = encoded(
        train,
        {"kind": "bag", "name": "x", "separator": "|"},
        {"kind": "bag", "name": "genre", "columns": ["love", "war"]},
    )
    assert found["x"].to_list() == [[3, 2], [2], [], [], [2, 4]]
    assert found["genre"].to_list() == [[3, 2], [], [], [2], []]


def test_weights_stay_with_their_entries() -> None:
    train = pl.DataFrame({"x": [[5, None, 0, 6], None], "w": [[1.0, 2.0, 3.0, None], None]})
    found = encoded(train, {"kind": "weighted_bag", "name": "x", "weights": "w", "drop": [0]})
    assert found["x"].to_list() == [[2, 3], []]
    assert found["x:weights"].to_list() == [[1, 0], []]
    assert found.schema["x:weights"] == pl.List(pl.Float32)


def test_histories_keep_the_last_and_stay_aligned() -> None:
    train = pl.DataFrame(
        {
            "item": [7, 8, 8],
            "his": [[0, 7, 8, 8, None], [0], None],
            "kind": [["x", "a", None, "b", "b"], ["x"], None],
            "gap": [[9.0, 1.0, 3.0, None, 3.0], [5.0], None],
        }
    )
    found = encoded(
        train,
        {"kind": "categorical", "name": "item"},
        {
            "kind": "sequence",
            "name": "history",
            "max_length": 3,
            "members": [
                {"kind": "categorical", "name": "item", "column": "his", "share": "item", "drop": [0]},
                {"kind": "categorical", "name": "kind"},
                {"kind": "numeric", "name": "gap", "transform": "none"},
            ],
        },
    )
    # kept: items 8 8 missing, kinds missing b b, gaps 3 missing 3; the item table counts the target too: 8 four times
    assert found["item"].to_list() == [4, 2, 2]
    assert found["history/item"].to_list() == [[2, 2, 3], [], []]
    assert found["history/kind"].to_list() == [[3, 2, 2], [], []]
    assert found["history/gap"].to_list() == [[3, 3, 3], [], []]
    assert found.schema["history/gap"] == pl.List(pl.Float32)


def test_positions_that_any_member_drops_are_left_out_of_all() -> None:
    train = pl.DataFrame({"a": [[0, 1, 2, 3]], "b": [["x", "y", "-", "z"]]})
    members = [
        {"kind": "categorical", "name": "a", "drop": [0], "encoding": {"kind": "identity", "num_values": 9}},
        {"kind": "categorical", "name": "b", "drop": ["-"]},
    ]
    found = encoded(train, {"kind": "sequence", "name": "h", "max_length": 9, "members": members})
    assert found["h/a"].to_list() == [[3, 5]]
    assert found["h/b"].to_list() == [[2, 3]]


def test_histories_written_as_text_are_split() -> None:
    feature = {"kind": "sequence", "name": "h", "max_length": 2, "separator": " ", "members": []}
    feature["members"] = [{"kind": "categorical", "name": "item"}]
    assert encoded(pl.DataFrame({"item": ["a b b", "", None]}), feature)["h/item"].to_list() == [[2, 2], [], []]


def test_vectors_are_fixed_in_width_and_zero_where_missing() -> None:
    train = pl.DataFrame({"v": [[1.0, 2.0], None, [float("nan"), None]]})
    found = encoded(train, {"kind": "vector", "name": "v", "width": 2})
    assert found.schema["v"] == pl.Array(pl.Float32, 2)
    assert found["v"].to_list() == [[1, 2], [0, 0], [0, 0]]


def test_scoring_reads_the_declared_value_of_what_is_not_known_then() -> None:
    features = declared(
        {"kind": "categorical", "name": "position", "when_scoring": 1},
        {"kind": "numeric", "name": "delay", "transform": "none", "when_scoring": 0.5},
        {"kind": "categorical", "name": "user"},
    )
    train = pl.DataFrame({"position": [1, 2, 2], "delay": [7.0, 8.0, 9.0], "user": ["a", "b", "b"]})
    found = fitted(features, train).transform(train.select("user").lazy(), scoring=True).collect()
    assert found.rows() == [(3, 0.5, 3), (3, 0.5, 2), (3, 0.5, 2)]


def test_a_value_for_scoring_that_train_never_had_is_refused() -> None:
    features = declared({"kind": "categorical", "name": "position", "when_scoring": 3})
    with pytest.raises(ConfigError, match="position: no train row taught the value when_scoring 3"):
        fitted(features, pl.DataFrame({"position": [1, 2]}))
    ids = {"kind": "identity", "num_values": 10}
    place = {"kind": "categorical", "name": "position", "encoding": ids}
    fitted(declared(place | {"when_scoring": 9}), pl.DataFrame({"position": [1, 2]}))
    with pytest.raises(ConfigError, match="position: no train row taught the value when_scoring 99"):
        fitted(declared(place | {"when_scoring": 99}), pl.DataFrame({"position": [1, 2]}))
    age = {"kind": "bucketized", "name": "age", "buckets": {"kind": "floor_log_squared"}}
    fitted(declared(age | {"when_scoring": 30.0}), pl.DataFrame({"age": [30.5, 60.0]}))
    with pytest.raises(ConfigError, match=r"age: no train row taught the value when_scoring 1000\.0"):
        fitted(declared(age | {"when_scoring": 1_000.0}), pl.DataFrame({"age": [30.5, 60.0]}))


def test_nothing_but_train_rows_is_learnt() -> None:
    features = declared({"kind": "categorical", "name": "x"}, {"kind": "numeric", "name": "y"})
    rows = pl.DataFrame({"x": [1, 1, 2], "y": [1.0, 3.0, 100.0], "split": ["train", "train", "test"]})
    encoder = Encoder.fit(features, [observe(features, rows.lazy().filter(pl.col("split") == "train"))])
    assert encoder.transform(rows.lazy()).collect().rows() == [(2, -1), (2, 1), (1, 98)]


def test_an_empty_table_gives_empty_columns_of_the_right_types() -> None:
    features = declared(
        {"kind": "categorical", "name": "x"}, {"kind": "bag", "name": "b"}, {"kind": "numeric", "name": "n"}
    )
    train = pl.DataFrame({"x": [1], "b": [[1]], "n": [1.0]})
    found = fitted(features, train).transform(train.head(0).lazy()).collect()
    assert found.height == 0
    assert found.schema == {"x": pl.Int64, "b": pl.List(pl.Int64), "n": pl.Float32}


def test_the_layout_tells_what_is_encoded() -> None:
    features = declared(
        {"kind": "numeric", "name": "n", "indicator": True},
        {"kind": "categorical", "name": "x"},
        {"kind": "weighted_bag", "name": "b", "weights": "w"},
        {"kind": "sequence", "name": "h", "max_length": 5, "members": [{"kind": "numeric", "name": "n"}]},
        {"kind": "vector", "name": "v", "width": 1},
        {"kind": "categorical", "name": "z", "column": "x", "share": "x"},
    )
    train = pl.DataFrame({"n": [[1.0]], "x": [4], "b": [[1]], "w": [[1.0]], "v": [[1.0]]})
    features = tuple(f for f in features if f.name != "n")
    fields, sequences, tables = fitted(features, train).layout_parts()
    assert fields == (
        Field(name="x", kind="id", table="x"),
        Field(name="b", kind="weighted_bag", table="b"),
        Field(name="v", kind="vector"),
        Field(name="z", kind="id", table="x"),
    )
    assert sequences == (SequenceGroup(name="h", members=(Member(name="n", column="h/n"),), max_length=5),)
    assert tables == {"x": 3, "b": 3}


def test_rows_stay_in_order_over_many_batches_and_kept_columns_unchanged() -> None:
    count = 300_000
    rows = pl.DataFrame({"row": range(count)}).with_columns(
        x=(pl.col("row") * 7919) % 10_007, h=pl.col("row").cast(pl.String), b=pl.concat_list("row", "row")
    )
    features = declared(
        {"kind": "categorical", "name": "x"},
        {"kind": "categorical", "name": "h", "encoding": {"kind": "hash", "num_buckets": 1_000_003}},
        {"kind": "bag", "name": "b"},
        {"kind": "numeric", "name": "row_number", "column": "row", "transform": "none"},
    )
    encoder = fitted(features, rows)
    found = encoder.transform(rows.lazy(), keep=["row"]).collect(engine="streaming")
    assert found["row"].to_list() == list(range(count))
    assert (found["row_number"] == found["row"].cast(pl.Float32)).all()
    assert encoder.decode("x", found["x"]).to_list() == rows["x"].to_list()
    assert encoder.decode("b", found["b"].list.first()).to_list() == rows["row"].to_list()
    assert found["h"].to_list() == (2 + hash_column(rows["h"], seed=hash_text("h")) % 1_000_003).to_list()
