"""The verbs schema and validate: what they write, how they end, and what they say of real data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate import schema, validate
from ctrgate.cli import main
from ctrgate.config import load
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.prepare import Config as PrepareConfig
from ctrgate.prepare import run as prepare
from ctrgate.validation.day import check_files
from ctrgate.validation.expectations import load as expected
from ctrgate.validation.result import Validation

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")
DAY = 86_400
ROW = pl.int_range(pl.len())

needs_frappe = pytest.mark.skipif(not (DATA / "frappe_x1").is_dir(), reason="Frappe is not in CTRGATE_DATA")
needs_movielens = pytest.mark.skipif(not (DATA / "ml_100k").is_dir(), reason="MovieLens-100K is not in CTRGATE_DATA")


def clicks(day: int) -> pl.DataFrame:
    random = np.random.default_rng(day)
    return pl.DataFrame(
        {
            "user": random.integers(500, size=1_000),
            "device": random.choice(["phone", "desktop"], size=1_000),
            "price": random.lognormal(size=1_000),
            "time": 20_000 * DAY + day * DAY + np.sort(random.integers(DAY, size=1_000)),
            "click": random.integers(2, size=1_000),
        }
    )


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run over four days of train, one of valid, one of test; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    for day in range(6):
        clicks(day).write_parquet(f"{day}.parquet")
    dataset = {
        "name": "clicks",
        "splits": {"train": "[0-3].parquet", "valid": "4.parquet", "test": "5.parquet"},
        "labels": [{"name": "click"}],
        "roles": {"group": "user", "timestamp": "time"},
        "negative_sampling_rate": 0.5,
        "features": [
            {"kind": "categorical", "name": "user"},
            {"kind": "categorical", "name": "device"},
            {"kind": "numeric", "name": "price"},
        ],
    }
    Path("run.yaml").write_text(yaml.safe_dump({"name": "r", "dataset": dataset}))
    return Path("run.yaml")


def test_schema_then_validate_pass_the_datasets_own_test_rows(
    run_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(load(run_file, PrepareConfig))
    assert main(["schema", str(run_file)]) == 0
    first = json.loads(capfd.readouterr().out)
    assert first == {
        "expectations": "expectations/clicks.yaml",
        "up_to_date": False,
        "rows": 4_000,  # train alone, and no negative left out
        "periods": 4,
        "columns": 5,
    }
    known = yaml.safe_load(Path(first["expectations"]).read_text())
    assert 0.05 < known["unseen"]["user"] <= 0.1  # of valid, twice and .05: hardly a user of 500 is new
    assert main(["validate", str(run_file)]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["worst"], result["rows"]) == (None, 1_000)
    told = json.loads(Path(result["validation"]).read_text())
    assert told["findings"] == []
    assert told["unseen"]["device"]["share"] == 0
    assert told["expectations"]["file"] == "expectations/clicks.yaml"
    assert main(["schema", str(run_file)]) == 0
    assert json.loads(capfd.readouterr().out)["up_to_date"] is True


def test_a_day_that_prepare_would_refuse_for_its_users_type_is_told(run_file: Path) -> None:
    assert main(["schema", str(run_file)]) == 0
    for name, users in (("a", pl.Int64), ("b", pl.String)):
        clicks(6).with_columns(visitor=pl.col("user").cast(users)).write_parquet(f"day-{name}.parquet")
    settings = yaml.safe_load(run_file.read_text())
    settings["dataset"]["roles"]["keys"] = ["visitor"]
    run_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(HeldBackError, match=r"column visitor holds String, but day-a\.parquet holds Int64 there"):
        validate.run(load(run_file, validate.Config, ["validate.files=day-*.parquet"]))


def test_a_stop_gives_3_and_leaves_report_and_json(run_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", str(run_file)]) == 0
    clicks(6).with_columns(click=0 * pl.col("click")).write_parquet("day.parquet")
    capfd.readouterr()
    assert main(["validate", str(run_file), "validate.files=day.parquet", "validate.into=out"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "1 finding of severity stop (one_class)" in err
    assert "all 1,000 rows are 0" in err
    assert json.loads(Path("out/validation.json").read_text())["worst"] == "stop"
    assert "The day is held back" in Path("out/index.html").read_text()
    severity = "validate.severities.one_class=note"
    assert main(["validate", str(run_file), "validate.files=day.parquet", "validate.into=out", severity]) == 0
    assert json.loads(capfd.readouterr().out)["findings"] == {"note": 1, "warn": 0, "stop": 0}


def test_a_day_without_rows_has_its_page_too(run_file: Path) -> None:
    schema.run(load(run_file, schema.Config))
    clicks(6).clear().write_parquet("day.parquet")
    with pytest.raises(HeldBackError, match=r"\(empty\); stop empty: expected rows; found none in day\.parquet"):
        validate.run(load(run_file, validate.Config, ["validate.files=day.parquet"]))
    assert "none in day.parquet" in Path("validation/clicks/index.html").read_text()


def test_what_is_written_is_the_same_each_time_and_needs_nothing_from_outside(run_file: Path) -> None:
    schema.run(load(run_file, schema.Config))
    clicks(6).with_columns(price=pl.col("price") * 9).write_parquet("day.parquet")
    written = []
    for into in ("a", "b"):
        config = load(run_file, validate.Config, ["validate.files=day.parquet", f"validate.into={into}"])
        assert validate.run(config)["worst"] == "warn"
        written.append([Path(into, name).read_bytes() for name in ("validation.json", "index.html")])
    assert written[0] == written[1]
    html = written[0][1].decode()
    assert "psi: price" in html
    assert "<script" not in html
    assert "http" not in html.replace("http://www.w3.org/", "")


def test_an_edited_file_stays_and_a_missing_one_says_how_it_is_made(run_file: Path) -> None:
    with pytest.raises(ConfigError, match="`ctrgate schema` with the same run file"):
        validate.run(load(run_file, validate.Config))
    schema.run(load(run_file, schema.Config))
    place = Path("expectations/clicks.yaml")
    place.write_text(place.read_text().replace("gap_minutes:", "gap_minutes: 5 #"))
    with pytest.raises(ConfigError, match="edited by hand"):
        schema.run(load(run_file, schema.Config))
    with pytest.raises(ConfigError, match="give one"):
        load(run_file, validate.Config, ["validate.files=a.parquet", "validate.split=test"])
    schema.run(load(run_file, schema.Config, ["schema.overwrite=true"]))
    assert "#" not in place.read_text().splitlines()[-1]


def test_every_kind_of_feature_can_be_validated(dense_run: Any, tmp_path: Path) -> None:
    place = f"schema.file={tmp_path}/e.yaml"
    dense_run("schema", place)
    result = dense_run("validate", place, f"validate.into={tmp_path}", "validate.min_rows=30")
    assert result["findings"]["stop"] == 0
    told = json.loads((tmp_path / "validation.json").read_text())
    assert set(told["unseen"]) >= {
        "user",
        "item",
        "hour",
        "tags",
        "words",
        "flags",
        "liked",
        "history/item",
        "user_item",
    }
    assert "item_hash" not in told["unseen"]
    assert told["columns"]["seen"]["psi"] is not None
    assert told["columns"]["image"]["nulls"] == pytest.approx(0.1, abs=0.1)


Checked = Callable[..., Validation]


@pytest.fixture(scope="module")
def frappe(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Check rows of Frappe by what its train rows look like."""
    folder, raw = tmp_path_factory.mktemp("frappe"), DATA / "frappe_x1"
    splits = f"dataset.splits={{train: {raw}/train.parquet, valid: {raw}/valid.parquet, test: {raw}/test.parquet}}"
    places = [splits, f"schema.file={folder}/e.yaml", f"prepare.into={folder}/none"]
    config = load(ROOT / "configs" / "experiments" / "frappe_final_mlp.yaml", schema.Config, places)
    schema.run(config)

    def check(rows: pl.DataFrame) -> Validation:
        rows.write_parquet(folder / "day.parquet")
        return check_files(config.dataset, [f"{folder}/day.parquet"], expectations=expected(f"{folder}/e.yaml"))

    return check


