"""The network as a library: it answers as the network does, and is opened only for an artifact that is trusted."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from ctrgate.artifact import bundle, compiled, forms
from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.compiled import Compiled, open_compiled
from ctrgate.contracts import Fields
from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.exporting import proof
from ctrgate.files import checksum

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture(scope="module")
def exported(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A run with an artifact of one compiled form, whose library is a stand-in, and its identity as export tells it."""
    into = tmp_path_factory.mktemp("stand-in") / "artifact"

    def stand_in(*_: Any, into: Path, **__: Any) -> None:
        into.parent.mkdir()
        into.write_bytes(b"library")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "compile_network", stand_in)
        patch.setattr(proof, "open_compiled", lambda *_, **__: _network(Artifact.load(dense_run.artifact)))
        result = dense_run("export", "export.forms=[compiled]", f"export.into={into}")
    return replace(dense_run, artifact=into), result["identity"]


def _network(artifact: Artifact) -> Compiled:
    def answers(fields: Fields) -> torch.Tensor:
        logits: torch.Tensor = artifact.network(fields).logits
        return logits

    return answers


@pytest.fixture(scope="module")
def really_compiled(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A run with an artifact in both compiled forms, and its identity as export tells it."""
    into = tmp_path_factory.mktemp("compiled") / "artifact"
    result = dense_run("export", "export.forms=[compiled,compiled_bf16]", f"export.into={into}")
    return replace(dense_run, artifact=into), result["identity"]


def test_the_manifest_lists_the_library_and_what_it_needs(exported: tuple[Any, str]) -> None:
    run, _ = exported
    manifest = Artifact.load(run.artifact).manifest
    assert "compiled/compiled.pt2" in manifest.parts
    parity = manifest.forms["compiled"]
    assert parity.torch == torch.__version__
    assert set(parity.cpu_flags) <= forms.cpu_flags()
    assert parity.largest <= parity.tolerance


def test_the_library_of_the_trusted_artifact_is_opened_with_the_hash_of_its_manifest(
    exported: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, identity = exported
    opened = []

    def seen(path: Path, *, sha256: str) -> Compiled:
        opened.append((path.name, sha256))
        return _network(Artifact.load(run.artifact))

    monkeypatch.setattr(bundle, "open_compiled", seen)
    artifact = Artifact.load(run.artifact, form="compiled", trusted=identity)
    assert opened == [("compiled.pt2", checksum(run.artifact / "compiled/compiled.pt2"))]
    assert artifact.form == "compiled"
    assert artifact.library is not None


@pytest.mark.parametrize("trusted", ["", "0" * 64])
def test_without_trust_nothing_is_opened(
    exported: tuple[Any, str], trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, identity = exported
    monkeypatch.setattr(bundle, "open_compiled", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ConfigError, match=rf"is code, which runs only for the artifact that is trusted.*{identity}"):
        Artifact.load(run.artifact, form="compiled", trusted=trusted)
    assert Artifact.load(run.artifact).library is None  # other forms never touch it


def test_another_library_under_a_forged_manifest_is_not_opened(
    exported: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, identity = exported
    shutil.copytree(run.artifact, tmp_path / "artifact")
    for path in (tmp_path / "artifact").rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    part, manifest = tmp_path / "artifact/compiled/compiled.pt2", tmp_path / "artifact/manifest.json"
    part.write_bytes(part.read_bytes() + b"more")
    values = json.loads(manifest.read_text())
    values["parts"]["compiled/compiled.pt2"] = {"num_bytes": part.stat().st_size, "sha256": checksum(part)}
    manifest.write_text(json.dumps(values))
    monkeypatch.setattr(bundle, "open_compiled", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ConfigError, match="runs only for the artifact that is trusted"):
        Artifact.load(tmp_path / "artifact", form="compiled", trusted=identity)


def test_a_library_that_is_changed_after_the_check_is_not_opened(exported: tuple[Any, str], tmp_path: Path) -> None:
    run, _ = exported
    known = checksum(run.artifact / "compiled/compiled.pt2")
    path = Path(shutil.copy(run.artifact / "compiled/compiled.pt2", tmp_path / "library.pt2"))
    os.chmod(path, 0o644)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ArtifactError, match=r"library\.pt2 was changed after it was written"):
        open_compiled(path, sha256=known)


def test_a_library_that_knows_one_number_of_rows_only_is_told(
    exported: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = exported
    path = run.artifact / "compiled/compiled.pt2"
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _: lambda *_: torch.zeros(6, 1))
    answers = open_compiled(path, sha256=checksum(path))
    assert answers(Fields(rows={}, numbers=torch.zeros(6, 0))).shape == (6, 1)
    with pytest.raises(ArtifactError, match=r"compiled\.pt2 answers 6 rows where 1 were asked"):
        answers(Fields(rows={}, numbers=torch.zeros(1, 0)))


def test_what_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / "library.pt2").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"library\.pt2 cannot be opened here"):
        open_compiled(tmp_path / "library.pt2", sha256=checksum(tmp_path / "library.pt2"))


@pytest.mark.parametrize(
    ("place", "name", "value", "says"),
    [
        (bundle, "cpu_flags", frozenset, "a processor with "),
        (torch, "__version__", "2.99.0", "torch 2.13"),
    ],
)
def test_on_another_machine_fp32_is_computed_with_a_warning(
    exported: tuple[Any, str], monkeypatch: pytest.MonkeyPatch, place: Any, name: str, value: Any, says: str
) -> None:
    run, identity = exported
    told: list[str] = []
    monkeypatch.setattr(bundle, "warned_of", told.append)
    monkeypatch.setattr(place, name, value)
    artifact = Artifact.load(run.artifact, form="compiled", trusted=identity)
    assert (artifact.form, artifact.library) == ("fp32", None)
    (warning,) = told
    assert f"compiled needs {says}" in warning
    assert warning.endswith("fp32 is computed instead")


def test_without_a_compiler_export_says_so(dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"export\.forms: compiling needs the C\+\+ compiler"):
        dense_run("export", "export.forms=[compiled]", f"export.into={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@NEEDS_COMPILER
def test_it_answers_as_the_network_does_for_any_number_of_rows(really_compiled: tuple[Any, str]) -> None:
    run, identity = really_compiled
    exact = Artifact.load(run.artifact)
    formed = Artifact.load(run.artifact, form="compiled", trusted=identity)
    assert formed.library is not None
    for num_rows in (1, 2, 7, 600):
        rows = run.rows[:num_rows].drop("click", "buy")
        np.testing.assert_allclose(formed.logits(rows), exact.logits(rows), atol=1e-5, rtol=1e-5)
    assert formed.logits(run.rows[:0]).shape == (0, 1)
    rounded = Artifact.load(run.artifact, form="compiled_bf16", trusted=identity)
    apart = np.abs(rounded.logits(run.rows) - exact.logits(run.rows))
    assert 1e-5 < apart.max() < 0.1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.slow
@NEEDS_COMPILER
def test_the_job_scores_with_the_library_of_the_model_that_is_trusted(
    really_compiled: tuple[Any, str], tmp_path: Path, processes: int
) -> None:
    run, identity = really_compiled
    run.rows.write_parquet(tmp_path / "raw.parquet", row_group_size=200)
    places = f"files: {tmp_path}/raw.parquet, model: {run.artifact}, into: {tmp_path / 'out'}, unit_rows: 200"
    order = f"score={{{places}, form: compiled, processes: {processes}"
    with pytest.raises(ConfigError, match=f"is {identity}, trusted is none"):
        run("score", f"{order}}}")
    assert not (tmp_path / "out").exists()
    run("score", f"{order}, trusted: {identity}}}")
    found = pl.read_parquet(tmp_path / "out" / "*.parquet")["logit"]
    np.testing.assert_allclose(found, Artifact.load(run.artifact).logits(run.rows)[:, 0], atol=1e-5, rtol=1e-5)
