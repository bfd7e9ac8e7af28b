"""A calibration in an artifact: written at export, applied to logits, and refused where it is damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.calibration import Calibration, Isotonic, Platt, log_odds
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ArtifactError, ConfigError, DataError
from ctrgate.features.prepared import Prepared
from ctrgate.files import checksum
from ctrgate.metrics.calibration import sigmoid

GRID = np.linspace(-30, 30, 601)[:, None]


def rewrite(folder: Path, change: Any, *, calibration: Any = None) -> None:
    """Change an artifact's manifest and calibration, checksums included, as one who means it would."""
    for path in folder.iterdir():
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    manifest = json.loads((folder / "manifest.json").read_text())
    if calibration is not None:
        path = folder / "calibration.json"
        path.write_text(calibration if isinstance(calibration, str) else json.dumps(calibration))
        manifest["parts"]["calibration.json"] = {"num_bytes": path.stat().st_size, "sha256": checksum(path)}
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def copy(dense_run: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dense_run.artifact, tmp_path / "copy"))


@pytest.fixture(scope="module")
def learnt(trained_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two labels that its features tell something of, exported without a calibration."""
    fused, folder = trained_run("fused"), tmp_path_factory.mktemp("learnt")
    random = np.random.default_rng(8)
    told = 2 * pl.col("price").fill_null(1.0).log()
    noise = [pl.Series(random.logistic(size=600)) for _ in range(2)]
    rows = fused.rows.with_columns(
        click=((told - 1 + noise[0]) > 0).cast(pl.Int64), buy=((noise[1] - told) > 0).cast(pl.Int64)
    )
    rows.write_parquet(folder / "raw.parquet")
    values = yaml.safe_load(fused.yaml.read_text())
    values["dataset"]["files"] = str(folder / "raw.parquet")
    values["train"] |= {"epochs": 6, "learning_rate": 0.02}
    values |= {"runs": str(folder / "runs"), "prepare": {"into": str(folder / "prepared")}}
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    run = type(fused)(yaml=folder / "run.yaml", rows=rows, artifact=folder / "runs/fused/artifact")
    for verb in ("prepare", "train", "export"):
        run(verb)
    return run


@pytest.fixture(scope="module", params=["platt", "isotonic"])
def mended(request: pytest.FixtureRequest, learnt: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That run exported with a calibration: the folder, the result, the method and the run."""
    into = tmp_path_factory.mktemp("mended") / "artifact"
    calibrate = f"export.calibrate.method={request.param}"
    return into, learnt("export", f"export.into={into}", calibrate), request.param, learnt


def test_an_export_fits_it_and_tells_what_it_does_elsewhere(mended: Any) -> None:
    into, result, method, _ = mended
    told = result["calibration"]
    assert (told["method"], told["fitted_on"], told["measured_on"]) == (method, "valid", "test")
    assert set(told["labels"]) == {"click", "buy"}
    assert set(told["labels"]["buy"]["after"]) == {"log_loss", "calibration_ratio", "ece"}
    assert "calibration.json" in json.loads((into / "manifest.json").read_text())["parts"]


def test_a_loaded_artifact_gives_rising_probabilities_that_sum_to_the_clicks_it_was_fitted_on(mended: Any) -> None:
    into, _, method, run = mended
    artifact = Artifact.load(into)
    assert artifact.calibration is not None
    assert {curve.method for curve in artifact.calibration.curves} == {method}
    p = artifact.calibrated(np.repeat(GRID, 2, axis=1))
    assert p.shape == (601, 2)
    assert np.all(np.diff(p, axis=0) >= 0)
    assert 0 <= p.min() <= p.max() <= 1
    rows, prepared = run.rows[480:540], Prepared.open(run.yaml.parent / "prepared")
    (batch,) = Reader(prepared.files("valid"), layout=artifact.layout).batches(Order(batch_size=60))
    calibrated = artifact.calibrated(artifact.logits_of(batch))
    for place, label in enumerate(("click", "buy")):
        assert calibrated[:, place].sum() == pytest.approx(rows[label].sum(), abs=1.0), label


def test_logits_are_the_same_with_and_without_it(mended: Any) -> None:
    into, _, _, run = mended
    rows = run.rows[:50]
    np.testing.assert_array_equal(Artifact.load(into).logits(rows), Artifact.load(run.artifact).logits(rows))
    assert Artifact.load(run.artifact).calibration is None


def test_exporting_with_it_twice_gives_the_same_bytes(mended: Any, tmp_path: Path) -> None:
    _, result, method, run = mended
    calibrate = f"export.calibrate.method={method}"
    assert run("export", f"export.into={tmp_path / 'again'}", calibrate)["identity"] == result["identity"]


def test_an_artifact_without_one_says_how_to_get_it(dense_run: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no calibration; export the run with export\.calibrate\.method"):
        Artifact.load(dense_run.artifact).calibrated(GRID)


def test_a_split_that_is_not_there_and_one_of_one_class_are_told(dense_run: Any, tmp_path: Path) -> None:
    rows = dense_run.rows.with_columns(click=pl.when(pl.col("id") < 540).then("click").otherwise(0))
    rows.write_parquet(tmp_path / "raw.parquet")
    settings = [f"runs={tmp_path}", f"prepare.into={tmp_path / 'p'}", f"dataset.files={tmp_path / 'raw.parquet'}"]
    for verb in ("prepare", "train"):
        dense_run(verb, *settings)
    calibrate = "export.calibrate={method: isotonic, split: test}"
    with pytest.raises(DataError, match=r"export\.calibrate: label click of test: .*found 0 with and 60 without"):
        dense_run("export", *settings, calibrate)
    assert not (tmp_path / "dense/artifact").exists()


def test_an_artifact_of_the_format_before_loads_and_scores_as_it_did(copy: Path, dense_run: Any) -> None:
    def before(manifest: dict[str, Any]) -> None:
        manifest["format_version"] = 3
        del manifest["logit_shifts"]

    rewrite(copy, before)
    artifact = Artifact.load(copy)
    assert artifact.calibration is None
    rows = dense_run.rows[:20]
    np.testing.assert_array_equal(artifact.logits(rows), Artifact.load(dense_run.artifact).logits(rows))


def test_shifts_are_added_once_and_only_as_many_as_labels(copy: Path, dense_run: Any) -> None:
    rewrite(copy, lambda manifest: manifest.update(logit_shifts=[-2.0]))
    shifted = Artifact.load(copy, replay=False)
    rows = dense_run.rows[:20]
    plain = Artifact.load(dense_run.artifact).logits(rows)
    np.testing.assert_allclose(shifted.logits(rows), plain - 2, atol=1e-6)
    with pytest.raises(ArtifactError, match="does not score its golden rows as it did"):
        Artifact.load(copy)
    rewrite(copy, lambda manifest: manifest.update(logit_shifts=[-2.0, 0.0]))
    with pytest.raises(ArtifactError, match="2 logit_shifts for 1 labels"):
        Artifact.load(copy, replay=False)


PLATT = {"method": "platt", "slope": 1.0, "intercept": 0.0}
KNOTS = {"method": "isotonic", "logits": [0.0, 1.0], "probabilities": [0.2, 0.3]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ({"format_version": 2, "split": "valid", "curves": [PLATT]}, "has format 2, this version reads 1"),
        ({"format_version": 1, "split": "valid", "curves": [PLATT, PLATT]}, "has 2 curves for 1 labels"),
        ({"format_version": 1, "split": "valid", "curves": [{**PLATT, "slope": -1.0}]}, "greater than 0"),
        ({"format_version": 1, "split": "valid", "curves": [{**KNOTS, "logits": [1.0, 1.0]}]}, "must rise"),
        ({"format_version": 1, "split": "valid", "curves": [{**KNOTS, "probabilities": [0.3, 0.2]}]}, "must not fall"),
        ({"format_version": 1, "split": "valid", "curves": [{**KNOTS, "probabilities": [0.3]}]}, "2 logits have 1"),
        ({"format_version": 1, "split": "valid", "curves": [{**KNOTS, "probabilities": [0.3, 1.0]}]}, "less than 1"),
    ],
)
def test_a_damaged_calibration_is_told(copy: Path, text: Any, message: str) -> None:
    rewrite(copy, lambda _: None, calibration=text)
    with pytest.raises(ArtifactError, match=rf"(?s)calibration\.json .*{message}.*export the run again"):
        Artifact.load(copy)


def test_a_calibration_that_was_changed_is_refused_by_its_checksum(copy: Path) -> None:
    good = {"format_version": 1, "split": "valid", "curves": [PLATT]}
    rewrite(copy, lambda _: None, calibration=good)
    assert Artifact.load(copy).calibration is not None
    path = copy / "calibration.json"
    path.write_text(path.read_text().replace("1.0", "2.0"))
    with pytest.raises(ArtifactError, match=r"calibration\.json was changed after it was written"):
        Artifact.load(copy)


def test_curves_are_written_and_read_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    knots = Isotonic(logits=tuple(np.sort(random.normal(size=9)).tolist()), probabilities=(1 / 3,) * 9)
    written = Calibration(split="valid", curves=(knots, Platt(slope=0.1, intercept=1 / 7)))
    written.write(tmp_path)
    assert Calibration.read(tmp_path, labels=["a", "b"]) == written
    p = written(np.repeat(GRID, 2, axis=1).astype(np.float32))
    np.testing.assert_allclose(p[:, 1], sigmoid(0.1 * GRID[:, 0].astype(np.float32).astype(float) + 1 / 7))
    np.testing.assert_allclose(sigmoid(log_odds(np.array([0.1, 0.9]))), [0.1, 0.9])


def test_the_scoring_job_adds_the_calibrated_probability(mended: Any, tmp_path: Path) -> None:
    folder, _, _, run = mended
    raw = run.yaml.with_name("raw.parquet")
    run("score", f"score.files={raw}", f"score.model={folder}", f"score.into={tmp_path / 'out'}")
    found = pl.read_parquet(tmp_path / "out" / "part-*.parquet")
    artifact = Artifact.load(folder)
    logits = found.select("logit:click", "logit:buy").to_numpy()
    expected = artifact.calibrated(logits)
    for place, label in enumerate(artifact.layout.labels):
        np.testing.assert_allclose(found[f"calibrated:{label}"], expected[:, place], rtol=1e-6)
        assert not np.allclose(found[f"calibrated:{label}"], found[f"score:{label}"])
