"""From raw rows to encoded histories: splits, what is learnt of which rows, and rows that are scored later."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from benchmarks.beauty_events import main as make_beauty_events
from ctrgate.artifact.golden import golden_rows
from ctrgate.config import load
from ctrgate.errors import DataError, SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.encoder import Encoder
from ctrgate.features.histories import histories
from ctrgate.features.prepared import Prepared
from ctrgate.features.sources import open_sources
from ctrgate.prepare import Config, run

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")
FRAME = pl.DataFrame(
    {
        "user": ["a", "a", "b", "a", "b", "a", "c", "b", "a", "b"],
        "item": [10, 11, 10, 10, 12, 13, 14, 10, 15, 16],
        "price": [1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
        "time": [1, 2, 2, 3, 3, 4, 4, 5, 6, 7],
        "click": [1, 0, 1, 1, 0, 1, 1, 1, 1, 0],
    }
)
ITEM: dict[str, Any] = {"kind": "categorical", "name": "item"}
GROUP: dict[str, Any] = {
    "kind": "sequence",
    "name": "history",
    "max_length": 3,
    "log": {},
    "members": [ITEM | {"share": "item"}, {"kind": "numeric", "name": "price", "transform": "none", "fill": 0.0}],
}


def config(folder: Path, **values: Any) -> Config:
    dataset = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "split": {"by": "leave_one_out"},
        "roles": {"group": "user", "timestamp": "time", "keys": "user"},
        "features": [ITEM | {"unknown_when_scoring": True}, GROUP],
    }
    given = {"dataset": dataset | values, "prepare": {"into": str(folder / "out")}}
    return TypeAdapter(Config).validate_python(given)


def prepared(folder: Path, *frames: pl.DataFrame, **values: Any) -> Prepared:
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"{number}.parquet")
    run(config(folder, **values))
    return Prepared.open(folder / "out")


def rows(found: Prepared, split: Any) -> list[tuple[Any, ...]]:
    """Of each row the user, the item and the history, in raw items: None for one that train has not seen."""
    encoder = Encoder.load(found.encoder_folder)
    frame = pl.concat([pl.read_parquet(path) for path in found.files(split)])
    return [
        (user, *encoder.decode("item", pl.Series([item])), encoder.decode("item", pl.Series(history)).to_list())
        for user, item, history in frame.select("key:user", "item", "history/item").iter_rows()
    ]


def test_items_unseen_in_training_read_the_unknown_row_in_histories_and_targets(tmp_path: Path) -> None:
    found = prepared(tmp_path, FRAME[:6], FRAME[6:])
    train = [("a", 10, []), ("a", 11, [10]), ("b", 10, []), ("a", 10, [10, 11]), ("b", 12, [10]), ("c", 14, [])]
    assert rows(found, "train") == train
    assert rows(found, "valid") == [("a", None, [10, 11, 10]), ("b", 10, [10, 12])]
    assert rows(found, "test") == [("a", None, [11, 10, None]), ("b", None, [10, 12, 10])]
    test = pl.read_parquet(found.files("test")[0])
    assert test["item"].to_list() == [1, 1]
    assert test["history/item"].to_list()[0][-1] == 1
    assert test["history/price"].to_list() == [[2.0, 0.0, 6.0], [3.0, 5.0, 8.0]]
    assert [(group.name, group.max_length) for group in found.layout.sequences] == [("history", 3)]
    assert found.layout.labels == ()
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "encoder",
        "manifest.json",
        "test",
        "train",
        "valid",
    ]


def test_only_the_last_train_row_of_each_user_is_written_and_all_are_learnt(tmp_path: Path) -> None:
    found = prepared(tmp_path, FRAME[:6], FRAME[6:], train_rows="last")
    assert rows(found, "train") == [("a", 10, [10, 11]), ("b", 12, [10]), ("c", 14, [])]
    assert rows(found, "valid") == [("a", None, [10, 11, 10]), ("b", 10, [10, 12])]
    assert {split: found.num_rows(split) for split in ("train", "valid", "test")} == {"train": 3, "valid": 2, "test": 2}
    counts = Encoder.load(found.encoder_folder).tables["item"].entries  # type: ignore[union-attr]
    assert dict(counts.select("value", "count").iter_rows()) == {"10": 3, "11": 1, "12": 1, "14": 1}


def test_a_file_whose_train_rows_are_all_earlier_ones_has_no_part(tmp_path: Path) -> None:
    found = prepared(tmp_path, FRAME[:2], FRAME[2:], train_rows="last")
    assert [path.name for path in found.files("train")] == ["part-00001-000.parquet"]


def test_histories_reach_over_a_split_by_time(tmp_path: Path) -> None:
    split = {"by": "time", "valid_from": 4, "test_from": 6}
    found = prepared(tmp_path, FRAME, split=split, labels=[{"name": "click"}])
    assert rows(found, "valid") == [("a", None, [10, 11, 10]), ("c", None, []), ("b", 10, [10, 12])]
    assert rows(found, "test") == [("a", None, [11, 10, None]), ("b", None, [10, 12, 10])]
    found = prepared(tmp_path, FRAME, split=split, train_rows="last")
    assert rows(found, "train") == [("a", 10, [10, 11]), ("b", 12, [10])]


def test_histories_reach_over_given_files_and_no_further_than_the_rows_time(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{number}.parquet") for number in range(3)]
    splits = {"train": names[1], "valid": names[2], "test": names[0]}
    # the test file has the earliest rows: they see nothing of train, and train sees them
    found = prepared(tmp_path, FRAME[:3], FRAME[3:8], FRAME[8:], files=[], split=None, splits=splits)
    assert rows(found, "test") == [("a", 10, []), ("a", None, [10]), ("b", 10, [])]
    assert rows(found, "train")[:2] == [("a", 10, [10, None]), ("b", 12, [10])]
    assert rows(found, "valid") == [("a", None, [None, 10, 13]), ("b", None, [10, 12, 10])]


def test_only_clicks_are_events_and_only_those_of_train_are_learnt(tmp_path: Path) -> None:
    group = GROUP | {"members": [ITEM, GROUP["members"][1] | {"transform": "standard", "fill": None}]}
    group |= {"log": {"column": "click", "equals": 1}}
    found = prepared(tmp_path, FRAME, features=[group])
    encoder = Encoder.load(found.encoder_folder)
    table = encoder.tables["history/item"].entries  # type: ignore[union-attr]
    assert dict(table.select("value", "count").iter_rows()) == {"10": 3, "14": 1}
    assert encoder.scalings["history/price"].shift == pytest.approx((1.0 + 3.0 + 7.0) / 3)
    test = pl.concat([pl.read_parquet(path) for path in found.files("test")])
    histories = [encoder.decode("history/item", pl.Series(each)).to_list() for each in test["history/item"]]
    assert histories == [[10, 10, None], [10, 10]]


def test_sampled_out_rows_are_events_all_the_same(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1] * 50, "time": range(50), "item": range(50), "click": [1, *[0] * 47, 1, 1]})
    features = [GROUP | {"members": [ITEM], "max_length": 60}]
    values = {"negative_sampling_rate": 0.1, "labels": [{"name": "click"}], "split": {"by": "order"}}
    found = prepared(tmp_path, frame, features=features, **values)
    assert 1 < found.num_rows("train") < 30
    test = pl.read_parquet(found.files("test")[0])
    assert test["history/item"].list.len().to_list() == [45, 46, 47, 48, 49]


def test_rows_that_bring_their_lists_are_scored_as_they_were_prepared(tmp_path: Path) -> None:
    found = prepared(tmp_path, FRAME)
    encoder, dataset = Encoder.load(found.encoder_folder), found.dataset
    (source,) = open_sources(dataset)
    (columns,) = histories(dataset, [source], scratch=tmp_path)
    raw = source.rows.with_columns(columns).drop("item", "price").collect()
    (tmp_path / "new").mkdir()
    raw.drop("row:index").write_parquet(tmp_path / "new/rows.parquet")
    again = pl.scan_parquet(tmp_path / "new/rows.parquet")
    check_columns(encoder.features, again.collect_schema(), source="new", scoring=True)
    scored = encoder.transform(again, keep=["user", "time"], scoring=True).collect()
    assert scored["item"].to_list() == [1] * FRAME.height
    wanted = pl.concat([pl.read_parquet(path) for split in ("train", "valid", "test") for path in found.files(split)])
    key = ["user", "time"]
    wanted = wanted.rename({"key:user": "user", "timestamp:time": "time"}).sort(key)
    for name in ("history/item", "history/price"):
        assert scored.sort(key)[name].to_list() == wanted[name].to_list()


def test_rows_to_score_may_be_longer_than_max_length_and_missing(tmp_path: Path) -> None:
    encoder = Encoder.load(prepared(tmp_path, FRAME).encoder_folder)
    lists = {"history/item": [[10, 11, 12, 14, 99], None], "history/price": [[1.0, 2.0, 3.0, 4.0, 5.0], None]}
    scored = encoder.transform(pl.LazyFrame(lists), scoring=True).collect()
    first, second = scored["history/item"].to_list()
    assert encoder.decode("history/item", pl.Series(first)).to_list() == [12, 14, None]
    assert second == []


def test_golden_rows_bring_the_lists(tmp_path: Path) -> None:
    encoder = Encoder.load(prepared(tmp_path, FRAME).encoder_folder)
    golden = golden_rows(encoder, num_rows=40, seed=1)
    assert golden.columns == ["history/item", "history/price"]
    check_columns(encoder.features, golden.schema, source="golden", scoring=True)
    check_values(encoder.features, golden.lazy(), source="golden", scoring=True)
    encoded = encoder.transform(golden.lazy(), scoring=True).collect()
    assert encoded["history/item"].list.len().max() == 3
    assert set(encoded["history/item"].explode().drop_nulls()) >= {1, 2, 3, 4, 5}


def test_a_history_of_text_files_is_read_as_its_features_declare(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    group = GROUP | {"log": {"column": "price", "at_least": 2}}
    run(config(tmp_path, files=str(tmp_path / "a.csv"), features=[ITEM, group]))
    found = Prepared.open(tmp_path / "out")
    assert rows(found, "valid") == [("a", None, ["11"]), ("b", "10", ["10", "12"])]


@pytest.mark.parametrize(
    ("frame", "error", "said"),
    [
        (FRAME.drop("price"), SchemaError, r"0\.parquet lacks columns \['price'\] that dataset\.features declares"),
        (FRAME.with_columns(item=[[1]] * 10), SchemaError, r"0\.parquet: item needs an integer or string in each row"),
        (FRAME.with_columns(price=[[1.0]] * 10), SchemaError, r"0\.parquet: history/price needs a number in each row"),
        (
            FRAME.with_columns(pl.lit(1).alias("history/item")),
            SchemaError,
            "has the column 'history/item' already",
        ),
        (
            FRAME.with_columns(user=pl.lit(None, pl.String)),
            DataError,
            r"0\.parquet row 0 .* user is None; every row needs",
        ),
        (
            FRAME.with_columns(time=pl.lit(None, pl.Int64)),
            DataError,
            r"0\.parquet row 0 .* time is None; every row needs",
        ),
        (FRAME.with_columns(price=pl.lit(float("inf"))), DataError, r"row 0 .*: history: 'price' is infinite"),
        (FRAME[:2], DataError, r"valid has no rows; see dataset\.split"),
    ],
)
def test_a_log_that_cannot_be_used_is_told_and_nothing_is_left(
    tmp_path: Path, frame: pl.DataFrame, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        prepared(tmp_path, frame)
    assert [path.name for path in tmp_path.iterdir()] == ["0.parquet"]


def test_files_in_which_a_members_column_is_text_here_and_numbers_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"1\.parquet: column item holds String, but .*0\.parquet holds Int64 there"):
        prepared(tmp_path, FRAME, FRAME.cast({"item": pl.String}), features=[GROUP])


def real(name: str, folder: Path, *, needs: str, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Prepare one of the datasets that the project has settings for."""
    if not (DATA / needs).exists():
        pytest.skip(f"{DATA / needs} is missing; set CTRGATE_DATA to the folder of the real data")
    monkeypatch.setenv("CTRGATE_DATA", str(DATA.resolve()))
    monkeypatch.chdir(folder)
    if name == "beauty_next":
        assert make_beauty_events([]) == 0
    (folder / "run.yaml").write_text(f"dataset: {ROOT}/configs/datasets/{name}.yaml\nprepare: {{into: {folder}/out}}\n")
    run(load(folder / "run.yaml", Config))
    return Prepared.open(folder / "out")


