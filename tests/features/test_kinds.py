"""What may be declared as a feature, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ctrgate.features.encodings import HashEncoding, IdentityEncoding, VocabularyEncoding
from ctrgate.features.kinds.registry import Feature, Features, table_encodings

HASHED = {"encoding": {"kind": "hash", "num_buckets": 3}}


def declared(*features: dict[str, Any]) -> tuple[Feature, ...]:
    return TypeAdapter(Features).validate_python(features)


def sequence(*members: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "sequence", "name": "h", "max_length": 3, "members": members}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([{"kind": "categorical", "name": "a:b"}], "neither ':' nor '/'"),
        ([{"kind": "categorical", "name": "a/b"}], "neither ':' nor '/'"),
        ([{"kind": "categorical", "name": ""}], "not empty"),
        ([{"kind": "categorical", "name": "a"}, {"kind": "numeric", "name": "a"}], "a is given twice"),
        ([sequence({"kind": "numeric", "name": "m"}, {"kind": "categorical", "name": "m"})], "two members m"),
        (
            [
                {"kind": "categorical", "name": "a"},
                sequence({"kind": "categorical", "name": "m", "share": "a"} | HASHED),
            ],
            "h shares the table a",
        ),
        ([{"kind": "bag", "name": "a", "column": "x", "columns": ["y"]}], "not by both"),
        ([{"kind": "bucketized", "name": "a", "buckets": {"kind": "boundaries", "values": [2, 1]}}], "must rise"),
        ([{"kind": "cross", "name": "a", "columns": ["x"]}], "at least 2"),
        ([{"kind": "categorical", "name": "a", "colum": "x"}], "colum"),
        ([], "at least 1"),
    ],
)
def test_faulty_declarations_are_refused(features: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        declared(*features)


def test_tables_are_named_after_their_feature_or_what_it_shares() -> None:
    features = declared(
        {"kind": "categorical", "name": "item"},
        {"kind": "bucketized", "name": "age", "buckets": {"kind": "boundaries", "values": [18, 65]}},
        sequence({"kind": "categorical", "name": "item", "share": "item"}, {"kind": "categorical", "name": "shop"}),
        {"kind": "cross", "name": "c", "columns": ["x", "y"], "encoding": {"kind": "hash", "num_buckets": 5}},
        {"kind": "numeric", "name": "price"},
    )
    assert table_encodings(features) == {
        "item": VocabularyEncoding(),
        "age": IdentityEncoding(num_values=3),
        "h/shop": VocabularyEncoding(),
        "c": HashEncoding(num_buckets=5),
    }


def test_every_kind_says_which_columns_it_reads() -> None:
    features = declared(
        {"kind": "categorical", "name": "a", "when_scoring": 1},
        {"kind": "numeric", "name": "b", "column": "raw"},
        {"kind": "cross", "name": "c", "columns": ["x", "y"]},
        {"kind": "bag", "name": "d", "columns": ["f", "g"]},
        {"kind": "weighted_bag", "name": "e", "weights": "w"},
        sequence({"kind": "categorical", "name": "item", "column": "his"}, {"kind": "numeric", "name": "gap"}),
        {"kind": "vector", "name": "v", "width": 2},
    )
    assert [feature.columns_read() for feature in features] == [
        ("a",), ("raw",), ("x", "y"), ("f", "g"), ("e", "w"), ("his", "gap"), ("v",)
    ]  # fmt: skip
    assert features[0].columns_read(scoring=True) == ()
