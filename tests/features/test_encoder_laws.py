"""What holds of any rows: saved or fresh, one process or many, one day or several."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ctrgate.errors import ConfigError
from ctrgate.features.encoder import Encoder
from ctrgate.features.observe import observe
from ctrgate.features.partial import merge
from tests.features.encoding import declared, fitted

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
