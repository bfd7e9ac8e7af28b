"""Scored rows against those that the model was exported with: alike they pass, moved they are named."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ctrgate.artifact.bundle import Artifact
from ctrgate.errors import HeldBackError
from ctrgate.metrics.stability import psi
from ctrgate.scoring import skew
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.scoring.skew import _chance, _without_rare, check_skew, shifted_features, shifted_logits


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job warns of."""
    found: list[str] = []
    monkeypatch.setattr(skew, "warned_of", found.append)
    return found


def scored(run: Any, rows: pl.DataFrame, into: Path, *overrides: str) -> dict[str, Any]:
    into.parent.mkdir(exist_ok=True)
    rows.write_parquet(into.with_suffix(".parquet"), row_group_size=100)
    run("score", f"score={{files: {into}.parquet, into: {into}, unit_rows: 100, batch_rows: 64}}", *overrides)
    result: dict[str, Any] = json.loads((into / "_SUCCESS").read_text())
    return result


def test_rows_like_those_of_training_are_passed_over(dense_run: Any, tmp_path: Path, told: list[str]) -> None:
    scored(dense_run, dense_run.rows, tmp_path / "out", "score.on_skew=stop")
    assert told == []


def test_a_feature_that_was_lost_is_named_with_what_became_of_it(
    dense_run: Any, tmp_path: Path, told: list[str]
) -> None:
    gone = dense_run.rows.with_columns(hour=pl.lit(None, dtype=pl.Int64), user=pl.lit(-5, dtype=pl.Int64))
    scored(dense_run, gone, tmp_path / "out")
    user = next(each for each in told if "values of user " in each)
    assert user.startswith("warning: the values of user are not distributed as in the valid rows of dense: PSI")
    assert "(unknown: 0.0% then, 100.0% now)" in user
    assert any("the values of hour are" in each and "now)" in each for each in told)
    assert not any("price" in each or "history" in each for each in told)


def test_the_warning_says_of_which_split_the_rows_are(dense_run: Any, told: list[str]) -> None:
    artifact = Artifact.load(dense_run.artifact)
    assert artifact.snapshot is not None
    of_train = dataclasses.replace(artifact, snapshot=dataclasses.replace(artifact.snapshot, split="train"))
    clicks = of_train.snapshot.logits["click"]
    moved = {"logits": {"click": [0] * 20 + list(clicks[:-20])}, "features": {}}
    check_skew(of_train, moved, earlier=None, settings=ScoreSettings(files=("a",)))
    (warning,) = told
    assert "the logits of click are not distributed as in the train rows of dense: PSI" in warning


def test_numbers_and_lengths_that_have_moved_are_named(dense_run: Any, tmp_path: Path, told: list[str]) -> None:
    moved = dense_run.rows.with_columns(pl.col("price") * 100, pl.col("seen").list.head(0), pl.col("ago").list.head(0))
    scored(dense_run, moved, tmp_path / "out")
    names = {each.split("the values of ")[1].split(" ")[0] for each in told if "the values of" in each}
    assert {"price", "history:length"} <= names
    assert not {"user", "item", "tags", "tags:length"} & names


def test_with_stop_nothing_takes_its_place_and_warn_lets_it(dense_run: Any, tmp_path: Path, told: list[str]) -> None:
    gone = dense_run.rows.with_columns(user=pl.lit(-5, dtype=pl.Int64))
    with pytest.raises(HeldBackError, match=r"(?s)the values of user are not .*score\.on_skew=warn lets it") as held:
        scored(dense_run, gone, tmp_path / "out", "score.on_skew=stop")
    assert held.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    scored(dense_run, gone, tmp_path / "out", "score.max_feature_psi=100", "score.max_psi=100", "score.on_skew=stop")
    assert (tmp_path / "out" / "_SUCCESS").is_file()
    assert told == []


def test_counts_of_all_units_add_up_to_those_of_the_rows(dense_run: Any, tmp_path: Path) -> None:
    found = scored(dense_run, dense_run.rows, tmp_path / "a")["histogram"]["features"]
    side_by_side = scored(dense_run, dense_run.rows, tmp_path / "b", "score.processes=2")["histogram"]["features"]
    assert found == side_by_side
    artifact = Artifact.load(dense_run.artifact)
    assert artifact.snapshot is not None
    encoded = artifact.encoder.transform(dense_run.rows.lazy(), scoring=True).collect()
    assert set(found) == set(artifact.snapshot.columns)
    assert {name: sum(of) for name, of in found.items() if name in ("user", "price", "tags:length")} == {
        **dict.fromkeys(("user", "price", "tags:length"), 600)
    }
    bins = artifact.snapshot.columns["user"].bins
    assert found["user"][:3] == [(encoded["user"] == row).sum() for row in bins.ids[:3]]


def test_logits_that_have_moved_are_told_against_the_models_own(dense_run: Any) -> None:
    artifact = Artifact.load(dense_run.artifact)
    assert artifact.snapshot is not None
    known = {label: list(of) for label, of in artifact.snapshot.logits.items()}
    (same,) = shifted_logits(known, known)
    assert (same.value, same.exceeds(0.01)) == (0.0, False)
    (moved,) = shifted_logits(known, {"click": [0] * 20 + known["click"][:-20]})
    assert moved.exceeds(0.25)
    assert shifted_logits(known, {"other": known["click"]}) == []
    assert shifted_features(artifact, {}) == []


@pytest.mark.parametrize(("num_rows", "limit"), [(12, 0.25), (60, 0.05), (600, 0.05), (60_000, 0.05)])
@pytest.mark.parametrize("num_bins", [2, 10, 22])
def test_rows_that_are_drawn_alike_are_hardly_ever_told(num_rows: int, limit: float, num_bins: int) -> None:
    draws = np.random.default_rng([num_rows, num_bins])
    alarms = 0
    for _ in range(400):
        shares = draws.dirichlet(np.full(num_bins, 0.5))
        then, now = (draws.multinomial(rows, shares).astype(float) for rows in (4_096, num_rows))
        p, q, _ = _without_rare(then, now)
        alarms += psi(p, q) > limit + _chance(p, q)
    assert alarms <= 8  # 2 %


def test_an_artifact_of_the_format_before_scores_as_it_did_and_compares_nothing(
    dense_run: Any, tmp_path: Path, told: list[str]
) -> None:
    shutil.copytree(dense_run.artifact, tmp_path / "artifact")
    for path in (tmp_path / "artifact").rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    (tmp_path / "artifact/snapshot.json").unlink()
    manifest = json.loads((tmp_path / "artifact/manifest.json").read_text())
    del manifest["forms"], manifest["parts"]["snapshot.json"]
    for table in manifest["tables"].values():
        del table["form"]
    (tmp_path / "artifact/manifest.json").write_text(json.dumps({**manifest, "format_version": 4}))
    gone = dense_run.rows.with_columns(user=pl.lit(-5, dtype=pl.Int64))
    model = f"score.model={tmp_path / 'artifact'}"
    found = scored(dense_run, gone, tmp_path / "out", model, "score.on_skew=stop")
    assert (told, found["histogram"]["features"]) == ([], {})
    scored(dense_run, gone, tmp_path / "new")
    old, new = (pl.read_parquet(tmp_path / name / "*.parquet")["logit"] for name in ("out", "new"))
    assert old.equals(new)
