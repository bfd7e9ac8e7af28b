"""Scoring raw rows with an exported model: the checkpoint's logits row by row, and nothing half-written."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate import export, prepare, score, train
from ctrgate.config import load
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError
from ctrgate.files import checksum
from ctrgate.training.runs import RunFolder, restore
from ctrgate.training.task import logits_of

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")


def all_verbs(path: Path) -> None:
    """Prepare, train and export."""
    for verb in (prepare, train, export):
        verb.run(load(path, verb.Config))


def checkpoint_logits(runs: Path, name: str) -> np.ndarray[Any, Any]:
    """What the trained model says of the encoded test rows."""
    restored = restore(RunFolder(runs / name))
    reader = Reader(restored.prepared.files("test"), layout=restored.layout)
    batches = reader.batches(Order(batch_size=1000))
    return np.concatenate(
        [part for _, part in logits_of(restored.model, batches, num_rows=reader.num_rows, title="test")]
    )


def scores(into: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(into.glob("part-*.parquet"))])


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_the_scores_of_raw_rows_are_the_checkpoints_row_by_row(trained_run: Any, rule: str, tmp_path: Path) -> None:
    run = trained_run(rule)
    raw = run.yaml.with_name("raw.parquet")
    result = run("score", f"score.files={raw}", f"score.into={tmp_path / 'out'}", "score.batch_rows=64")
    assert (result["rows"], result["files"], result["into"]) == (600, 1, str(tmp_path / "out"))
    found = scores(tmp_path / "out")
    labels = ["logit"] if rule == "dense" else ["logit:click", "logit:buy"]
    expected = checkpoint_logits(run.yaml.parent / "runs", rule)
    assert expected.shape == (60, len(labels))
    np.testing.assert_allclose(found[540:].select(labels).to_numpy(), expected, atol=1e-5, rtol=0)
    for label in labels:
        probability = 1 / (1 + (-found[label].cast(pl.Float64)).exp())
        np.testing.assert_allclose(found[label.replace("logit", "score")], probability, rtol=1e-12)


def test_keys_come_out_as_they_came_in_and_rows_keep_their_order(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    dense_run("score", f"score.files={raw}", f"score.into={tmp_path / 'out'}", "score.batch_rows=7")
    found = scores(tmp_path / "out")
    assert found.columns == ["user", "id", "score", "logit"]
    assert found.select("user", "id").equals(dense_run.rows.select("user", "id"))


def test_without_keys_a_row_is_known_by_its_file_and_number(trained_run: Any, tmp_path: Path) -> None:
    run = trained_run("fused")
    run.rows[:5].write_parquet(tmp_path / "a.parquet")
    run.rows[5:8].write_parquet(tmp_path / "b.parquet")
    run("score", f"score.files={tmp_path}/*.parquet", f"score.into={tmp_path / 'out'}")
    found = scores(tmp_path / "out")
    assert found.columns == ["file", "row", "score:click", "logit:click", "score:buy", "logit:buy"]
    assert found["file"].to_list() == [str(tmp_path / "a.parquet")] * 5 + [str(tmp_path / "b.parquet")] * 3
    assert found["row"].to_list() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_any_cut_into_files_and_batches_gives_the_same_scores(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    dense_run("score", f"score.files={raw}", f"score.into={tmp_path / 'whole'}")
    cuts = [0, 1, 98, 98, 600]
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        dense_run.rows[start:stop].write_parquet(tmp_path / f"{number}.parquet", row_group_size=50)
    dense_run("score", f"score.files={tmp_path}/*.parquet", f"score.into={tmp_path / 'cut'}", "score.batch_rows=33")
    whole, cut = scores(tmp_path / "whole"), scores(tmp_path / "cut")
    assert whole.select("user", "id").equals(cut.select("user", "id"))
    np.testing.assert_allclose(cut["logit"], whole["logit"], atol=1e-6)
    parts = sorted(path.name for path in (tmp_path / "cut").glob("part-*"))
    assert parts == [f"part-0000{n}-00000-{n}.parquet" for n in range(4)]
    assert pl.read_parquet(tmp_path / "cut" / parts[2]).schema == cut.schema  # a file without rows has a part as well


def test_success_tells_rows_files_model_and_encoder(dense_run: Any, tmp_path: Path) -> None:
    dense_run.rows[:9].write_parquet(tmp_path / "a.parquet")
    result = dense_run("score", f"score.files={tmp_path / 'a.parquet'}", f"score.into={tmp_path / 'out'}")
    success = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    manifest = json.loads((dense_run.artifact / "manifest.json").read_text())
    assert success["rows"] == 9
    ((file, part),) = [(file, part) for file in success["files"] for part in file["parts"]]
    path = tmp_path / "out" / "part-00000-00000-a.parquet"
    assert (file["path"], file["rows"], file["sha256"]) == (
        str(tmp_path / "a.parquet"),
        9,
        checksum(tmp_path / "a.parquet"),
    )
    assert part == {"part": path.name, "rows": 9, "num_bytes": path.stat().st_size, "sha256": checksum(path)}
    assert success["skipped"] == []
    assert sum(success["histogram"]["logits"]["click"]) == 9
    assert success["model"]["identity"] == result["model"]
    assert (success["model"]["run"], success["model"]["name"]) == ("dense", "final_mlp")
    assert success["encoder"] == manifest["encoder"]


def test_csv_rows_score_as_parquet_rows(dense_run: Any, tmp_path: Path) -> None:
    flat = [name for name, kind in dense_run.rows.schema.items() if not isinstance(kind, pl.List)]
    values = yaml.safe_load(dense_run.yaml.read_text())
    kept = [each for each in values["dataset"]["features"] if each["name"] not in ("tags", "liked", "image", "history")]
    values["dataset"]["features"], values["model"]["gate2_context"] = kept, ["price"]
    values |= {"name": "flat", "prepare": {"into": str(tmp_path / "prepared")}, "runs": str(tmp_path / "runs")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    all_verbs(tmp_path / "run.yaml")
    rows = dense_run.rows[:100].select(flat)
    rows.write_csv(tmp_path / "a.csv")
    rows.write_csv(tmp_path / "a.tsv", separator="\t")
    rows.write_parquet(tmp_path / "a.parquet")
    for ending in ("csv", "tsv", "parquet"):
        overrides = [f"score.files={tmp_path}/a.{ending}", f"score.into={tmp_path / ending}"]
        score.run(load(tmp_path / "run.yaml", score.Config, overrides))
    expected = scores(tmp_path / "parquet")
    for ending in ("csv", "tsv"):
        assert scores(tmp_path / ending)["logit"].equals(expected["logit"])


def test_a_column_known_only_afterwards_is_not_asked_for(dense_run: Any, tmp_path: Path) -> None:
    rows = dense_run.rows[540:]
    rows.drop("position", "click", "buy").write_parquet(tmp_path / "a.parquet")
    rows.with_columns(position=pl.lit(3), more=pl.lit("extra")).write_parquet(tmp_path / "b.parquet")
    dense_run("score", f"score.files={tmp_path}/*.parquet", f"score.into={tmp_path / 'out'}")
    found = scores(tmp_path / "out")["logit"].to_numpy()
    expected = checkpoint_logits(dense_run.yaml.parent / "runs", "dense")[:, 0]  # there the position is 1 everywhere
    np.testing.assert_allclose(found, np.tile(expected, 2), atol=1e-5, rtol=0)


def test_joined_columns_come_from_the_dataset_of_the_artifact(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1, 2, 3], "age": [20, 30, None]}).write_parquet(tmp_path / "users.parquet")
    rows = pl.DataFrame({"user": [1, 2, 3, 4] * 10, "click": [1, 0, 1, 0] * 10})
    for split in ("train", "test"):
        rows.write_parquet(tmp_path / f"{split}.parquet")
    values = {
        "name": "joined",
        "runs": str(tmp_path / "runs"),
        "dataset": {
            "name": "joined",
            "splits": {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")},
            "joins": [{"files": str(tmp_path / "users.parquet"), "on": "user"}],
            "labels": [{"name": "click"}],
            "features": [{"kind": "categorical", "name": "user"}, {"kind": "numeric", "name": "age"}],
        },
        "prepare": {"into": str(tmp_path / "prepared")},
        "model": {"name": "logistic_regression"},
        "train": {"epochs": 1, "batch_size": 8},
        "tracking": {"enabled": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    all_verbs(tmp_path / "run.yaml")
    del values["dataset"]
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(values))
    overrides = [f"score.files={tmp_path / 'test.parquet'}", f"score.into={tmp_path / 'out'}"]
    score.run(load(tmp_path / "serve.yaml", score.Config, overrides))
    expected = checkpoint_logits(tmp_path / "runs", "joined")
    np.testing.assert_allclose(scores(tmp_path / "out")["logit"].to_numpy(), expected[:, 0], atol=1e-5, rtol=0)


def test_a_dry_run_checks_and_writes_nothing(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    result = dense_run("score", f"score.files={raw}", f"score.into={tmp_path / 'out'}", "score.dry_run=true")
    assert result["dry_run"] is True
    assert left(tmp_path) == []


def test_scoring_imports_nothing_of_the_training_stack(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.yaml.with_name("raw.parquet")
    program = (
        "import json, sys\n"
        "from ctrgate.cli import main\n"
        f"assert main(['score', {str(dense_run.yaml)!r}, 'score.files={raw}', 'score.into={tmp_path}/out']) == 0\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line, modules = done.stdout.splitlines()
    assert json.loads(line)["rows"] == 600
    assert not {"torchrec", "fbgemm_gpu", "ray", "mlflow", "sklearn", "matplotlib"} & set(json.loads(modules))


def real_run(dataset: dict[str, Any], tmp_path: Path) -> Path:
    """Prepare, train one epoch and export."""
    values = {
        "name": "real",
        "runs": str(tmp_path / "runs"),
        "dataset": dataset,
        "prepare": {"into": str(tmp_path / "prepared")},
        "tables": {"dim": 10, "init_std": 0.1},
        "model": {"name": "final_mlp", "mlp1": {"hidden": [32]}, "mlp2": {"hidden": [16]}, "gate_hidden": 8},
        "train": {"epochs": 1, "learning_rate": 0.01, "batch_size": 2048},
        "tracking": {"enabled": False},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    all_verbs(path)
    return path


@pytest.mark.skipif(not (DATA / "frappe_x1").is_dir(), reason=f"no frappe_x1 in {DATA}; set CTRGATE_DATA")
def test_on_frappe_the_job_gives_the_checkpoints_logits(tmp_path: Path) -> None:
    dataset = yaml.safe_load((ROOT / "configs/datasets/frappe_x1.yaml").read_text())
    folder = DATA / "frappe_x1"
    pl.read_parquet(folder / "train.parquet")[:20_000].write_parquet(tmp_path / "train.parquet")
    dataset["splits"] = {"train": str(tmp_path / "train.parquet"), "test": str(folder / "test.parquet")}
    path = real_run(dataset, tmp_path)
    overrides = [f"score.files={folder / 'test.parquet'}", f"score.into={tmp_path / 'out'}"]
    score.run(load(path, score.Config, overrides))
    expected = checkpoint_logits(tmp_path / "runs", "real")
    assert len(expected) == 28_860
    np.testing.assert_allclose(scores(tmp_path / "out")["logit"].to_numpy(), expected[:, 0], atol=1e-5, rtol=0)


@pytest.mark.skipif(not (DATA / "criteo_10k").is_dir(), reason=f"no criteo_10k in {DATA}; set CTRGATE_DATA")
def test_on_criteos_rows_with_missing_values_the_job_gives_the_checkpoints_logits(tmp_path: Path) -> None:
    dataset = yaml.safe_load((ROOT / "configs/datasets/criteo.yaml").read_text())
    dataset["files"] = str(DATA / "criteo_10k/train.txt")
    path = real_run(dataset, tmp_path)
    overrides = [f"score.files={dataset['files']}", f"score.into={tmp_path / 'out'}", "score.batch_rows=999"]
    score.run(load(path, score.Config, overrides))
    expected = checkpoint_logits(tmp_path / "runs", "real")
    found = scores(tmp_path / "out")
    assert (found.height, len(expected)) == (10_000, 1_000)
    np.testing.assert_allclose(found["logit"][9_000:].to_numpy(), expected[:, 0], atol=1e-5, rtol=0)


def test_a_key_may_be_called_item_but_not_as_scores_are(dense_run: Any, tmp_path: Path) -> None:
    raw = dense_run.rows.with_columns(logit=pl.lit(1))
    raw.write_parquet(tmp_path / "raw.parquet")
    files = f"score.files={tmp_path / 'raw.parquet'}"
    dense_run("score", files, "dataset.roles.keys=[id, item]", f"score.into={tmp_path / 'out'}")
    assert scores(tmp_path / "out")["item"].to_list() == raw["item"].to_list()
    with pytest.raises(ConfigError, match="names logit, which scores are called"):
        dense_run("score", files, "dataset.roles.keys=[logit]", "score.dry_run=true")
