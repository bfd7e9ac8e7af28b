"""Exporting a run: the folder appears only when it scores as the checkpoint does."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctrgate.artifact import bundle, written
from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.lookup import TableLookup
from ctrgate.contracts import Batch, Fields
from ctrgate.errors import ArtifactError, ConfigError, DataError, HeldBackError
from ctrgate.training.runs import RunFolder, restore


def test_an_artifact_holds_its_parts_and_none_of_them_can_be_written(dense_run: Any) -> None:
    manifest = json.loads((dense_run.artifact / "manifest.json").read_text())
    files = {
        path.relative_to(dense_run.artifact).as_posix() for path in dense_run.artifact.rglob("*") if path.is_file()
    }
    assert files == {"manifest.json", *manifest["parts"]}
    assert {"network.json", "network.safetensors", "tables.safetensors", "encoder/encoder.json"} < files
    modes = {stat.S_IMODE((dense_run.artifact / name).stat().st_mode) for name in files}
    assert modes == {0o444}
    assert manifest["format_version"] == 5
    assert (manifest["model"], manifest["labels"]) == ("final_mlp", ["click"])
    assert (manifest["origin"]["run"], manifest["origin"]["step"]) == ("dense", 5)
    assert manifest["origin"]["negative_sampling_rate"] == 1.0


@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_tables_are_written_at_the_width_that_networks_see(trained_run: Any, rule: str) -> None:
    tables = load_file(trained_run(rule).artifact / "tables.safetensors")
    assert {tuple(rows.shape)[1] for rows in tables.values()} == {6}  # fused kernels store 8 columns
    assert {"user", "tag", "gate1/user", "gate2/tag"} < set(tables)


def test_the_differences_are_told(dense_run: Any, tmp_path: Path) -> None:
    result = dense_run("export", f"export.into={tmp_path / 'out'}")
    assert set(result["differences"]) == {"golden", "valid"}
    assert max(result["differences"].values()) <= 1e-5
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert result["step"] == 5


def test_exporting_twice_gives_the_same_bytes(dense_run: Any, tmp_path: Path) -> None:
    results = [dense_run("export", f"export.into={tmp_path / name}") for name in ("a", "b")]
    assert results[0]["identity"] == results[1]["identity"]
    again = dense_run("export", f"export.into={tmp_path / 'a'}")
    assert again["identity"] == results[0]["identity"]


def test_golden_rows_carry_the_checkpoints_logits(dense_run: Any) -> None:
    restored = restore(RunFolder(dense_run.yaml.parent / "runs" / "dense"))
    artifact = Artifact.load(dense_run.artifact)
    batch = bundle.encode(artifact.golden, encoder=artifact.encoder, layout=restored.layout)
    with torch.no_grad():
        output, _ = restored.model(batch)
    np.testing.assert_allclose(artifact.golden_logits, output.logits.numpy(), atol=1e-6)


def test_no_golden_row_is_a_row_of_the_data(dense_run: Any) -> None:
    golden = pl.read_parquet(dense_run.artifact / "golden/rows.parquet")
    columns = ["user", "item", "hour", "age"]
    same = golden.drop_nulls(columns).join(dense_run.rows, on=columns, how="inner")
    assert golden.height == 64
    assert same.is_empty()


def test_a_run_in_bf16_is_exported_in_fp32(dense_run: Any, tmp_path: Path) -> None:
    dense_run("train", "name=bf16", "train.precision=bf16")
    result = dense_run("export", "name=bf16", f"export.into={tmp_path / 'out'}")
    assert max(result["differences"].values()) <= 1e-5


def test_an_artifact_that_scores_otherwise_is_held_back(
    dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TableLookup.forward

    def drifted(self: TableLookup, batch: Batch) -> Fields:
        fields = forward(self, batch)
        fields.rows["user"].add_(0.5)
        return fields

    monkeypatch.setattr(TableLookup, "forward", drifted)
    with pytest.raises(HeldBackError, match=r"the artifact scores otherwise than .*nothing was written") as held:
        dense_run("export", f"export.into={tmp_path / 'to/out'}")
    assert held.value.exit_code == 3
    assert list((tmp_path / "to").iterdir()) == []


def test_logits_that_are_not_finite_are_held_back(dense_run: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(dense_run.yaml.parent / "runs", runs)
    (weights,) = (runs / "dense/checkpoints").glob("step-*/network.safetensors")
    state = {
        name: value * float("nan") if value.is_floating_point() else value for name, value in load_file(weights).items()
    }
    weights.unlink()
    save_file(state, weights)
    with pytest.raises(HeldBackError, match="not finite"):
        dense_run("export", f"runs={runs}", f"export.into={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_artifact_is_left_alone(dense_run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(ConfigError, match=r"is there and holds no artifact; set export\.into"):
        dense_run("export", f"export.into={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    prepared = dense_run.yaml.with_name("prepared")
    before = sorted(path.name for path in prepared.iterdir())
    with pytest.raises(ConfigError, match="is there and holds no artifact"):
        dense_run("export", f"export.into={prepared}")
    assert sorted(path.name for path in prepared.iterdir()) == before
    with pytest.raises(
        ConfigError, match="holds prepared rows, no artifact; name the folder that ctrgate export wrote"
    ):
        Artifact.load(prepared)
    (tmp_path / "model_onnx").mkdir()
    (tmp_path / "model_onnx" / "notes.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="model_onnx is there and holds no network as ONNX"):
        dense_run("export", f"export.into={tmp_path / 'model'}", "export.onnx=true")
    assert (tmp_path / "model_onnx" / "notes.txt").exists()


def test_a_run_that_was_never_trained_is_told(dense_run: Any) -> None:
    with pytest.raises(ConfigError, match="holds no run; run ctrgate train"):
        dense_run("export", "name=nobody")


def test_an_encoder_other_than_the_prepared_ones_is_refused(dense_run: Any, tmp_path: Path) -> None:
    prepared = dense_run.yaml.with_name("prepared")
    kept = tmp_path / "encoder"
    shutil.move(prepared / "encoder", kept)
    try:
        with pytest.raises(ArtifactError, match=r"encoder\.json cannot be read"):
            dense_run("export", f"export.into={tmp_path / 'out'}")
    finally:
        shutil.move(kept, prepared / "encoder")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("message", ["Error while serializing: No space left on device (os error 28)"])
def test_a_full_disk_is_told(dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def full(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(written, "save_file", full)
    with pytest.raises(DataError, match=r"no space left on the disk of .*; nothing was written.*export\.into"):
        dense_run("export", f"export.into={tmp_path / 'to/out'}")
    assert list((tmp_path / "to").iterdir()) == []
