"""Days of generated clicks: those like the reference pass, and every planted fault is found where it lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import ConfigError, DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.sources import open_sources
from ctrgate.validation.day import check_files
from ctrgate.validation.infer import SchemaSettings, infer
from ctrgate.validation.result import Validation
from ctrgate.validation.rules import CheckSettings, Finding, Severities

DAY = 86_400
SEVENTH = 20_006 * DAY
ROW = pl.int_range(pl.len())
Clicks = Callable[..., pl.DataFrame]


def rules(checked: Validation) -> set[str]:
    return {finding.rule for finding in checked.findings}


def only(checked: Validation, rule: str, **about: Any) -> Finding:
    """The finding of a rule about something; there must be exactly one."""
    found = [f for f in checked.findings if f.rule == rule and all(getattr(f, k) == v for k, v in about.items())]
    assert len(found) == 1, [str(finding) for finding in checked.findings]
    return found[0]


def test_days_like_the_reference_raise_nothing(week: Any, make_clicks: Clicks) -> None:
    alarms = [week.check(make_clicks(6, seed=100 + day)).findings for day in range(15)]
    assert sum(map(len, alarms)) <= 1, alarms  # 15 days of about 30 tests each, at 1e-4 beyond a limit


def test_small_days_and_days_of_few_users_raise_no_drift(week: Any, make_clicks: Clicks) -> None:
    for seed in range(8):
        small = week.check(make_clicks(6, seed=200 + seed, num_rows=250))
        assert rules(small) <= {"rows", "gap"}
        few = week.check(make_clicks(6, seed=300 + seed, num_rows=1_500, num_users=8))
        assert rules(few) <= {"rows", "gap"}  # ages and users of eight people say little, however many rows they have


def test_a_moved_distribution_is_found_in_its_column_alone(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7)
    prices = week.check(day.with_columns(price=pl.col("price") * 3))
    assert only(prices, "psi").column == "price"
    devices = np.random.default_rng(0).choice(["phone", "desktop", "tv"], p=[0.2, 0.3, 0.5], size=day.height)
    devices = week.check(day.with_columns(device=pl.Series(devices)))
    finding = only(devices, "psi")
    assert finding.column == "device"
    assert "tv went from 10.2% to 49.1%" in finding.found
    assert only(devices, "jensen_shannon").severity == "note"
    tags = week.check(day.with_columns(tags=pl.concat_list(pl.lit("t0"), pl.lit("t0"), "tags")))
    assert only(tags, "psi").column == "tags"


def test_the_measures_are_those_of_the_shares_that_are_told(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7)
    measured = week.check(day).columns["device"]
    assert measured.bins == ("phone", "desktop", "tv", "other values", "missing")
    counts = day["device"].value_counts().rows_by_key("device", named=False)
    assert measured.shares[:3] == tuple(counts[name][0][0] / day.height for name in ("phone", "desktop", "tv"))
    prices = week.check(day).columns["price"]
    assert prices.nulls == prices.shares[-1] == day["price"].null_count() / day.height
    assert sum(prices.shares) == pytest.approx(1)
    assert sum(prices.reference) == pytest.approx(1, abs=1e-3)
    assert prices.low == day["price"].min()
    cuts = week.expectations.columns["price"].bins
    inside = day["price"].is_between(cuts.upto[2], cuts.upto[3], closed="right")
    assert prices.shares[4] == pytest.approx(inside.sum() / day.height)


FAULTS: dict[str, tuple[str, dict[str, Any], Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "half of a column is missing": (
        "nulls",
        {"column": "age", "feature": "years", "severity": "warn"},
        lambda day: day.with_columns(age=pl.when(ROW % 2 == 0).then("age")),
    ),
    "a number changes its sign": (
        "range",
        {"column": "price", "rows": (17,)},
        lambda day: day.with_columns(price=pl.when(ROW == 17).then(-1.0).otherwise("price")),
    ),
    "a new category": (
        "domain",
        {"column": "device", "rows": (5, 6)},
        lambda day: day.with_columns(device=pl.when(ROW.is_in([5, 6])).then(pl.lit("watch")).otherwise("device")),
    ),
    "labels are late": (
        "label_rate",
        {"label": "clicked"},
        lambda day: day.with_columns(clicked=pl.when(ROW % 5 == 0).then("clicked").otherwise(0)),
    ),
    "no positives": (
        "one_class",
        {"label": "clicked", "severity": "stop"},
        lambda day: day.with_columns(clicked=0 * pl.col("clicked")),
    ),
    "ids in another form": (
        "unseen",
        {"feature": "item", "rows": (1, 2, 3, 5, 6)},
        lambda day: day.with_columns(item=pl.when(ROW % 4 > 0).then("I" + pl.col("item")).otherwise("item")),
    ),
    "rows written twice": (
        "duplicates",
        {"rows": (3000, 3001, 3002, 3003, 3004)},
        lambda day: pl.concat([day, day.head(100)]),
    ),
    "hours are missing": (
        "gap",
        {},
        lambda day: day.filter((pl.col("time") % DAY < 6 * 3600) | (pl.col("time") % DAY > 11 * 3600)),
    ),
    "few rows": ("rows", {}, lambda day: day.gather_every(3)),
    "many rows": ("rows", {}, lambda day: pl.concat([day] * 3)),
    "no rows": ("empty", {"severity": "stop"}, lambda day: day.clear()),
    "a column of another type": (
        "types",
        {"column": "age"},
        lambda day: day.with_columns(age=pl.col("age").cast(pl.Int32)),
    ),
    "a column is missing": ("schema", {"severity": "stop"}, lambda day: day.drop("price")),
    "text for a number": (
        "schema",
        {"severity": "stop"},
        lambda day: day.with_columns(price=pl.col("price").cast(pl.String)),
    ),
    "an infinite number": (
        "values",
        {"severity": "stop"},
        lambda day: day.with_columns(price=pl.when(ROW == 9).then(float("inf")).otherwise("price")),
    ),
    "a label that is none": (
        "values",
        {"severity": "stop"},
        lambda day: day.with_columns(clicked=pl.when(ROW == 9).then(2).otherwise("clicked")),
    ),
    "a feature that knows the label": (
        "leak",
        {"column": "price", "label": "clicked"},
        lambda day: day.with_columns(price=pl.when(pl.col("clicked") == 1).then(15.0).otherwise(5.0)),
    ),
    "a category that knows the label": (
        "leak",
        {"column": "item"},
        lambda day: day.with_columns(item=pl.when(pl.col("clicked") == 1).then(pl.lit("i3")).otherwise("item")),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(week: Any, make_clicks: Clicks, fault: str) -> None:
    rule, about, plant = FAULTS[fault]
    checked = week.check(plant(make_clicks(6, seed=7)))
    finding = only(checked, rule)
    assert {name: getattr(finding, name) for name in about} == about
    if finding.rows:
        assert finding.file.endswith("day-0.parquet")
    assert all([finding.expected, finding.found, finding.remedy])


@pytest.mark.parametrize(
    "fault", ["a number changes its sign", "a new category", "labels are late", "hours are missing", "few rows"]
)
def test_a_planted_fault_is_all_that_is_found(week: Any, make_clicks: Clicks, fault: str) -> None:
    rule, _, plant = FAULTS[fault]
    also = {"few rows": {"gap"}}.get(fault, set[str]())
    assert rules(week.check(plant(make_clicks(6, seed=7)))) - also == {rule}


def test_a_handful_of_rows_of_one_class_is_only_a_note(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7)
    for value, few, many in ((1, 5, 20), (0, 20, 100)):  # clicks are the rarer class
        same = day.filter(pl.col("clicked") == value)
        assert only(week.check(same.head(few)), "one_class").severity == "note"
        assert only(week.check(same.head(many)), "one_class").severity == "stop"


def test_rows_of_other_days_are_found(week: Any, make_clicks: Clicks) -> None:
    how = CheckSettings(since=SEVENTH, until=SEVENTH + DAY)
    day = make_clicks(6, seed=7)
    assert week.check(day, how=how).findings == ()
    late = week.check(day.with_columns(time=pl.when(ROW == 4).then(SEVENTH + DAY).otherwise("time")), how=how)
    assert only(late, "after_label").rows == (4,)
    assert late.worst == "stop"
    early = week.check(day.with_columns(time=pl.when(ROW == 4).then(SEVENTH - 1).otherwise("time")), how=how)
    assert only(early, "outside_period").rows == (4,)
    cut = week.check(day.filter(pl.col("time") < SEVENTH + 18 * 3600), how=how)
    assert "2024-10-10 17:59" in only(cut, "gap").found or "2024-10-10 18:00" in only(cut, "gap").found


def test_features_taken_after_their_row_are_a_leak(week: Any, make_clicks: Clicks) -> None:
    how = CheckSettings(features_at="taken")
    day = make_clicks(6, seed=7).with_columns(taken=pl.col("time") - 60)
    assert week.check(day, how=how).findings == ()
    later = day.with_columns(taken=pl.when(ROW == 11).then(pl.col("time") + 1).otherwise("taken"))
    finding = only(week.check(later, how=how), "after_label")
    assert (finding.rows, finding.column, finding.severity) == ((11,), "taken", "stop")


def test_a_damaged_file_is_a_finding_and_the_others_are_checked(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7)
    whole = week.folder / "a.parquet"
    day.write_parquet(whole)
    (week.folder / "b.parquet").write_bytes(whole.read_bytes()[:-100])
    (week.folder / "c.parquet").write_bytes(b"")
    files = [str(week.folder / f"{name}.parquet") for name in "abc"]
    checked = check_files(week.dataset, files, expectations=week.expectations, encoder=week.encoder)
    assert [finding.file for finding in checked.findings] == files[1:]
    assert rules(checked) == {"readable"}
    assert checked.num_rows == day.height


def test_damage_inside_a_file_is_found_however_late_it_shows(week: Any, make_clicks: Clicks) -> None:
    path = week.folder / "a.parquet"
    make_clicks(6, seed=7).write_parquet(path, compression="zstd")
    item = pq.read_metadata(path).row_group(0).column(1)  # which no check of values reads
    assert item.path_in_schema == "item"
    data = bytearray(path.read_bytes())
    data[item.data_page_offset : item.data_page_offset + 200] = b"\xff" * 200
    path.write_bytes(bytes(data))
    other = week.folder / "b.parquet"
    make_clicks(6, seed=8).write_parquet(other)
    checked = check_files(week.dataset, [str(path), str(other)], expectations=week.expectations)
    assert only(checked, "readable").file == str(path)
    assert (checked.num_rows, rules(checked)) == (3_000, {"readable"})


def test_a_place_without_files_is_the_callers_fault(week: Any) -> None:
    with pytest.raises(DataError, match=r"none-\*\.parquet: no such file"):
        check_files(week.dataset, [str(week.folder / "none-*.parquet")], expectations=week.expectations)


def test_several_files_are_one_day_and_rows_are_told_with_their_file(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7)
    bad = day[1000:].with_columns(price=pl.when(ROW == 3).then(-1.0).otherwise("price"))
    checked = week.check(day[:1000], bad)
    finding = only(checked, "range")
    assert (Path(finding.file).name, finding.rows) == ("day-1.parquet", (3,))
    assert rules(checked) == {"range"}
    repeated = week.check(day, day.head(500))
    assert Path(only(repeated, "duplicates").file).name == "day-1.parquet"
    assert only(repeated, "duplicates").rows == (0, 1, 2, 3, 4)


def test_a_severity_is_the_rules_unless_the_column_has_its_own(week: Any, make_clicks: Clicks) -> None:
    day = make_clicks(6, seed=7).with_columns(price=pl.col("price") * 3, age=pl.col("age") * 2)
    how = CheckSettings(severities=Severities(psi="note"))
    columns = dict(week.expectations.columns)
    columns["price"] = dataclasses.replace(columns["price"], severity={"psi": "stop"})
    changed = dataclasses.replace(week.expectations, columns=columns)
    checked = week.check(day, how=how, expectations=changed)
    assert only(checked, "psi", column="price").severity == "stop"
    assert only(checked, "psi", column="age").severity == "note"
    assert checked.worst == "stop"
    assert [finding.severity for finding in checked.findings] == sorted(
        (finding.severity for finding in checked.findings), key=("stop", "warn", "note").index
    )


def test_a_limit_that_is_left_out_is_not_checked(week: Any, make_clicks: Clicks) -> None:
    columns = dict(week.expectations.columns)
    columns["price"] = dataclasses.replace(columns["price"], drift=None, range=None, nulls=1.0, auc=None)
    changed = dataclasses.replace(week.expectations, columns=columns)
    assert week.check(make_clicks(6, seed=7).with_columns(price=-9.0), expectations=changed).findings == ()


def test_columns_that_dataset_and_expectations_do_not_share_are_told(week: Any, make_clicks: Clicks) -> None:
    columns = dict(week.expectations.columns)
    columns["gone"] = columns.pop("price")
    changed = dataclasses.replace(week.expectations, columns=columns)
    checked = week.check(make_clicks(6, seed=7), expectations=changed)
    assert {(finding.rule, finding.column) for finding in checked.findings} == {
        ("uncovered", "gone"),
        ("uncovered", "price"),
    }


def test_parts_of_other_datasets_are_refused(week: Any, make_clicks: Clicks) -> None:
    other = dataclasses.replace(week.expectations, dataset="other")
    with pytest.raises(ConfigError, match="are of the dataset other"):
        week.check(make_clicks(6, seed=7), expectations=other)
    columns = dict(week.expectations.columns)
    columns["price"] = columns["device"]
    with pytest.raises(ConfigError, match=r"columns\.price of the expectations holds categories"):
        week.check(make_clicks(6, seed=7), expectations=dataclasses.replace(week.expectations, columns=columns))
    fewer = dataclasses.replace(week, dataset=_without(week.dataset, "tags"))
    with pytest.raises(ConfigError, match="encoder has other features"):
        fewer.check(make_clicks(6, seed=7))


def _without(dataset: DatasetConfig, feature: str) -> DatasetConfig:
    return dataclasses.replace(dataset, features=tuple(one for one in dataset.features if one.name != feature))


def test_json_depends_on_rows_alone(week: Any, make_clicks: Clicks) -> None:
    day = FAULTS["half of a column is missing"][2](make_clicks(6, seed=7))
    first, second = week.check(day).to_json(), week.check(day).to_json()
    assert first == second
    assert list(first["columns"]) == list(second["columns"])
    assert first["num_findings"]["warn"] >= 1
    assert first["findings"][0]["rule"] == "nulls"
    assert first["labels"]["clicked"]["num_rows"] == day.height


def test_a_dataset_without_clock_or_user_is_checked_file_by_file(tmp_path: Path, make_clicks: Clicks) -> None:
    for day in range(3):
        make_clicks(day, seed=day).drop("time").write_parquet(tmp_path / f"{day}.parquet")
    values = {
        "name": "d",
        "splits": {"train": str(tmp_path / "*.parquet")},
        "labels": [{"name": "clicked"}],
        "features": [{"kind": "categorical", "name": "device"}, {"kind": "numeric", "name": "price"}],
    }
    dataset = TypeAdapter(DatasetConfig).validate_python(values)
    expectations = infer(dataset, open_sources(dataset), how=SchemaSettings())
    assert expectations.reference.period is None
    assert expectations.gap_minutes is None
    files = [str(tmp_path / "0.parquet"), str(tmp_path / "short.parquet")]
    make_clicks(4, seed=4, num_rows=1_000).write_parquet(files[1])
    checked = check_files(dataset, files, expectations=expectations)
    assert only(checked, "rows").file == files[1]
    assert rules(checked) == {"rows"}
    with pytest.raises(ConfigError, match=r"need roles\.timestamp"):
        check_files(dataset, files, expectations=expectations, how=CheckSettings(since=1))


def test_a_day_is_since_up_to_until() -> None:
    with pytest.raises(ValueError, match="is not before until"):
        CheckSettings(since=5, until=5)
    how = TypeAdapter(CheckSettings).validate_python({"since": "2025-01-01", "until": "2025-01-02T00:00:00+00:00"})
    assert how.seconds == (1_735_689_600, 1_735_776_000)
