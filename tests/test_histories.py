"""Rows that are to be scored get the histories that ``prepare`` would have given them, and are no events themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ctrgate import evaluate, export, prepare, score, train
from ctrgate.config import load
from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.encoder import Encoder
from ctrgate.features.histories import histories
from ctrgate.features.prepared import Prepared
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import open_sources, read_raw
from ctrgate.histories import Config, run
from tests.test_prepare_histories import DATA, FRAME, GROUP, ITEM, ROOT

LOG = FRAME.with_columns(pl.col("price").fill_null(4.0))
CLICKED = GROUP | {"log": {"column": "click", "equals": 1}}


def dataset(folder: Path, **values: Any) -> dict[str, Any]:
    return {
        "name": "d",
        "files": str(folder / "log*.parquet"),
        "split": {"by": "time", "valid": 0.2, "test": 0.3},
        "labels": [{"name": "click"}],
        "roles": {"group": "user", "timestamp": "time"},
        "features": [ITEM, CLICKED],
        **values,
    }


def config(folder: Path, files: str = "asked*.parquet", **values: Any) -> Config:
    wanted = {"files": str(folder / files), "into": str(folder / "with_histories")}
    return TypeAdapter(Config).validate_python({"dataset": dataset(folder, **values), "histories": wanted})


def made(folder: Path, asked: pl.DataFrame, *, log: pl.DataFrame = LOG, **values: Any) -> pl.DataFrame:
    log[: log.height // 2].write_parquet(folder / "log0.parquet")
    log[log.height // 2 :].write_parquet(folder / "log1.parquet")
    asked.write_parquet(folder / "asked.parquet")
    run(config(folder, **values))
    return pl.read_parquet(folder / "with_histories" / "asked.parquet")


def naive(log: pl.DataFrame, user: str | None, time: int | None, *, own_second: bool = False) -> list[int]:
    """The last three clicked items of a user before a time; before no time, of all."""
    found = sorted(
        (row for row in log.iter_rows(named=True) if row["user"] == user and row["click"] == 1),
        key=lambda row: row["time"],
    )
    return [row["item"] for row in found if time is None or row["time"] < time + own_second][-3:]


@settings(max_examples=30, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=25),
    asked=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 8)), max_size=12),
    rule=st.sampled_from(["unseen", "file_order"]),
)
def test_histories_are_those_of_a_loop(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], asked: list[Any], rule: str
) -> None:
    users, times, clicks = zip(*events, strict=True)
    items = list(range(100, 100 + len(events)))
    log = pl.DataFrame({"user": users, "item": items, "price": [1.0] * len(items), "time": times, "click": clicks})
    rows = pl.DataFrame(
        {"user": [user for user, _ in asked], "time": [time for _, time in asked]},
        schema={"user": pl.String, "time": pl.Int64},
    )
    found = made(tmp_path_factory.mktemp("asked"), rows, log=log, same_second=rule)
    expected = [naive(log, user, time, own_second=rule == "file_order") for user, time in asked]
    assert found["history/item"].to_list() == expected
    assert found.select("user", "time").equals(rows)


def test_rows_without_a_time_see_the_last_events_and_other_columns_stay(tmp_path: Path) -> None:
    asked = pl.DataFrame({"user": ["a", "nobody", "b", None], "item": [99, 98, 97, 96], "shelf": ["x", "y", "z", None]})
    found = made(tmp_path, asked)
    assert found.columns == ["user", "item", "shelf", "history/item", "history/price"]
    assert found["history/item"].to_list() == [[10, 13, 15], [], [10, 10], []]
    assert found["history/price"].to_list() == [[4.0, 6.0, 9.0], [], [3.0, 8.0], []]
    assert found.select(asked.columns).equals(asked)


def test_a_user_with_times_has_no_history_where_the_time_is_missing(tmp_path: Path) -> None:
    asked = pl.DataFrame({"user": ["a", "a"], "time": [5, None]}, schema={"user": pl.String, "time": pl.Int64})
    assert made(tmp_path, asked)["history/item"].to_list() == [[10, 10, 13], []]


def test_rows_of_the_log_get_what_prepare_has_encoded(tmp_path: Path) -> None:
    found = made(tmp_path, LOG)
    settings = {"dataset": dataset(tmp_path), "prepare": {"into": str(tmp_path / "prepared")}}
    prepare.run(TypeAdapter(prepare.Config).validate_python(settings))
    prepared = Prepared.open(tmp_path / "prepared")
    encoder = Encoder.load(prepared.encoder_folder)
    scored = encoder.transform(found.lazy(), scoring=True).collect()
    encoded = pl.concat(
        [pl.read_parquet(path) for split in ("train", "valid", "test") for path in prepared.files(split)]
    )
    for column in ("history/item", "history/price"):
        assert sorted(scored[column].to_list()) == sorted(encoded[column].to_list())
    assert sum(scored["history/item"].list.len()) == 11


def test_real_rows_get_the_scores_that_evaluate_has_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DATA / "ml_100k").is_dir():
        pytest.skip(f"no ml_100k in {DATA}; set CTRGATE_DATA to where the real data lie")
    monkeypatch.setenv("CTRGATE_DATA", str(DATA.resolve()))
    raw, added, scores = DATA / "ml_100k" / "u.data", tmp_path / "with_histories", tmp_path / "scores"
    settings = {
        "name": "real",
        "runs": str(tmp_path / "runs"),
        "dataset": str((ROOT / "configs/datasets/movielens_100k_histories.yaml").resolve()),
        "prepare": {"into": str(tmp_path / "prepared")},
        "tables": {"dim": 4, "init_std": 0.1},
        "model": {"name": "din", "mlp": {"hidden": [8]}, "attention_hidden": [8]},
        "train": {"epochs": 1, "batch_size": 4096},
        "histories": {"files": str(raw), "into": str(added)},
        "score": {"files": str(added / "u.parquet"), "into": str(scores)},
        "tracking": {"enabled": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    for verb in (prepare, train, evaluate, export):
        verb.run(load(tmp_path / "run.yaml", verb.Config))
    assert run(load(tmp_path / "run.yaml", Config))["rows"] == 100_000
    score.run(load(tmp_path / "run.yaml", score.Config))
    scored = pl.concat([pl.read_parquet(path) for path in scores.glob("*.parquet")])
    measured = pl.read_parquet(tmp_path / "runs/real/evaluation/test.parquet")
    both = measured.join(scored, left_on=["key:user", "key:item"], right_on=["user", "item"])
    assert both.height == measured.height == 10_000
    np.testing.assert_allclose(both["logit"], both["logit:liked"], rtol=0, atol=1e-5)
    assert both["logit"].std() > 0.01


def test_a_large_log_is_parted_and_rows_that_ask_are_no_events(tmp_path: Path) -> None:
    LOG.write_parquet(tmp_path / "log.parquet")
    LOG.write_parquet(tmp_path / "asked.parquet")
    of = config(tmp_path)
    log, asked = open_sources(of.dataset), read_raw(of.dataset, of.histories.files)
    found = []
    for part_rows in (1 << 20, 3):
        columns = histories(
            of.dataset, log, asked=asked, scratch=tmp_path / f"scratch{part_rows}", partition_rows=part_rows
        )
        found.append(asked[0].rows.select(*columns[1]).collect())
        assert found[-1].equals(log[0].rows.select(*columns[0]).collect())
    assert found[0].equals(found[1])
    assert ROW not in found[0].columns


def test_what_cannot_be_done_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    LOG.write_parquet(tmp_path / "log.parquet")

    def refused(error: type[Exception], match: str, asked: pl.DataFrame, **values: Any) -> None:
        asked.write_parquet(tmp_path / "asked.parquet")
        with pytest.raises(error, match=match):
            run(config(tmp_path, **values))
        assert not (tmp_path / "with_histories").exists()

    fine = pl.DataFrame({"user": ["a"]})
    refused(ConfigError, "no sequence has a log", fine, features=[ITEM])
    refused(
        SchemaError, r"asked\.parquet lacks the column 'user' of roles\.group; it has \['item'\]", LOG.select("item")
    )
    refused(
        SchemaError, r"asked\.parquet: the group reads column user, which is Float64", pl.DataFrame({"user": [0.5]})
    )
    refused(SchemaError, "must be text everywhere or numbers everywhere", pl.DataFrame({"user": [3]}))
    refused(SchemaError, "the timestamp reads column time, which is String", fine.with_columns(time=pl.lit("noon")))
    lists = fine.with_columns(pl.Series("history/item", [[1]]))
    refused(SchemaError, r"has \['history/item'\] already", lists)
    (tmp_path / "elsewhere").mkdir()
    fine.write_parquet(tmp_path / "elsewhere" / "asked.parquet")
    fine.write_parquet(tmp_path / "asked.parquet")
    with pytest.raises(DataError, match="several files are called asked"):
        run(config(tmp_path, "**/asked.parquet"))


def test_a_folder_of_other_files_is_not_replaced_and_an_earlier_one_is(tmp_path: Path) -> None:
    made(tmp_path, pl.DataFrame({"user": ["a"]}))
    assert made(tmp_path, pl.DataFrame({"user": ["c"]}))["history/item"].to_list() == [[14]]
    (tmp_path / "with_histories" / "histories.json").unlink()
    with pytest.raises(ConfigError, match="holds other files than histories"):
        run(config(tmp_path))
    assert (tmp_path / "with_histories" / "asked.parquet").is_file()
