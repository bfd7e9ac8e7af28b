"""What is inferred: limits as wide as periods vary, bins from quantiles, frequent values in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.sources import open_sources
from ctrgate.validation import reference
from ctrgate.validation.day import check_files
from ctrgate.validation.expectations import Limits
from ctrgate.validation.infer import SchemaSettings, infer
from ctrgate.validation.watched import watched_columns

DAY = 86_400


def dataset(folder: Path, **values: Any) -> DatasetConfig:
    given: dict[str, Any] = {
        "name": "d",
        "splits": {"train": str(folder / "*.parquet")},
        "labels": [{"name": "click"}],
        "roles": {"timestamp": "time"},
        "features": [{"kind": "categorical", "name": "weekday"}, {"kind": "numeric", "name": "x"}],
    }
    return TypeAdapter(DatasetConfig).validate_python(given | values)


def days(count: int) -> pl.DataFrame:
    """Days of 400 rows, every minute or so one; their click rates are .1, .2, .1, .2 ..."""
    random = np.random.default_rng(0)
    each = [
        pl.DataFrame(
            {
                "weekday": [f"w{day % 7}"] * 400,
                "x": random.normal(size=400),
                "time": 20_000 * DAY + day * DAY + np.linspace(0, DAY - 1, 400).astype(int),
                "click": ([1] * (40 if day % 2 == 0 else 80) + [0] * 400)[:400],
            }
        )
        for day in range(count)
    ]
    return pl.concat(each)


def test_limits_are_as_wide_as_days_vary(tmp_path: Path) -> None:
    days(8).write_parquet(tmp_path / "a.parquet")
    config = dataset(tmp_path)
    found = infer(config, open_sources(config), how=SchemaSettings())
    assert found.rows == Limits(min=200, max=800)
    assert found.labels["click"] == Limits(min=0.06667, max=0.3)  # .1 / 1.5 and .2 * 1.5
    assert found.gap_minutes == 16  # twice three minutes without rows, and ten
    assert (found.reference.num_periods, found.reference.effective_rows) == (8, 3_200)
    x = found.columns["x"]
    assert x.bins is not None
    assert x.bins.shares == pytest.approx([0.1] * 10, abs=0.001)
    assert x.range == Limits(min=2 * x.bins.start - x.bins.upto[-1], max=2 * x.bins.upto[-1] - x.bins.start)
    assert x.drift is not None
    assert x.drift.psi == 0.25
    weekday = found.columns["weekday"]
    assert weekday.domain == tuple(f"w{day}" for day in range(7))
    assert weekday.drift is not None
    assert weekday.drift.psi > 5  # each day has one weekday alone: that is usual
    following = tmp_path / "b.parquet"
    days(9)[-400:].write_parquet(following)
    assert check_files(config, [str(following)], expectations=found).findings == ()


def test_one_broken_day_among_many_does_not_widen_the_drift_limits(tmp_path: Path) -> None:
    rows = days(20).with_columns(x=pl.when(pl.col("time") // DAY == 20_005).then(pl.col("x") + 9).otherwise("x"))
    rows.write_parquet(tmp_path / "a.parquet")
    config = dataset(tmp_path)
    drift = infer(config, open_sources(config), how=SchemaSettings()).columns["x"].drift
    assert drift is not None
    assert drift.psi < 0.4


def test_frequent_values_are_found_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_MOST_VALUES", 50)
    monkeypatch.setattr(reference, "BATCH_ROWS", 1_000)
    random = np.random.default_rng(0)
    values = np.where(random.random(20_000) < 0.1, random.integers(3, size=20_000), random.integers(10, 10**6, 20_000))
    frame = pl.DataFrame({"weekday": values, "x": 0.0, "time": range(20_000), "click": 0})
    frame.write_parquet(tmp_path / "a.parquet")
    config = dataset(tmp_path)
    watched = watched_columns(config)
    bins = reference.reference_bins(watched, open_sources(config), num_bins=5, num_top=3, max_domain=1_000)
    assert set(bins["weekday"].top or ()) == {"0", "1", "2"}
    assert bins["weekday"].domain is None
    found = infer(config, open_sources(config), how=SchemaSettings(num_top=3)).columns["weekday"]
    exact = [float((values == place).mean()) for place in range(3)]
    assert [(found.top or {})[str(place)] for place in range(3)] == pytest.approx(exact, rel=1e-3)
    assert found.rest == pytest.approx(1 - sum(exact), rel=1e-3)
    constant = bins["x"].bins
    assert constant is not None
    assert (constant.start, constant.upto) == (0.0, (0.0,))


def test_no_rows_teach_nothing(tmp_path: Path) -> None:
    days(1).clear().write_parquet(tmp_path / "a.parquet")
    config = dataset(tmp_path)
    with pytest.raises(DataError, match="there are no rows to infer expectations of d"):
        infer(config, open_sources(config), how=SchemaSettings())


def test_a_rare_value_leaves_the_domain_open(tmp_path: Path) -> None:
    rows = days(2).with_columns(
        weekday=pl.when(pl.int_range(pl.len()) < 4).then(pl.lit("holiday")).otherwise("weekday")
    )
    rows.write_parquet(tmp_path / "a.parquet")
    config = dataset(tmp_path)
    assert infer(config, open_sources(config), how=SchemaSettings()).columns["weekday"].domain is None


def test_histories_from_the_log_are_watched_by_their_events(tmp_path: Path, make_clicks: Callable[..., Any]) -> None:
    for day in range(2):
        make_clicks(day, seed=day).write_parquet(tmp_path / f"{day}.parquet")
    history = {
        "kind": "sequence",
        "name": "history",
        "max_length": 5,
        "log": {"column": "clicked", "at_least": 1},
        "members": [{"kind": "categorical", "name": "item", "share": "item"}, {"kind": "numeric", "name": "price"}],
    }
    values = {"labels": [{"name": "clicked"}], "roles": {"group": "user", "timestamp": "time"}}
    config = dataset(tmp_path, features=[{"kind": "categorical", "name": "item"}, history], **values)
    found = infer(config, open_sources(config), how=SchemaSettings())
    assert found.columns["item"].top
    assert found.columns["price"].bins is not None
    assert "history/item" not in found.columns
    assert found.columns["clicked"].bins is None, "the rule's column is not read by the history's feature"
    day = tmp_path / "day.parquet"
    make_clicks(2, seed=2).with_columns(price=pl.col("price") * 4).write_parquet(day)
    findings = check_files(config, [str(day)], expectations=found).findings
    assert {(one.rule, one.feature) for one in findings if one.rule == "psi"} == {("psi", "history")}
    assert dataclasses.asdict(findings[0])["column"] == "price"
