"""The datasets that the project has settings for, prepared from their real files."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from ctrgate.config import load
from ctrgate.features.encoder import Encoder
from ctrgate.features.prepared import Prepared
from ctrgate.prepare import Config, run
from tests.preparing import encoded

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")


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
