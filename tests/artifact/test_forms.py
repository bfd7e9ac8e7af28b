"""The network in other forms than fp32: proven at export, used where asked, fp32 where the processor lacks them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from ctrgate.artifact import bundle, forms
from ctrgate.artifact.bundle import Artifact
from ctrgate.errors import ArtifactError, ConfigError, HeldBackError


@pytest.fixture(scope="module", params=["dense", "fused"])
def exported(request: pytest.FixtureRequest, trained_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with an artifact that is proven for bf16 as well."""
    run = trained_run(request.param)
    into = tmp_path_factory.mktemp("forms") / "artifact"
    run("export", "export.forms=[bf16]", f"export.into={into}")
    return replace(run, artifact=into)


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has all that forms need."""
    monkeypatch.setattr(bundle, "cpu_flags", lambda: frozenset({"avx512_bf16", "fpu"}))


@pytest.mark.usefixtures("able")
def test_bf16_computes_the_networks_products_in_bfloat16_and_nothing_else(exported: Any) -> None:
    exact, formed = Artifact.load(exported.artifact), Artifact.load(exported.artifact, form="bf16")
    assert (exact.form, formed.form) == ("fp32", "bf16")
    rows = exported.rows.drop("click", "buy")
    batch = bundle.encode(rows, encoder=exact.encoder, layout=exact.layout)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = exact.network(exact.lookup(batch)).logits.float().numpy()
    np.testing.assert_array_equal(formed.logits_of(batch), expected)
    apart = np.abs(formed.logits_of(batch) - exact.logits_of(batch))
    assert 0 < apart.max() < 0.1


def test_the_manifest_keeps_the_parity_and_the_needs_of_each_form(exported: Any) -> None:
    artifact = Artifact.load(exported.artifact)
    exact, rounded = (artifact.manifest.forms[form] for form in ("fp32", "bf16"))
    assert (exact.cpu_flags, rounded.cpu_flags) == ((), ("avx512_bf16",))
    assert exact.largest <= exact.tolerance == 1e-5 < rounded.largest <= rounded.tolerance < 1
    assert rounded.golden == pytest.approx(replace(artifact, form="bf16").golden_difference(), abs=1e-6)


def test_a_processor_that_lacks_a_flag_computes_fp32_and_says_so(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(bundle, "warned_of", told.append)
    monkeypatch.setattr(bundle, "cpu_flags", lambda: frozenset({"avx2"}))
    artifact = Artifact.load(exported.artifact, form="bf16")
    assert artifact.form == "fp32"
    assert told == [f"{exported.artifact}: bf16 needs a processor with avx512_bf16; fp32 is computed instead"]


@pytest.mark.usefixtures("able")
def test_a_form_that_the_artifact_was_not_exported_for_is_refused(dense_run: Any) -> None:
    with pytest.raises(ConfigError, match=r"is proven for fp32, not for bf16; .*export\.forms=\[bf16\]"):
        Artifact.load(dense_run.artifact, form="bf16")


def test_a_form_beyond_its_tolerance_is_held_back(dense_run: Any, tmp_path: Path) -> None:
    into = f"export.into={tmp_path / 'to/out'}"
    with pytest.raises(HeldBackError, match=r"in bf16 .*allowed is 1\.1e-05.*export\.tolerance\.bf16"):
        dense_run("export", "export.forms=[bf16]", "export.tolerance.bf16=1e-6", into)
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.usefixtures("able")
def test_golden_rows_that_a_form_scores_otherwise_here_are_told(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Artifact._answers

    def drifted(self: Artifact, batch: Any) -> torch.Tensor:
        return answers(self, batch) + (0.5 if self.form == "bf16" else 0.0)

    monkeypatch.setattr(Artifact, "_answers", drifted)
    Artifact.load(exported.artifact)
    with pytest.raises(ArtifactError, match=r"largest difference of a logit in bf16 is 0\.[45]"):
        Artifact.load(exported.artifact, form="bf16")


def test_flags_are_read_as_linux_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_CPU", tmp_path / "cpuinfo")
    assert forms.cpu_flags() == frozenset()
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile\nbugs\t\t: none\n\n")
    assert forms.cpu_flags() == {"fpu", "avx512_bf16", "amx_tile"}
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert forms.cpu_flags() == {"fp", "asimd", "bf16"}


def scored(run: Any, into: Path, *overrides: str) -> pl.DataFrame:
    raw = into.with_suffix(".parquet")
    run.rows.write_parquet(raw, row_group_size=200)
    score = f"score={{files: {raw}, model: {run.artifact}, into: {into}, unit_rows: 200}}"
    run("score", score, *overrides)
    return pl.read_parquet(into / "*.parquet")


@pytest.mark.parametrize("processes", [1, 2])
def test_the_job_scores_in_the_form_that_it_is_asked_for(exported: Any, tmp_path: Path, processes: int) -> None:
    if "avx512_bf16" not in forms.cpu_flags():
        pytest.skip("the processor has no avx512_bf16")
    found = scored(exported, tmp_path / "scores", "score.form=bf16", f"score.processes={processes}")
    column = "logit" if "logit" in found.columns else "logit:click"
    expected = Artifact.load(exported.artifact, form="bf16").logits(exported.rows)[:, 0]
    np.testing.assert_allclose(found[column], expected, atol=1e-2)
    exact = Artifact.load(exported.artifact).logits(exported.rows)[:, 0]
    assert np.abs(found[column].to_numpy() - exact).max() > 1e-4


@pytest.mark.usefixtures("able")
def test_scores_of_one_form_are_not_taken_for_those_of_another(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(exported, tmp_path / "scores")
    with pytest.raises(ConfigError, match=r"other settings \(form\)"):
        scored(exported, tmp_path / "scores", "score.form=bf16")
    monkeypatch.setattr(bundle, "cpu_flags", lambda: frozenset())
    scored(exported, tmp_path / "scores", "score.form=bf16")  # fp32 is computed: these are the very scores
