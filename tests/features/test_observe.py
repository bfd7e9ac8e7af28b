"""What is observed does not depend on how the rows come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import ConfigError, SchemaError
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.observe import observe
from ctrgate.features.partial import merge

FEATURES: tuple[Feature, ...] = TypeAdapter(Features).validate_python(
    [
        {"kind": "categorical", "name": "user", "missing": "unknown"},
        {"kind": "categorical", "name": "item"},
        {"kind": "numeric", "name": "price", "transform": "log"},
        {"kind": "bucketized", "name": "bucket", "column": "price", "buckets": {"kind": "quantiles", "count": 10}},
        {"kind": "bag", "name": "tags", "share": "item"},
    ]
)


def rows(count: int) -> pl.DataFrame:
    generator = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "user": generator.integers(0, count, count),
            "item": generator.zipf(1.5, count) % 1000,
            "price": generator.lognormal(2, 3, count),
        }
    ).with_columns(
        user=pl.when(pl.col("user") % 7 > 0).then("user"),
        item=pl.when(pl.col("item") % 5 > 0).then("item"),
        tags=pl.concat_list(pl.col("item") + 1, pl.lit(None), pl.lit(3)),
    )


def test_counts_and_moments_over_many_batches_are_those_of_the_whole() -> None:
    frame = rows(400_000)
    found = observe(FEATURES, frame.lazy())
    assert found.num_rows == 400_000
    users = frame["user"].drop_nulls().value_counts().select(pl.col("user").cast(pl.String), pl.col("count"))
    assert found.counts["user"].equals(users.rename({"user": "value"}).cast({"count": pl.Int64}).sort("value"))
    items = pl.concat([frame["item"], frame["tags"].explode().drop_nulls()]).cast(pl.String).rename("value")
    counted = items.value_counts().cast({"count": pl.Int64}).sort("value")
    assert found.counts["item"].equals(counted)
    logs = np.log1p(frame["price"].to_numpy())
    assert sum(part.count for part in found.moments["price"]) == 400_000
    assert sum(part.count * part.mean for part in found.moments["price"]) == pytest.approx(logs.sum())
    assert found.sketches["bucket"]["weight"].sum() == 400_000


def test_the_cutting_into_chunks_and_row_groups_changes_no_bit(tmp_path: Path) -> None:
    frame = rows(300_000)
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=7_001)
    chunked = pl.concat([frame.slice(0, 11), frame.slice(11, 100_000), frame.slice(100_011)], rechunk=False)
    whole = observe(FEATURES, frame.lazy())
    for lazy in (chunked.lazy(), pl.scan_parquet(tmp_path / "a.parquet")):
        again = observe(FEATURES, lazy)
        assert again.moments == whole.moments
        assert all(again.sketches[name].equals(whole.sketches[name]) for name in whole.sketches)
        assert all(again.counts[name].equals(whole.counts[name]) for name in whole.counts)


def test_features_that_learn_nothing_still_count_rows() -> None:
    features = TypeAdapter(Features).validate_python([{"kind": "vector", "name": "v", "width": 1}])
    assert observe(features, pl.LazyFrame({"v": [[1.0], [2.0]]})).num_rows == 2


def test_the_file_is_named_where_features_that_share_a_table_disagree() -> None:
    features = TypeAdapter(Features).validate_python(
        [{"kind": "categorical", "name": "a"}, {"kind": "categorical", "name": "b", "share": "a"}]
    )
    with pytest.raises(SchemaError, match="monday: b reads the table a, which holds integers in one place and text"):
        observe(features, pl.LazyFrame({"a": [1], "b": ["x"]}), source="monday")


def test_text_cannot_be_its_own_row() -> None:
    features = TypeAdapter(Features).validate_python(
        [{"kind": "categorical", "name": "a", "encoding": {"kind": "identity", "num_values": 3}}]
    )
    with pytest.raises(SchemaError, match="a takes integers as rows"):
        observe(features, pl.LazyFrame({"a": ["x"]}))


def test_statistics_of_other_features_do_not_merge() -> None:
    frame = rows(10).lazy()
    with pytest.raises(ConfigError, match="different features"):
        merge([observe(FEATURES, frame), observe(FEATURES[:2], frame)])
    with pytest.raises(ConfigError, match="no statistics"):
        merge([])
