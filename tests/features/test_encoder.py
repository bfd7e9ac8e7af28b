"""The encoder, kind by kind, on hand-worked rows."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ctrgate.errors import ArtifactError, ConfigError, DataError, SchemaError
from ctrgate.features.encoder import Encoder, merge, observe
from ctrgate.features.hashing import hash_column, hash_text
from ctrgate.features.kinds import Feature, Features
from ctrgate.features.layout import Field, Member, SequenceGroup
from ctrgate.features.partial import Partial


def declared(*features: dict[str, Any]) -> tuple[Feature, ...]:
    """Features as a run file has them."""
    return TypeAdapter(Features).validate_python(features)


def fitted(features: Sequence[Feature], *frames: pl.DataFrame, previous: Encoder | None = None) -> Encoder:
    """An encoder of some files."""
    return Encoder.fit(features, [observe(features, frame.lazy()) for frame in frames], previous=previous)


def encoded(train: pl.DataFrame, *features: dict[str, Any], rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Rows (the train rows by default) encoded by what train has taught, by the streaming engine."""
    encoder = fitted(declared(*features), train)
    result = encoder.transform((train if rows is None else rows).lazy()).collect(engine="streaming")
    for column in result:
        assert column.null_count() == 0
        if isinstance(column.dtype, pl.List):
            assert column.explode(empty_as_null=False).null_count() == 0
    return result


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


