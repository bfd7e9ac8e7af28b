"""Ranking with an exported model, from raw rows to the best items of each, against a loop over the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ctrgate import evaluate, export, prepare, report, score, train
from ctrgate.artifact.bundle import Artifact, encode
from ctrgate.artifact.interface import RANKED, Interface
from ctrgate.artifact.manifest import Manifest
from ctrgate.artifact.rows import restored as restored_rows
from ctrgate.config import load
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError
from ctrgate.features.encoder import Encoder
from ctrgate.scoring.carry_out import _result
from ctrgate.training.runs import RunFolder, restore

ITEMS = [f"item {number}" for number in range(12)]


def histories(number: int, *, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    past = [random.choice(ITEMS, size=row % 6).tolist() for row in range(number)]
    target = [str(random.choice(ITEMS)) for _ in range(number)]
    return pl.DataFrame({"user": range(number), "item": target, "past": past}, schema_overrides={"past": pl.List(str)})


def run_file(folder: Path, *, encoding: dict[str, Any] | None = None, **objective: object) -> Path:
    for split, number in (("train", 90), ("valid", 30), ("test", 31)):
        histories(number, seed=number).write_parquet(folder / f"{split}.parquet")
    item = {"kind": "categorical", "encoding": encoding or {"kind": "vocabulary"}}
    settings = {
        "name": "items",
        "runs": str(folder / "runs"),
        "dataset": {
            "name": "steps",
            "splits": {split: str(folder / f"{split}.parquet") for split in ("train", "valid", "test")},
            "roles": {"group": "user", "keys": ["user"]},
            "features": [
                {**item, "name": "item", "unknown_when_scoring": True},
                {
                    "kind": "sequence",
                    "name": "history",
                    "max_length": 4,
                    "members": [{**item, "name": "item", "column": "past", "share": "item"}],
                },
            ],
        },
        "prepare": {"into": str(folder / "prepared")},
        "tables": {"dim": 4, "init_std": 0.1, "rule": {"name": "dense"}},
        "model": {"name": "sasrec", "num_layers": 1, "max_length": 4},
        "objective": {"name": "next_item", **objective},
        "train": {"batch_size": 32, "epochs": 1},
        "score": {"files": str(folder / "test.parquet"), "into": str(folder / "scores"), "top_k": 3},
        "tracking": {"enabled": False},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def all_scores(folder: Path) -> tuple[Encoder, np.ndarray[Any, Any], list[list[int]]]:
    """What the checkpoint says of every item for each test row, and the ids of each row's history."""
    restored = restore(RunFolder(folder / "runs" / "items"))
    encoder = Encoder.load(restored.prepared.encoder_folder)
    batch = next(Reader(restored.prepared.files("test"), layout=restored.layout).batches(Order(batch_size=1000)))
    ((_, table),) = restored.model.lookups.tables()
    with torch.no_grad():
        query = restored.model(batch)[0].query
    ids = batch.ids["history/item"]
    past = [part.tolist() for part in ids.values.split(ids.lengths.tolist())]
    return encoder, (query @ table.T).numpy(), past


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_the_best_items_of_raw_rows_are_the_checkpoints(tmp_path: Path, seen: str) -> None:
    path = run_file(tmp_path, seen=seen)
    for verb in (prepare, train, export):
        verb.run(load(path, verb.Config))
    result = score.run(load(path, score.Config))
    assert result["rows"] == 31 * 3
    success = json.loads((tmp_path / "scores" / "_SUCCESS").read_text())
    assert _result(tmp_path / "scores", success, seconds=2.0)["rows_per_second"] == 31 / 2  # of raw rows
    encoder, everything, past = all_scores(tmp_path)
    found = pl.read_parquet(tmp_path / "scores" / "*.parquet")
    assert found.columns == ["user", "rank", "item", "score"]
    raw = pl.read_parquet(tmp_path / "test.parquet")
    for row, user in enumerate(raw["user"]):
        of_user = found.filter(pl.col("user") == user)
        assert of_user["rank"].to_list() == [1, 2, 3]
        masked = set(past[row]) if seen == "mask" else set()
        allowed = [item for item in range(2, everything.shape[1]) if item not in masked]
        best = sorted(allowed, key=lambda item: (-everything[row, item], item))[:3]
        np.testing.assert_allclose(of_user["score"], everything[row, best], atol=1e-5)
        if past[row]:  # without a history all items score 0, and the table's order decides
            names = encoder.decode("item", pl.Series(best)).to_list()
            assert of_user["item"].to_list() == names
        if seen == "mask":
            assert not set(of_user["item"]) & set(raw["past"][row][-4:])


