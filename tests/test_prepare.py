"""From raw tables to a prepared folder: what is in it, when it is made anew, and that it is whole or not there."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from ctrgate.config import load
from ctrgate.errors import ArtifactError, ConfigError, CtrgateError, DataError, SchemaError
from ctrgate.features.encoder import Encoder
from ctrgate.features.prepared import Prepared
from ctrgate.prepare import Config, run
from ctrgate.progress import console

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")
FRAME = pl.DataFrame(
    {
        "user": [1, 2, 1, 3, 2, 4, 1, 5, 2, 9],
        "price": [0.5, None, 2.0, 1.0, 4.0, 0.5, 8.0, 1.0, 2.0, 3.0],
        "time": [10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
        "click": [1, 0, 0, 1, 0, 0, 1, 0, 1, 0],
    }
)
FEATURES: list[dict[str, Any]] = [
    {"kind": "categorical", "name": "user"},
    {"kind": "numeric", "name": "price", "transform": "none", "fill": 0.0},
]


def config(folder: Path, *, dry_run: bool = False, **values: Any) -> Config:
    dataset = {
        "name": "d",
        "files": str(folder / "*.parquet"),
        "split": {"by": "order", "valid": 0.2, "test": 0.2},
        "labels": [{"name": "click"}],
        "roles": {"group": "user", "timestamp": "time", "keys": "user"},
        "features": FEATURES,
    }
    given = {"dataset": dataset | values, "prepare": {"into": str(folder / "out"), "dry_run": dry_run}}
    return TypeAdapter(Config).validate_python(given)


def written(folder: Path, *frames: pl.DataFrame) -> None:
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"{number}.parquet")


def encoded(prepared: Prepared, split: Any) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in prepared.files(split)])


def left(folder: Path) -> list[str]:
    """What lies beside the raw files, hidden names included."""
    return [path.name for path in folder.iterdir() if path.suffix not in (".parquet", ".csv")]


def test_a_prepared_folder_holds_encoded_splits_an_encoder_and_a_manifest(tmp_path: Path) -> None:
    written(tmp_path, FRAME[:7], FRAME[7:])
    result = run(config(tmp_path))
    prepared = Prepared.open(tmp_path / "out")
    assert result["rows"] == {"train": 6, "valid": 2, "test": 2}
    train = encoded(prepared, "train")
    assert train.columns == ["user", "price", "label:click", "group:user", "timestamp:time", "key:user"]
    assert train["user"].to_list() == [2, 3, 2, 4, 3, 5]  # by frequency, then by value
    assert train["price"].to_list() == [0.5, 0.0, 2.0, 1.0, 4.0, 0.5]
    assert train["label:click"].to_list() == [1, 0, 0, 1, 0, 0]
    valid, test = encoded(prepared, "valid"), encoded(prepared, "test")
    assert valid["key:user"].to_list() == [1, 5]
    assert test["timestamp:time"].to_list() == [90, 100]
    assert prepared.manifest.splits["train"].positives == {"click": 2}
    assert prepared.num_rows("test") == 2
    assert prepared.layout.labels == ("click",)
    assert prepared.layout.roles["key"] == ("key:user",)
    assert prepared.dataset == config(tmp_path).dataset
    assert Encoder.load(prepared.encoder_folder).hash == prepared.manifest.encoder == result["encoder"]


def test_the_encoder_learns_from_train_alone(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    prepared = Prepared.open(tmp_path / "out")
    assert encoded(prepared, "valid")["user"].to_list() == [2, 1]  # user 5 was first seen in valid
    assert encoded(prepared, "test")["user"].to_list() == [3, 1]
    assert prepared.layout.tables == {"user": 6}


def test_rows_keep_their_order_in_row_groups_of_one_size(tmp_path: Path) -> None:
    rows = 70_000
    frame = pl.DataFrame(
        {"user": [n % 7 for n in range(rows)], "time": range(rows), "click": [n % 2 for n in range(rows)]}
    )
    written(tmp_path, frame, frame.with_columns(pl.col("time") + rows))
    split = {"by": "order", "valid": 0.0, "test": 0.01}
    run(config(tmp_path, split=split, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert encoded(prepared, "train")["timestamp:time"].to_list() == list(range(2 * rows - 1400))
    assert encoded(prepared, "test")["timestamp:time"].to_list() == list(range(2 * rows - 1400, 2 * rows))
    groups = [pq.read_metadata(path) for path in prepared.files("train")]
    sizes = [[group.row_group(n).num_rows for n in range(group.num_row_groups)] for group in groups]
    assert sizes == [[65_536, rows - 65_536], [65_536, rows - 65_536 - 1400]]
    assert prepared.files("valid") == []
    assert prepared.num_rows("valid") == 0


def test_a_part_ends_after_sixteen_row_groups(tmp_path: Path) -> None:
    rows = 65_536 * 16 + 5
    frame = pl.DataFrame({"user": pl.repeat(1, rows, eager=True), "time": pl.int_range(rows, eager=True)})
    written(tmp_path, frame.with_columns(click=pl.lit(1)))
    run(config(tmp_path, split={"by": "order", "valid": 0.0, "test": 0.0}, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert [path.name for path in prepared.files("train")] == ["part-00000-000.parquet", "part-00000-001.parquet"]
    assert [part.num_rows for part in prepared.manifest.splits["train"].parts] == [rows - 5, 5]
    assert encoded(prepared, "train")["timestamp:time"].equals(pl.int_range(rows, eager=True).alias("timestamp:time"))


def test_extra_columns_are_no_fault(tmp_path: Path) -> None:
    written(tmp_path, FRAME, FRAME.with_columns(other=pl.lit("x")))
    assert run(config(tmp_path))["rows"] == {"train": 12, "valid": 4, "test": 4}


def test_a_missing_number_is_no_fault_whether_null_or_nan(tmp_path: Path) -> None:
    written(tmp_path, FRAME.with_columns(price=pl.lit(math.nan)))
    run(config(tmp_path))
    assert encoded(Prepared.open(tmp_path / "out"), "train")["price"].to_list() == [0.0] * 6


def test_a_dataset_without_labels_can_be_prepared(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path, labels=[]))
    assert Prepared.open(tmp_path / "out").layout.labels == ()


def test_sampled_negatives_are_counted_and_the_rate_is_recorded(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1] * 4000, "time": range(4000), "click": [1, 0, 0, 0] * 1000})
    written(tmp_path, frame)
    run(config(tmp_path, negative_sampling_rate=0.25, features=FEATURES[:1]))
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.manifest.negative_sampling_rate == 0.25
    assert prepared.manifest.splits["train"].positives == {"click": 600}
    assert prepared.num_rows("train") == encoded(prepared, "train").height == pytest.approx(600 + 450, abs=70)
    assert prepared.num_rows("test") == 800


def made_at(folder: Path) -> int:
    return (folder / "out" / "manifest.json").stat().st_mtime_ns


def test_an_up_to_date_folder_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    first = run(config(tmp_path))
    before = made_at(tmp_path)
    with console.capture() as said:
        assert run(config(tmp_path)) == first | {"up_to_date": True}
    assert made_at(tmp_path) == before
    assert "up to date" in said.get()


def test_other_rows_other_settings_or_a_damaged_part_make_it_anew(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    first = run(config(tmp_path))
    written(tmp_path, FRAME.reverse())
    second = run(config(tmp_path))
    assert second["encoder"] != first["encoder"]
    assert not run(config(tmp_path, features=FEATURES[:1]))["up_to_date"]
    part = Prepared.open(tmp_path / "out").files("valid")[0]
    part.write_bytes(part.read_bytes()[:-1])
    assert not run(config(tmp_path, features=FEATURES[:1]))["up_to_date"]
    assert Prepared.open(tmp_path / "out").num_rows("valid") == 2


def test_another_joined_table_makes_it_anew(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    joins = [{"files": str(tmp_path / "users.csv"), "on": "user"}]
    (tmp_path / "users.csv").write_text("user,city\n1,a\n")
    features = [*FEATURES, {"kind": "categorical", "name": "city"}]
    run(config(tmp_path, joins=joins, features=features))
    assert encoded(Prepared.open(tmp_path / "out"), "train")["city"].to_list() == [
        3,
        2,
        3,
        2,
        2,
        2,
    ]
    (tmp_path / "users.csv").write_text("user,city\n1,a\n2,b\n")
    assert not run(config(tmp_path, joins=joins, features=features))["up_to_date"]


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    with console.capture() as said:
        assert run(config(tmp_path, dry_run=True))["dry_run"]
    assert "would read" in said.get()
    assert "would write" in said.get()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("frame", "values", "error", "said"),
    [
        (FRAME.drop("price"), {}, SchemaError, r"1\.parquet lacks columns \['price'\] that dataset\.features declares"),
        (FRAME.drop("click"), {}, SchemaError, r"1\.parquet lacks columns \['click'\] that dataset\.labels"),
        (FRAME.with_columns(price=pl.lit("x")), {}, SchemaError, r"1\.parquet: price needs a number"),
        (FRAME.with_columns(user=pl.lit("x")), {}, SchemaError, r"1\.parquet: column user holds String"),
        (
            FRAME.with_columns(price=pl.when(pl.col("time") == 30).then(math.inf).otherwise(1.0)),
            {},
            DataError,
            r"1\.parquet, row 2 \(counted from 0\): price: 'price' is infinite",
        ),
        (FRAME.with_columns(click=pl.col("time")), {}, DataError, r"1\.parquet row 0 .*: click is 10; the label click"),
        (FRAME.with_columns(time=None), {}, SchemaError, r"1\.parquet: the timestamp reads column time"),
    ],
)
def test_a_faulty_file_is_named_and_nothing_is_left(
    tmp_path: Path, frame: pl.DataFrame, values: dict[str, Any], error: type[CtrgateError], said: str
) -> None:
    written(tmp_path, FRAME, frame)
    with pytest.raises(error, match=said):
        run(config(tmp_path, **values))
    assert left(tmp_path) == []


def test_train_without_a_positive_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME.with_columns(click=(pl.col("time") > 60).cast(pl.Int8)))
    with pytest.raises(DataError, match="train has no positive row: label click is 0 everywhere"):
        run(config(tmp_path))
    assert left(tmp_path) == []


def test_a_split_without_rows_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    split = {"by": "time", "valid_from": 1000, "test_from": 2000}
    with pytest.raises(DataError, match=r"valid has no rows; see dataset\.split"):
        run(config(tmp_path, split=split))
    written(tmp_path, FRAME.clear())
    with pytest.raises(DataError, match="train has no rows"):
        run(config(tmp_path))
    assert left(tmp_path) == []


def test_damage_in_the_middle_of_a_file_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    pl.DataFrame({"user": range(50_000), "click": [0, 1] * 25_000}).write_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", "a") as file:
        file.write("7,1,9,9,9\n")
    values = {"files": str(tmp_path / "a.csv"), "roles": {}, "features": FEATURES[:1]}
    with pytest.raises(DataError, match=r"a\.csv cannot be read: .*found more fields"):
        run(config(tmp_path, **values))
    assert left(tmp_path) == []


def test_a_parquet_file_with_broken_pages_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": pl.int_range(50_000, eager=True).shuffle(seed=1), "click": [0, 1] * 25_000})
    written(tmp_path, frame)
    path = tmp_path / "0.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"0\.parquet cannot be read: "):
        run(config(tmp_path, roles={}, features=FEATURES[:1]))
    assert left(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    before = made_at(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match=r"no space left on the disk of .*out; nothing was written"):
        run(config(tmp_path, features=FEATURES[:1]))
    assert made_at(tmp_path) == before
    assert left(tmp_path) == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_while_writing_is_told(tmp_path: Path, small_disk: Path) -> None:
    rows = pl.DataFrame({"user": pl.int_range(60_000, eager=True).shuffle(seed=1), "click": [0, 1] * 30_000})
    written(tmp_path, rows)
    given = config(tmp_path, roles={}, features=[{"kind": "numeric", "name": "user"}])
    given = TypeAdapter(Config).validate_python(
        {"dataset": given.dataset, "prepare": {"into": str(small_disk / "out")}}
    )
    with pytest.raises(DataError, match="no space left on the disk"):
        run(given)
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_is_not_there_asks_for_prepare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none does not exist; run ctrgate prepare"):
        Prepared.open(tmp_path / "none")


def test_a_folder_made_by_other_settings_is_refused(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    Prepared.open(tmp_path / "out", dataset=config(tmp_path).dataset)
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(features\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path, features=FEATURES[:1]).dataset)


def test_a_folder_made_before_a_setting_was_added_is_still_up_to_date(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    text = (tmp_path / "out" / "manifest.json").read_text() + (tmp_path / "out/encoder/encoder.json").read_text()
    assert not any(name in text for name in ("train_rows", "unknown_when_scoring", '"log"'))
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(train_rows\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path, train_rows="last").dataset)
    run(config(tmp_path, train_rows="last"))
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(train_rows\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path).dataset)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 99}, "has format 99, this is format 1"),
        ({"splits": {"train": 3}}, "manifest.json cannot be read"),
        ({"layout": {}}, "manifest.json cannot be read"),
    ],
)
def test_a_manifest_of_another_format_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=said):
        Prepared.open(tmp_path / "out")


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    Prepared.open(tmp_path / "out").files("test")[0].unlink()
    with pytest.raises(ArtifactError, match=r"part-00000-000\.parquet is missing or not as it was written"):
        Prepared.open(tmp_path / "out")


def real(name: str, folder: Path, *, needs: str, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Prepare one of the datasets that the project has settings for."""
    if not (DATA / needs).exists():
        pytest.skip(f"{DATA / needs} is missing; set CTRGATE_DATA to the folder of the real data")
    monkeypatch.setenv("CTRGATE_DATA", str(DATA))
    (folder / "run.yaml").write_text(f"dataset: {ROOT}/configs/datasets/{name}.yaml\nprepare: {{into: {folder}/out}}\n")
    run(load(folder / "run.yaml", Config))
    return Prepared.open(folder / "out")