texts = st.text(alphabet="ab|\\\x00 é", max_size=3)
tables = st.lists(
    st.tuples(
        st.none() | texts,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_infinity=False, width=32),
        st.none() | st.lists(st.none() | st.integers(0, 4), max_size=4),
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = {"s": pl.String, "i": pl.Int64, "x": pl.Float64, "l": pl.List(pl.Int64)}
ALL_KINDS = declared(
    {"kind": "categorical", "name": "s", "encoding": {"kind": "vocabulary", "min_count": 2}},
    {"kind": "categorical", "name": "hashed", "column": "i", "encoding": {"kind": "hash", "num_buckets": 5}},
    {"kind": "numeric", "name": "x", "indicator": True},
    {"kind": "bucketized", "name": "bucket", "column": "x", "buckets": {"kind": "quantiles", "count": 3}},
    {"kind": "cross", "name": "both", "columns": ["s", "i"]},
    {"kind": "bag", "name": "bag", "column": "l"},
    {
        "kind": "sequence",
        "name": "h",
        "max_length": 2,
        "members": [{"kind": "categorical", "name": "l", "share": "bag"}],
    },
)


def frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@examples(max_examples=25, deadline=None)
@given(tables, tables)
def test_a_saved_encoder_encodes_as_the_fresh_one(train: list[Any], rows: list[Any]) -> None:
    encoder = fitted(ALL_KINDS, frame(train))
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(Path(folder) / "encoder")
        loaded = Encoder.load(Path(folder) / "encoder")
    assert loaded.hash == encoder.hash
    fresh = encoder.transform(frame(rows).lazy()).collect()
    assert loaded.transform(frame(rows).lazy()).collect().equals(fresh)
    _, _, sizes = encoder.layout_parts()
    assert fresh["s"].is_between(0, sizes["s"] - 1).all()


@examples(max_examples=25, deadline=None)
@given(tables)
def test_values_are_encoded_as_a_plain_dictionary_would(train: list[Any]) -> None:
    encoder = fitted(ALL_KINDS, frame(train))
    counts: dict[Any, int] = {}
    for row in train:
        counts[row[0]] = counts.get(row[0], 0) + 1
    order = sorted(counts, key=lambda value: (-counts[value], value is not None, (value or "").encode()))
    rows = {value: 2 + place for place, value in enumerate(v for v in order if counts[v] >= 2)}
    assert encoder.transform(frame(train).lazy()).collect()["s"].to_list() == [rows.get(row[0], 1) for row in train]


@examples(max_examples=25, deadline=None)
@given(st.lists(tables, min_size=1, max_size=4), st.randoms())
def test_one_process_and_many_give_one_encoder(files: list[list[Any]], random: Any) -> None:
    partials = [observe(ALL_KINDS, frame(rows).lazy()) for rows in files]
    whole = Encoder.fit(ALL_KINDS, partials)
    shuffled = random.sample(partials, len(partials))
    assert merge(shuffled).moments == merge(partials).moments
    halves = [merge(part) for part in (shuffled[: len(files) // 2], shuffled[len(files) // 2 :]) if part]
    assert Encoder.fit(ALL_KINDS, halves).hash == whole.hash


@examples(max_examples=25, deadline=None)
@given(tables, tables)
def test_a_new_day_never_moves_an_id(first: list[Any], second: list[Any]) -> None:
    before = fitted(ALL_KINDS, frame(first))
    after = fitted(ALL_KINDS, frame(second), previous=before)
    old, new = (encoder.transform(frame(first).lazy()).collect() for encoder in (before, after))
    for column in ("x", "bucket", "hashed", "bag", "h/l"):
        assert new[column].equals(old[column]) or column == "hashed"
    known = old["s"] > 1
    assert new["s"].filter(known).equals(old["s"].filter(known))
    grew = zip(before.layout_parts()[2].values(), after.layout_parts()[2].values(), strict=True)
    assert all(small <= large for small, large in grew)


@examples(max_examples=25, deadline=None)
@given(tables)
def test_statistics_survive_a_folder(rows: list[Any]) -> None:
    partial = observe(ALL_KINDS, frame(rows).lazy())
    with tempfile.TemporaryDirectory() as folder:
        partial.save(Path(folder) / "partial")
        loaded = Partial.load(Path(folder) / "partial")
    assert Encoder.fit(ALL_KINDS, [loaded]).hash == Encoder.fit(ALL_KINDS, [partial]).hash


def test_a_rare_value_is_admitted_once_enough_days_have_seen_it() -> None:
    feature = {"kind": "categorical", "name": "x", "encoding": {"kind": "vocabulary", "min_count": 3}}
    day = pl.DataFrame({"x": ["a", "a", "a", "b"]})
    encoder = fitted(declared(feature), day)
    for expected in (1, 3):
        encoder = fitted(declared(feature), day, previous=encoder)
        assert encoder.transform(day.lazy()).collect()["x"].to_list() == [2, 2, 2, expected]
    assert encoder.fits == 3


def test_compaction_renumbers_every_vocabulary() -> None:
    features = declared({"kind": "categorical", "name": "x"}, {"kind": "categorical", "name": "y"})
    train = pl.DataFrame({"x": ["a", "a", "b"], "y": [1, 1, 2]})
    encoder, rows = fitted(features, train).compact(dropped={"x": [2]})
    assert encoder.transform(train.lazy()).collect().rows() == [(0, 2), (0, 2), (2, 3)]
    assert {name: old.tolist() for name, old in rows.items()} == {"x": [0, 1, 3], "y": [0, 1, 2, 3]}


def test_rows_of_hashed_tables_cannot_be_dropped() -> None:
    features = declared({"kind": "categorical", "name": "x", "encoding": {"kind": "hash", "num_buckets": 3}})
    with pytest.raises(ConfigError, match="not those of x"):
        fitted(features, pl.DataFrame({"x": [1]})).compact(dropped={"x": [2]})


def test_decoding_a_hashed_feature_is_refused() -> None:
    features = declared({"kind": "categorical", "name": "x", "encoding": {"kind": "hash", "num_buckets": 3}})
    encoder = fitted(features, pl.DataFrame({"x": [1]}))
    with pytest.raises(ConfigError, match="x is hashed"):
        encoder.decode("x", pl.Series([2]))
    with pytest.raises(ConfigError, match="nobody has no ids"):
        encoder.decode("nobody", pl.Series([2]))


def test_identities_and_members_decode() -> None:
    features = declared(
        {"kind": "categorical", "name": "x", "encoding": {"kind": "identity", "num_values": 3}},
        {"kind": "sequence", "name": "h", "max_length": 2, "members": [{"kind": "categorical", "name": "l"}]},
    )
    encoder = fitted(features, pl.DataFrame({"x": [0], "l": [["q", "q", "r"]]}))
    assert encoder.decode("x", pl.Series([0, 1, 2, 4, 5])).to_list() == [None, None, 0, 2, None]
    assert encoder.decode("h/l", pl.Series([3, 2])).to_list() == ["r", "q"]


def test_text_where_train_had_integers_is_refused_by_name() -> None:
    encoder = fitted(declared({"kind": "categorical", "name": "x"}), pl.DataFrame({"x": [1]}))
    with pytest.raises(SchemaError, match="x is text in the table to encode, but was integers in the train rows"):
        encoder.transform(pl.LazyFrame({"x": ["1"]}))


def test_files_that_disagree_on_a_type_are_refused() -> None:
    features = declared({"kind": "categorical", "name": "x"})
    frames = (pl.DataFrame({"x": [1]}), pl.DataFrame({"x": ["1"]}))
    with pytest.raises(SchemaError, match="the table x holds integers in one place and text in another"):
        fitted(features, *frames)


def test_a_file_without_any_value_agrees_with_all() -> None:
    features = declared({"kind": "categorical", "name": "x"})
    encoder = fitted(features, pl.DataFrame({"x": [None, None]}), pl.DataFrame({"x": ["a"]}))
    assert encoder.transform(pl.LazyFrame({"x": ["a", None]})).collect()["x"].to_list() == [3, 2]
    assert encoder.transform(pl.LazyFrame({"x": [None]})).collect()["x"].to_list() == [2]


def test_no_train_rows_are_an_error() -> None:
    features = declared({"kind": "categorical", "name": "x"})
    with pytest.raises(DataError, match="there are no train rows"):
        fitted(features, pl.DataFrame({"x": []}, schema={"x": pl.Int64}))


def test_growing_from_an_encoder_of_other_features_is_refused() -> None:
    train = pl.DataFrame({"x": [1], "y": [1]})
    before = fitted(declared({"kind": "categorical", "name": "x"}), train)
    with pytest.raises(ConfigError, match="differ from those of the encoder to grow from"):
        fitted(declared({"kind": "categorical", "name": "y"}), train, previous=before)


def test_kept_columns_must_not_be_called_like_encoded_ones() -> None:
    encoder = fitted(declared({"kind": "categorical", "name": "x"}), pl.DataFrame({"x": [1]}))
    with pytest.raises(SchemaError, match="rename them"):
        encoder.transform(pl.LazyFrame({"x": [1]}), keep=["x"])


def test_an_infinite_number_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="price has an infinite number"):
        fitted(declared({"kind": "numeric", "name": "price"}), pl.DataFrame({"price": [1.0, float("inf")]}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    features = declared({"kind": "categorical", "name": "x"}, {"kind": "numeric", "name": "y"})
    fitted(features, pl.DataFrame({"x": ["a", "b"], "y": [1.0, 2.0]})).save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_changed_vocabulary_file_is_named(saved: Path) -> None:
    path = saved / "vocabulary-000.parquet"
    pl.read_parquet(path).with_columns(pl.col("value").reverse()).write_parquet(path)
    with pytest.raises(ArtifactError, match=r"vocabulary-000\.parquet was changed"):
        Encoder.load(saved)


def test_a_vocabulary_file_cut_short_is_named(saved: Path) -> None:
    path = saved / "vocabulary-000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"vocabulary-000\.parquet cannot be read"):
        Encoder.load(saved)


def test_a_missing_vocabulary_file_is_named(saved: Path) -> None:
    (saved / "vocabulary-000.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"vocabulary-000\.parquet"):
        Encoder.load(saved)


def test_a_vocabulary_file_written_anew_with_equal_contents_is_the_same(saved: Path) -> None:
    path, before = saved / "vocabulary-000.parquet", Encoder.load(saved).hash
    pl.read_parquet(path).write_parquet(path, compression="uncompressed", row_group_size=1)
    assert Encoder.load(saved).hash == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fits": 9}, "was changed"),
        ({"format_version": 99}, "has format 99"),
        ({"scalings": {"y": {}}}, "is damaged"),
        ({"features": []}, "is damaged"),
    ],
)
def test_a_changed_settings_file_is_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    path = saved / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=message):
        Encoder.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_settings_file_that_is_no_object_is_refused(saved: Path, text: str) -> None:
    (saved / "encoder.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"encoder\.json cannot be read"):
        Encoder.load(saved)


def test_dates_are_no_categories() -> None:
    features = declared({"kind": "categorical", "name": "x"})
    with pytest.raises(SchemaError, match="x needs an integer or string"):
        fitted(features, pl.DataFrame({"x": [datetime.date(2024, 1, 1)]}))