@pytest.mark.parametrize(
    ("name", "needs", "longest", "num_users", "num_events", "num_items"),
    [
        ("ml_1m_next", "ml_1m/sasrec.parquet", 200, 6_040, 999_611, 3_416),
        ("beauty_next", "beauty/sequences.txt", 50, 22_363, 198_502, 12_068),
    ],
)
def test_next_item_data_has_one_row_per_user_and_split_with_what_came_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    needs: str,
    longest: int,
    num_users: int,
    num_events: int,
    num_items: int,
) -> None:
    found = real(name, tmp_path, needs=needs, monkeypatch=monkeypatch)
    items: dict[int, list[int]] = defaultdict(list)
    for user, item in pl.read_parquet(found.dataset.files[0]).select("user", "item").iter_rows():
        items[user].append(item)
    seen = {item for history in items.values() for item in history[:-2]}
    encoder = Encoder.load(found.encoder_folder)
    value = [item if item in seen else None for item in encoder.decode("item", pl.Series(range(num_items + 2)))]
    for split, back in (("train", 3), ("valid", 2), ("test", 1)):
        frame = pl.concat([pl.read_parquet(path) for path in found.files(split)])
        assert found.num_rows(split) == frame["group:user"].n_unique() == frame.height == num_users
        for user, item, history in frame.select("group:user", "item", "history/item").iter_rows():
            past, at = items[user], len(items[user]) - back
            known = [each if each in seen else None for each in past[max(0, at - longest) : at + 1]]
            assert [value[each] for each in (*history, item)] == known
    counts = encoder.tables["item"].entries["count"]  # type: ignore[union-attr]
    assert (len(counts), counts.sum()) == (num_items, num_events - 2 * num_users)


def test_movielens_histories_hold_the_films_liked_in_earlier_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = real("movielens_100k_histories", tmp_path, needs="ml_100k", monkeypatch=monkeypatch)
    raw = pl.read_csv(
        DATA / "ml_100k/u.data", separator="\t", has_header=False, new_columns=["user", "item", "rating", "time"]
    )
    frame = pl.concat([pl.read_parquet(path) for split in ("train", "valid", "test") for path in found.files(split)])
    liked = raw.filter(pl.col("rating") >= 4)
    pairs = raw.join(liked, on="user").filter(pl.col("time_right") < pl.col("time"))
    counts = pairs.group_by("user", "item").len().with_columns(pl.col("len").clip(upper_bound=50))
    key = ["user", "item"]
    wanted = raw.select(key).join(counts, on=key, how="left").with_columns(pl.col("len").fill_null(0)).sort(key)
    lengths = frame.select(
        pl.col("key:user").alias("user"), pl.col("key:item").alias("item"), "history/item", "history/rating"
    )
    lengths = lengths.sort(key)
    assert lengths["history/item"].list.len().to_list() == wanted["len"].to_list()
    assert lengths["history/rating"].list.len().to_list() == wanted["len"].to_list()
