"""Loading an artifact: whole, unchanged, of this format, scoring as it did, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.forms import RowForm
from ctrgate.artifact.rows import store
from ctrgate.errors import ArtifactError, ConfigError, DataError, SchemaError
from ctrgate.files import checksum


@pytest.fixture
def copy(dense_run: Any, tmp_path: Path) -> Path:
    """An artifact that may be spoilt."""
    shutil.copytree(dense_run.artifact, tmp_path / "artifact")
    for path in (tmp_path / "artifact").rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    return tmp_path / "artifact"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def sign(folder: Path, *names: str) -> None:
    """Give changed parts their new hashes, as a careful forger would."""

    def change(values: dict[str, Any]) -> None:
        for name in names:
            path = folder / name
            values["parts"][name] = {"num_bytes": path.stat().st_size, "sha256": checksum(path)}

    edit(folder / "manifest.json", change)


@pytest.mark.parametrize("part", ["tables.safetensors", "network.safetensors", "network.json", "golden/rows.parquet"])
def test_a_part_that_was_changed_is_named(copy: Path, part: str) -> None:
    data = bytearray((copy / part).read_bytes())
    data[-1] ^= 1
    (copy / part).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{part} was changed after it was written"):
        Artifact.load(copy)


def test_a_part_cut_short_is_named(copy: Path) -> None:
    path = copy / "tables.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"tables\.safetensors has \d+ bytes, the manifest says \d+"):
        Artifact.load(copy)


def test_a_missing_part_is_named(copy: Path) -> None:
    (copy / "network.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"network\.safetensors is missing"):
        Artifact.load(copy)


@pytest.mark.parametrize("name", ["nowhere", "encoder", "long" * 999])
def test_a_name_that_is_no_file_is_refused(copy: Path, name: str) -> None:
    part = {"num_bytes": 6, "sha256": "0" * 64}
    edit(copy / "manifest.json", lambda values: values["parts"].update({name: part}))
    with pytest.raises(ArtifactError, match="is missing"):
        Artifact.load(copy)


def test_dataset_settings_that_are_none_are_told_when_they_are_needed(copy: Path) -> None:
    edit(copy / "manifest.json", lambda values: values["origin"].update(dataset={"name": "small"}))
    artifact = Artifact.load(copy)
    with pytest.raises(ArtifactError, match="dataset settings are damaged"):
        _ = artifact.dataset


def test_a_file_that_the_manifest_does_not_list_is_refused(copy: Path) -> None:
    (copy / "encoder" / "vocabulary-999.parquet").write_text("")
    with pytest.raises(ArtifactError, match=r"does not list: encoder/vocabulary-999\.parquet"):
        Artifact.load(copy)


@pytest.mark.parametrize("version", [7, "1", None, 0])
def test_another_format_is_refused_with_both_versions(copy: Path, version: object) -> None:
    edit(copy / "manifest.json", lambda values: values.update(format_version=version, more="unknown"))
    with pytest.raises(ArtifactError, match=f"has format {version!r}, this version reads 3, 4, 5; export"):
        Artifact.load(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "encoder/../../secret", "link/secret", "zero\0byte"])
def test_a_path_outside_the_folder_is_refused_unread(copy: Path, name: str) -> None:
    secret = copy.parent / "secret"
    secret.write_text("secret")
    (copy / "link").symlink_to(copy.parent)
    part = {"num_bytes": 6, "sha256": checksum(secret)}
    edit(copy / "manifest.json", lambda values: values["parts"].update({name: part}))
    with pytest.raises(ArtifactError, match="is no place inside the artifact"):
        Artifact.load(copy)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format_version": 3}', "[" * 100_000, '{"format_version": 3, "more": 2}']
)
def test_a_damaged_manifest_is_told(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        Artifact.load(copy)


def test_no_artifact_asks_for_export(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no artifact .*; run ctrgate export first"):
        Artifact.load(tmp_path / "none")


def test_golden_rows_that_disagree_are_told_with_the_largest_difference(copy: Path) -> None:
    path = copy / "golden/logits.safetensors"
    logits = load_file(path)["logits"].clone()
    logits[5] += 0.25
    save_file({"logits": logits}, path)
    sign(copy, "golden/logits.safetensors")
    with pytest.raises(ArtifactError, match=r"largest difference of a logit in fp32 is 0\.25, allowed is 1e-05"):
        Artifact.load(copy)
    assert Artifact.load(copy, replay=False).golden_difference() == pytest.approx(0.25, abs=1e-4)


def test_rows_of_another_width_are_refused(copy: Path) -> None:
    path = copy / "tables.safetensors"
    tables = {name: rows.clone() for name, rows in load_file(path).items()}
    tables["user"] = tables["user"][:, :5].contiguous()
    save_file(tables, path)
    sign(copy, "tables.safetensors")
    with pytest.raises(ArtifactError, match=r"tables\.safetensors: user should be float32 \d+ x 6, is float32 \d+ x 5"):
        Artifact.load(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values["layout"]["tables"].update(user=3), "other encoded columns than the encoder gives"),
        (lambda values: values["layout"]["fields"].pop(), "other encoded columns than the encoder gives"),
        (lambda values: values["model"].update(gate_hidden=9), "no network of this version.*size mismatch"),
        (lambda values: values["model"].update(name="next_mlp"), "no network of this version.*next_mlp"),
        (lambda values: values["model"].update(gate1_context=["nobody"]), "no network of this version.*nobody"),
        (lambda values: values.pop("tables"), "no network of this version.*tables"),
    ],
)
def test_settings_that_do_not_fit_the_other_parts_are_refused(
    copy: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    edit(copy / "network.json", change)
    sign(copy, "network.json")
    with pytest.raises(ArtifactError, match=f"(?s){says}"):
        Artifact.load(copy)


def test_an_encoder_of_another_run_is_refused(copy: Path) -> None:
    edit(copy / "manifest.json", lambda values: values.update(encoder="0" * 64))
    with pytest.raises(ArtifactError, match="is not the encoder that the manifest names"):
        Artifact.load(copy)


def test_raw_rows_in_logits_out(trained_run: Any) -> None:
    run = trained_run("fused")
    artifact = Artifact.load(run.artifact)
    rows = run.rows.drop("click", "buy")
    logits = artifact.logits(rows)
    assert logits.shape == (600, 2)
    np.testing.assert_allclose(artifact.logits(rows.lazy().slice(7, 1)), logits[7:8], atol=1e-6)
    assert artifact.logits(rows[:0]).shape == (0, 2)
    with pytest.raises(SchemaError, match=r"lacks columns \['price'\]"):
        artifact.logits(rows.drop("price"))
    with pytest.raises(DataError, match=r"row 1 .*'seen' and 'ago' differ in length"):
        second = pl.int_range(pl.len()) == 1
        artifact.logits(rows.with_columns(ago=pl.when(second).then(pl.lit([0.5] * 9)).otherwise("ago")))


def test_loading_leaves_the_callers_randomness_alone(dense_run: Any) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Artifact.load(dense_run.artifact)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_tables_stay_in_their_file(tmp_path: Path, form: RowForm) -> None:
    program = """
import sys
from pathlib import Path
from ctrgate.artifact.rows import look_up
from ctrgate.artifact.tensors import read_tensors
import torch

def anonymous():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0])

before = anonymous()
rows = read_tensors(Path(sys.argv[1]), {"user": (sys.argv[2], (2_000_000, 16))})["user"]
look_up(rows, torch.arange(0, 2_000_000, 1000)).sum()
print(anonymous() - before)
"""
    save_file({"user": store(torch.zeros(2_000_000, 16), form, table="user")}, tmp_path / "t.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "t.safetensors"), form], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000  # kB; a copy would take 128,000