@needs_frappe
def test_frappes_published_test_rows_are_like_its_train_rows(frappe: Checked) -> None:
    found = frappe(pl.read_parquet(DATA / "frappe_x1" / "test.parquet"))
    assert found.num_rows == 28_860
    assert found.findings == ()
    assert max(column.psi or 0 for column in found.columns.values()) < 0.05


@needs_frappe
@pytest.mark.parametrize(
    ("rule", "column", "change"),
    [
        ("psi", "country", lambda rows: rows.with_columns(country=pl.col("country").max())),
        ("domain", "weekday", lambda rows: rows.with_columns(weekday=pl.col("weekday") + 10_000)),
        ("leak", "daytime", lambda rows: rows.with_columns(daytime=pl.col("label") + pl.col("daytime").min())),
        ("nulls", "city", lambda rows: rows.with_columns(city=pl.when(ROW % 10 > 0).then("city"))),
        ("label_rate", "", lambda rows: rows.filter((pl.col("label") == 1) | (ROW % 4 == 0))),
        ("schema", "", lambda rows: rows.drop("weather")),
    ],
)
def test_a_fault_planted_in_frappe_is_found(frappe: Checked, rule: str, column: str, change: Any) -> None:
    rows = pl.read_parquet(DATA / "frappe_x1" / "test.parquet")
    assert [finding.column for finding in frappe(change(rows)).findings if finding.rule == rule] == [column]


@needs_movielens
def test_movielens_text_files_and_joins_are_read_and_its_later_rows_pass(tmp_path: Path) -> None:
    run_file = ROOT / "configs" / "experiments" / "movielens_100k_final_mlp.yaml"
    places = [f"schema.file={tmp_path}/e.yaml", f"prepare.into={tmp_path}/none", "schema.period=month"]
    result = schema.run(load(run_file, schema.Config, places))
    assert result["periods"] == 7  # train's months, September 1997 to March 1998
    checked = validate.run(load(run_file, validate.Config, [*places, f"validate.into={tmp_path}"]))
    assert checked["worst"] is None
    lines = (DATA / "ml_100k" / "u.data").read_text().splitlines()[:5_000]
    lines[77] = lines[77].replace("\t", "\tx", 1)
    (tmp_path / "day.data").write_text("\n".join(lines))
    day = [f"validate.files={tmp_path}/day.data", f"validate.into={tmp_path}"]
    with pytest.raises(
        HeldBackError, match=r"day\.data cannot be read: row 77 \(counted from 0\) holds 'x\d+' as item"
    ):
        validate.run(load(run_file, validate.Config, [*places, *day]))