def test_every_dataset_file_is_valid(tmp_path: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "configs/datasets").glob("*.yaml"))
    assert {"collm_ml_1m", "criteo", "frappe_x1", "movielens_100k"} <= set(names)
    for name in names:
        (tmp_path / "run.yaml").write_text(f"dataset: {ROOT}/configs/datasets/{name}.yaml\n")
        assert load(tmp_path / "run.yaml", Config).dataset.name == name


def test_frappe_has_the_published_number_of_table_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = real("frappe_x1", tmp_path, needs="frappe_x1", monkeypatch=monkeypatch)
    assert [prepared.num_rows(split) for split in ("train", "valid", "test")] == [202_027, 57_722, 28_860]
    sizes = {"city": 235, "cost": 4, "country": 82, "daytime": 9, "homework": 5, "isweekend": 4, "item": 4084}
    assert prepared.layout.tables == sizes | {"user": 956, "weather": 11, "weekday": 9}


def test_criteo_reads_thirteen_numbers_and_twenty_six_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = real("criteo", tmp_path, needs="criteo_10k", monkeypatch=monkeypatch)
    assert [prepared.num_rows(split) for split in ("train", "valid", "test")] == [8000, 1000, 1000]
    assert [field.kind for field in prepared.layout.fields] == ["number"] * 13 + ["id"] * 26
    train = encoded(prepared, "train")
    assert sum(train.null_count().row(0)) == 0
    assert train.select(pl.col("^I.*$").is_finite().all()).row(0) == (True,) * 13


