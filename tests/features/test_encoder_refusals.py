"""What an encoder refuses: other types and features, and files that were changed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ctrgate.errors import ArtifactError, ConfigError, DataError, SchemaError
from ctrgate.features.encoder import Encoder
from tests.features.encoding import declared, fitted


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


def test_growing_with_another_type_says_what_was_learnt() -> None:
    features = declared({"kind": "categorical", "name": "x"})
    before = fitted(features, pl.DataFrame({"x": [1]}))
    said = r"the table x has learnt integers, but these files hold text; .*prepare\.previous"
    with pytest.raises(SchemaError, match=said):
        fitted(features, pl.DataFrame({"x": ["1"]}), previous=before)
    assert (
        fitted(features, pl.DataFrame({"x": [None]}, schema={"x": pl.Null}), previous=before).tables["x"].type == "int"
    )


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
