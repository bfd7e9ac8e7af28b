"""What every kind of feature keeps to, found in the union: a new one is covered once it has an example here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from pydantic import TypeAdapter

import ctrgate.features.kinds
from ctrgate.artifact.golden import golden_rows
from ctrgate.errors import SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.kind import Kind
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.layout import id_tables, weights_column
from ctrgate.features.observe import observe
from ctrgate.row_ids import FIRST_VALUE_ID

ROWS = pl.DataFrame(
    {
        "shop": ["a", "b", None, "a"],
        "price": [1.0, None, 3.0, 9.5],
        "tags": [["x", "y"], [], None, ["x"]],
        "text": ["x,y", "", None, "y"],
        "weights": [[1.0, 0.5], [], None, [2.0]],
        "vector": [[0.1, 0.2], None, [0.0, 1.0], [1.0, 1.0]],
        "gaps": [[0.0, 7.5], [], None, [3.0]],
    }
)
EXAMPLES: dict[str, dict[str, Any]] = {
    "categorical": {"column": "shop"},
    "numeric": {"column": "price", "indicator": True},
    "bucketized": {"column": "price", "buckets": {"kind": "quantiles", "count": 3}},
    "cross": {"columns": ["shop", "text"]},
    "bag": {"column": "text", "separator": ","},
    "weighted_bag": {"column": "tags", "weights": "weights"},
    "sequence": {
        "max_length": 2,
        "members": [
            {"kind": "categorical", "name": "tag", "column": "tags"},
            {"kind": "numeric", "name": "gap", "column": "gaps"},
        ],
    },
    "vector": {"column": "vector", "width": 2},
}
KINDS: dict[str, type[Kind]] = {cls.kind: cls for cls in get_args(get_args(Feature)[0])}
CONSTANTS: list[tuple[str, dict[str, Any]]] = [
    ("categorical", {"when_scoring": "a"}),
    ("categorical", {"unknown_when_scoring": True}),
    ("numeric", {"when_scoring": 3.0}),
    ("bucketized", {"when_scoring": 3.0}),
]
every_kind = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind: str, **settings: Any) -> Kind:
    feature: Kind = TypeAdapter(Features).validate_python([{"kind": kind, "name": "f"} | EXAMPLES[kind] | settings])[0]
    return feature


def fitted(feature: Kind) -> Encoder:
    return Encoder.fit([feature], [observe([feature], ROWS.lazy())])


def flat(column: pl.Series) -> pl.Series:
    return column.explode(empty_as_null=False) if isinstance(column.dtype, pl.List | pl.Array) else column


def test_every_file_of_kinds_is_in_the_union() -> None:
    files = {file.stem for file in Path(ctrgate.features.kinds.__file__).parent.glob("*.py")}
    assert {cls.__module__.rpartition(".")[2] for cls in KINDS.values()} == files - {
        "__init__", "kind", "members", "registry"
    }  # fmt: skip


@every_kind
def test_the_encoded_columns_are_those_that_a_network_is_told_of(kind: str) -> None:
    feature = of_kind(kind)
    fields, groups, tables = fitted(feature).layout_parts()
    told = [field.name for field in fields] + [member.column for group in groups for member in group.members]
    told += [weights_column(field.name) for field in fields if field.kind == "weighted_bag"]
    encoded = fitted(feature).transform(ROWS.lazy()).collect()
    assert encoded.columns == told
    assert all(flat(column).null_count() == 0 for column in encoded)
    assert set(id_tables(fields, groups).values()) == set(tables) == {table for table, _ in feature.tables()}


@every_kind
def test_it_reads_the_columns_that_it_names_and_no_other(kind: str) -> None:
    feature = of_kind(kind)
    read = feature.columns_read()
    whole = fitted(feature).transform(ROWS.lazy()).collect()
    assert fitted(feature).transform(ROWS.select(read).lazy()).collect().equals(whole)
    for column in read:
        with pytest.raises(SchemaError, match=f"lacks columns \\['{column}'\\]"):
            fitted(feature).transform(ROWS.drop(column).lazy())


@every_kind
def test_a_column_that_holds_something_else_is_refused_by_name(kind: str) -> None:
    feature = of_kind(kind)
    for raw in feature.raw_columns():
        wrong: list[pl.Expr] = [pl.struct(x=pl.lit(1)), pl.lit(1) if raw.is_list else pl.lit([1])]
        wrong.append(pl.lit(0.5) if raw.holds == "category" else pl.lit("x"))
        for value in wrong:
            other = ROWS.with_columns(value.alias(raw.column))
            with pytest.raises(SchemaError, match=f"needs a.* but the column '{raw.column}' holds "):
                check_columns([feature], other.schema, source="day.parquet")


@pytest.mark.parametrize(("kind", "constant"), CONSTANTS)
def test_a_constant_for_scoring_is_read_in_place_of_the_column(kind: str, constant: dict[str, Any]) -> None:
    feature = of_kind(kind, **constant)
    assert feature.columns_read() != feature.columns_read(scoring=True) == ()
    encoder, others = fitted(feature), ROWS.drop(feature.columns_read())
    scored = encoder.transform(others.lazy(), scoring=True).collect()
    assert scored.unique().height == 1
    if "when_scoring" in constant:
        given = others.with_columns(pl.lit(constant["when_scoring"]).alias(feature.columns_read()[0]))
        assert encoder.transform(given.lazy()).collect().equals(scored)


@every_kind
def test_without_a_constant_scoring_reads_what_training_does(kind: str) -> None:
    assert of_kind(kind).raw_columns(scoring=True) == of_kind(kind).raw_columns()


@every_kind
def test_an_artifacts_made_up_rows_are_such_as_it_can_read(kind: str) -> None:
    encoder = fitted(of_kind(kind))
    rows = golden_rows(encoder, num_rows=50, seed=1)
    assert set(rows.columns) == set(of_kind(kind).columns_read())
    check_columns(encoder.features, rows.schema, source="golden")
    check_values(encoder.features, rows.lazy(), source="golden")
    encoded = encoder.transform(rows.lazy()).collect()
    fields, groups, _ = encoder.layout_parts()
    for column in id_tables(fields, groups):
        known = flat(encoded[column]).unique() >= FIRST_VALUE_ID
        assert known.sum() >= 2, column
    assert all(flat(column).n_unique() > 1 for column in encoded)


def test_what_a_raw_column_is_read_as() -> None:
    """One line for each way in which columns are read; checks, text files, validation and made-up rows go by these."""
    identity = {"kind": "identity", "num_values": 9}
    features = TypeAdapter(Features).validate_python(
        [
            {"kind": "categorical", "name": "ids", "encoding": identity},
            {"kind": "bag", "name": "flags", "columns": ["red", "blue"]},
            {"kind": "bag", "name": "bag", "drop": [0], "encoding": identity},
            {"kind": "weighted_bag", "name": "liked", "weights": "how_much", "drop": ["none"]},
            {"kind": "numeric", "name": "price"},
            {"kind": "bucketized", "name": "age", "buckets": {"kind": "boundaries", "values": [18]}},
            {"kind": "vector", "name": "v", "width": 3},
            {
                "kind": "sequence",
                "name": "seen",
                "max_length": 3,
                "log": {"column": "rating", "at_least": 4},
                "members": [{"kind": "categorical", "name": "item"}, {"kind": "numeric", "name": "gap"}],
            },
        ]
    )
    read = {raw.column: raw for feature in features for raw in feature.raw_columns(log=True)}
    assert {column: (raw.holds, raw.is_list) for column, raw in read.items()} == {
        "ids": ("category", False),
        "red": ("flag", False),
        "blue": ("flag", False),
        "bag": ("category", True),
        "liked": ("category", True),
        "how_much": ("number", True),
        "price": ("number", False),
        "age": ("number", False),
        "v": ("number", True),
        "item": ("category", False),
        "gap": ("number", False),
        "rating": ("number", False),
    }
    assert {column for column, raw in read.items() if raw.identity} == {"ids", "bag"}
    assert {column: raw.scaling for column, raw in read.items() if raw.scaling} == {"price": "price", "gap": "seen/gap"}
    assert {column: raw.drop for column, raw in read.items() if raw.drop} == {"bag": (0,), "liked": ("none",)}
    assert {column for column, raw in read.items() if raw.is_rule} == {"rating"}
    assert [raw.column for raw in features[-1].raw_columns()] == ["seen/item", "seen/gap"]
    assert all(raw.is_list for raw in features[-1].raw_columns())