def test_movielens_joins_users_and_films_and_makes_labels_of_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = real("movielens_100k", tmp_path, needs="ml_100k", monkeypatch=monkeypatch)
    splits = prepared.manifest.splits
    assert sum(split.num_rows for split in splits.values()) == 100_000
    assert sum(split.positives["liked"] for split in splits.values()) == 34_174 + 21_201  # ratings of 4 and of 5
    times = {split: encoded(prepared, split)["timestamp:timestamp"] for split in ("train", "valid", "test")}
    assert times["train"].max() < times["valid"].min() <= times["valid"].max() < times["test"].min()  # type: ignore[operator]
    first = encoded(prepared, "train").row(0, named=True)
    assert (first["key:user"], first["key:item"], first["label:liked"]) == (196, 242, 0.0)
    encoder = Encoder.load(prepared.encoder_folder)
    assert encoder.decode("genres", pl.Series(first["genres"])).to_list() == ["Comedy"]  # Kolya
    assert encoder.decode("occupation", pl.Series([first["occupation"]])).to_list() == ["writer"]


def test_collm_histories_are_items_of_the_target_table_without_the_filling_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = real("collm_ml_1m", tmp_path, needs="collm_ml_1m", monkeypatch=monkeypatch)
    assert [prepared.num_rows(split) for split in ("train", "valid", "test")] == [33_891, 10_401, 7331]
    (group,) = prepared.layout.sequences
    assert group.members[0].table == "item"
    train = encoded(prepared, "train").head(2)
    assert train[group.members[0].column].to_list() == [[], [train["item"][0]]]