def test_a_dataset_with_labels_is_ranked_as_one_without(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    settings = yaml.safe_load(path.read_text())
    settings["dataset"]["labels"] = [{"name": "late", "column": "user", "at_least": 20}]
    path.write_text(yaml.safe_dump(settings))
    for verb in (prepare, train, export, score):
        verb.run(load(path, verb.Config))
    folder = tmp_path / "runs/items/artifact"
    assert Manifest.read(folder).labels == ()
    assert Interface.of(folder).outputs == RANKED
    assert pl.read_parquet(tmp_path / "scores" / "*.parquet").columns == ["user", "rank", "item", "score"]


def test_rounded_items_are_ranked_by_what_their_rows_stand_for(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    for verb in (prepare, train):
        verb.run(load(path, verb.Config, ["tables.dim=12"] if verb is train else []))
    result = export.run(load(path, export.Config, ["export.rows=int8", "export.tolerance.int8=1"]))
    score.run(load(path, score.Config))
    artifact = Artifact.load(tmp_path / "runs" / "items" / "artifact")
    assert artifact.manifest.tables["item"].form == "int8"
    table = restored_rows(load_file(tmp_path / "runs/items/artifact/tables.safetensors")["item"])[2:]
    raw = pl.read_parquet(tmp_path / "test.parquet")
    best = (torch.from_numpy(artifact.logits(raw)) @ table.T).topk(3, dim=1).values
    found = pl.read_parquet(tmp_path / "scores" / "*.parquet")["score"].to_numpy().reshape(-1, 3)
    np.testing.assert_allclose(found, best, atol=1e-5)
    parity = result["forms"]["fp32"]
    assert (parity["auc_loss"], parity["rows"]) == ({}, 30)
    assert 0 < parity["typical"] <= parity["largest"] < 0.1
    assert 0 <= parity["disagreement"] < 0.05


def test_a_row_with_fewer_candidates_gets_fewer_lines(tmp_path: Path) -> None:
    path = run_file(tmp_path, seen="mask")
    for verb in (prepare, train, export):
        verb.run(load(path, verb.Config))
    score.run(load(path, score.Config, ["score.top_k=50"]))
    _, _, past = all_scores(tmp_path)
    found = pl.read_parquet(tmp_path / "scores" / "*.parquet").group_by("user", maintain_order=True).len()
    assert found["len"].to_list() == [len(ITEMS) - len(set(ids)) for ids in past]


def test_an_artifact_holds_its_queries_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    for verb in (prepare, train, export):
        verb.run(load(path, verb.Config))
    artifact = Artifact.load(tmp_path / "runs" / "items" / "artifact")
    assert artifact.golden_logits.shape == (64, 4)
    raw = histories(5, seed=0).drop("item")
    scores, ids = artifact.best_items(encode(raw, encoder=artifact.encoder, layout=artifact.layout), count=2)
    assert scores.shape == ids.shape == (5, 2)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_hashed_items_have_no_names_and_are_refused_by_the_export(tmp_path: Path) -> None:
    path = run_file(tmp_path, encoding={"kind": "hash", "num_buckets": 8})
    for verb in (prepare, train):
        verb.run(load(path, verb.Config))
    with pytest.raises(ConfigError, match=r"item.*hash"):
        export.run(load(path, export.Config))
    assert not (tmp_path / "runs" / "items" / "artifact").exists()


def test_the_report_shows_ranks_and_what_they_rest_on(tmp_path: Path) -> None:
    path = run_file(tmp_path, seen="mask", cutoffs=[5, 1])
    for verb in (prepare, train, evaluate):
        verb.run(load(path, verb.Config))
    result = report.run(load(path, report.Config))
    page = Path(result["report"]).read_text()
    for text in ("Hit rate@5", "NDCG@1", "masked, from history/item", "By events in history", "best valid NDCG"):
        assert text in page, text
