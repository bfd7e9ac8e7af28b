"""Artifacts of runs that searched for values: smaller tables, the same scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctrgate.artifact.bundle import Artifact, encode
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.features.encoder import Encoder
from ctrgate.training.checkpoint import Checkpoints
from ctrgate.training.loop import Fit
from ctrgate.training.runs import RunFolder, restore

SEARCH = "select={name: continuation, penalty: 0.01, epochs: 2, rewind_epoch: 0}"


@pytest.fixture(scope="module", params=["dense", "fused"])
def selected(request: pytest.FixtureRequest, trained_run: Any) -> Any:
    """A run whose gates were set by hand: of each table every other value, of ``age`` and ``words`` none."""
    run = trained_run(request.param)
    run("train", "name=selected", SEARCH)
    folder = RunFolder(run.yaml.parent / "runs" / "selected")
    tables = list(restore(folder).model.gates.by_table())
    for checkpoint in folder.checkpoints.folder.glob("step-*"):
        path = checkpoint / "gates.safetensors"
        gates = load_file(path)
        for number, table in enumerate(tables):
            logits = gates[f"gates.{number}.logits"]
            logits[:] = 1.0
            logits[2::2] = -1.0
            if table in ("age", "words"):
                logits[:] = -1.0
        path.unlink()
        save_file(gates, path)
    return run, folder


def test_the_smaller_artifact_scores_raw_rows_as_the_checkpoint_does(selected: Any, tmp_path: Path) -> None:
    run, folder = selected
    result = run("export", "name=selected", f"export.into={tmp_path / 'out'}")
    assert max(result["differences"].values()) <= 1e-5
    restored, artifact = restore(folder), Artifact.load(tmp_path / "out")
    encoder = Encoder.load(restored.prepared.encoder_folder)
    rows = run.rows.with_columns(position=pl.lit(1, dtype=pl.Int64))
    with torch.no_grad():
        output, _ = restored.model(encode(rows, encoder=encoder, layout=restored.layout))
    np.testing.assert_allclose(artifact.logits(rows), output.logits.numpy(), atol=1e-5, rtol=1e-5)


def test_rows_leave_vocabularies_and_their_extra_tables_and_whole_tables_go(selected: Any, tmp_path: Path) -> None:
    run, folder = selected
    run("export", "name=selected", f"export.into={tmp_path / 'out'}")
    before = {spec.name: spec for spec, _ in restore(folder).model.lookups.tables()}
    after = load_file(tmp_path / "out" / "tables.safetensors")
    sizes = json.loads((tmp_path / "out" / "manifest.json").read_text())["tables"]
    assert set(before) - set(after) == {"age", "words"}
    for name in ("user", "item", "tag", "gate1/user"):
        values = before[name].num_rows - 2
        assert len(after[name]) == 2 + values // 2
        assert sizes[name]["rows_saved"] == values - values // 2
        assert sizes[name]["bytes_saved"] == 4 * before[name].dim * (values - values // 2)
    assert (sizes["words"]["rows"], sizes["words"]["num_bytes"]) == (0, 0)
    assert sizes["words"]["rows_saved"] == before["words"].num_rows
    assert len(after["item_hash"]) == before["item_hash"].num_rows  # a hash has a place for every value
    assert not after["item_hash"][2::2].any()
    assert after["item_hash"][3].any()


def test_the_result_says_what_was_saved(selected: Any, tmp_path: Path) -> None:
    run, _ = selected
    result = run("export", "name=selected", f"export.into={tmp_path / 'out'}")
    sizes = json.loads((tmp_path / "out" / "manifest.json").read_text())["tables"].values()
    assert result["saved"] == {
        "rows": sum(size["rows_saved"] for size in sizes),
        "bytes": sum(size["bytes_saved"] for size in sizes),
    }
    assert result["saved"]["rows"] > 0


def test_a_factor_that_is_not_folded_into_the_rows_is_held_back(
    selected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = selected
    monkeypatch.setattr("ctrgate.exporting.trained.shrink", _forgetting_the_factor())
    with pytest.raises(HeldBackError, match="scores otherwise"):
        run("export", "name=selected", f"export.into={tmp_path / 'out'}")


def _forgetting_the_factor() -> Any:
    from ctrgate.artifact.shrink import shrink

    def wrong(*arguments: Any, factors: dict[str, torch.Tensor], **named: Any) -> Any:
        return shrink(*arguments, factors={name: (of > 0).float() for name, of in factors.items()}, **named)

    return wrong


def test_a_run_that_still_searches_is_not_exported(
    dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Fit._begin_epoch

    def stop_at_the_second(fit: Fit) -> None:
        if fit.progress.epoch == 1:
            raise KeyboardInterrupt
        begin(fit)

    with monkeypatch.context() as patched:
        patched.setattr(Fit, "_begin_epoch", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            dense_run("train", "name=searching", SEARCH)
    with pytest.raises(ConfigError, match="still searches for values; run ctrgate train again"):
        dense_run("export", "name=searching", "export.which=last", f"export.into={tmp_path / 'out'}")
    assert Checkpoints(dense_run.yaml.parent / "runs/searching/checkpoints").find("best") is None


def test_without_selection_nothing_is_left_out(dense_run: Any, tmp_path: Path) -> None:
    result = dense_run("export", f"export.into={tmp_path / 'out'}")
    assert result["saved"] == {"rows": 0, "bytes": 0}


def test_widths_that_were_selected_count_as_saved(dense_run: Any, tmp_path: Path) -> None:
    dense_run("train", "name=narrow", "tables.dims={user: 2}")
    result = dense_run("export", "name=narrow", f"export.into={tmp_path / 'out'}")
    user = json.loads((tmp_path / "out" / "manifest.json").read_text())["tables"]["user"]
    assert result["saved"] == {"rows": 0, "bytes": 4 * (6 - 2) * user["rows"]}
