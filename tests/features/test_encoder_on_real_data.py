"""The encoder on public data: table sizes as published, missing values, histories."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.categorical import Categorical
from ctrgate.features.kinds.registry import Features
from ctrgate.features.observe import observe

ROOT = Path(__file__).parents[2]
DATA = ROOT / os.environ.get("CTRGATE_DATA", "../shared/data")


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there; set CTRGATE_DATA to the folder of public data")
    return DATA / name


def test_frappe_tables_have_the_published_sizes() -> None:
    train = folder("frappe_x1") / "train.parquet"
    sizes = {
        "user": 956, "item": 4084, "daytime": 9, "weekday": 9, "isweekend": 4,
        "homework": 5, "cost": 4, "weather": 11, "country": 82, "city": 235,
    }  # fmt: skip
    features = [Categorical(name=name) for name in sizes]
    encoder = Encoder.fit(features, [observe(features, pl.scan_parquet(train))])
    assert encoder.layout_parts()[2] == sizes
    assert sum(sizes.values()) == 5399
    test, users = pl.read_parquet(train.with_name("test.parquet")), pl.read_parquet(train)["user"].unique().implode()
    found = encoder.transform(test.lazy()).collect()
    known = test["user"].is_in(users)
    assert encoder.decode("user", found["user"].filter(known)).cast(pl.Int32).equals(test["user"].filter(known))
    assert (found["user"].filter(~known) == 1).all()


def test_criteo_rows_with_missing_values_are_encoded_whole() -> None:
    names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    rows = pl.read_csv(folder("criteo_10k") / "train.txt", separator="\t", has_header=False, new_columns=names)
    rows = rows.with_columns(pl.col("^C.*$").cast(pl.String))
    assert rows["I12"].null_count() > 1000
    squares, frequent = {"kind": "floor_log_squared"}, {"kind": "vocabulary", "min_count": 2}
    features = TypeAdapter(Features).validate_python(
        [{"kind": "numeric", "name": f"I{i}", "transform": "log", "indicator": True} for i in range(1, 14)]
        + [{"kind": "bucketized", "name": f"B{i}", "column": f"I{i}", "buckets": squares} for i in range(1, 14)]
        + [{"kind": "categorical", "name": f"C{i}", "encoding": frequent} for i in range(1, 27)]
    )
    halves = [observe(features, part.lazy()) for part in (rows.head(5000), rows.tail(5000))]
    encoder = Encoder.fit(features, halves)
    found = encoder.transform(rows.lazy(), keep=["label"]).collect(engine="streaming")
    assert found["label"].equals(rows["label"])
    assert found.height == 10_000
    assert sum(found.null_count().row(0)) == 0
    for name in ("C1", "C3", "C26"):
        counts = rows[name].value_counts()
        assert encoder.layout_parts()[2][name] == 2 + (counts["count"] >= 2).sum()
        rare = rows[name].is_in(counts.filter(pl.col("count") == 1)[name].drop_nulls().implode())
        assert (found[name].filter(rare) == 1).all()
        assert encoder.decode(name, found[name].filter(~rare)).equals(rows[name].filter(~rare))
    assert (found["I12:missing"] == rows["I12"].is_null().cast(pl.Float32)).all()


def test_histories_of_movielens_share_the_items_table_and_lose_their_leading_zero() -> None:
    rows = pl.read_parquet(folder("collm_ml_1m") / "train.parquet")
    features = TypeAdapter(Features).validate_python(
        [
            {"kind": "categorical", "name": "item", "column": "iid"},
            {
                "kind": "sequence",
                "name": "history",
                "max_length": 10,
                "members": [{"kind": "categorical", "name": "item", "column": "his", "share": "item", "drop": [0]}],
            },
        ]
    )
    encoder = Encoder.fit(features, [observe(features, rows.lazy())])
    found = encoder.transform(rows.lazy()).collect(engine="streaming")
    place = rows["his"].list.len().arg_max()
    assert place is not None
    decoded = encoder.decode("history/item", found["history/item"][place]).to_list()
    assert decoded == [item for item in rows["his"][place].to_list() if item != 0][-10:]
    lengths = (rows["his"].list.len() - 1).clip(upper_bound=10)
    assert (found["history/item"].list.len() == lengths).all()
    assert encoder.decode("item", found["item"]).equals(rows["iid"])
