"""Sampled negatives and what takes them back, by simulation and through a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from ctrgate.artifact.bundle import Artifact
from ctrgate.comparison import reading
from ctrgate.data.reader import Order, Reader
from ctrgate.features.sampling import logit_shifts
from ctrgate.metrics.calibration import sigmoid
from ctrgate.training.runs import RunFolder, restore
from ctrgate.training.task import logits_of

RATE = 0.1


def test_the_shift_is_the_formula_of_the_kept_share() -> None:
    q = np.linspace(0.01, 0.99, 99)
    (shift,) = logit_shifts(["click"], RATE)
    assert shift < 0, "negatives left out make clicks look frequent"
    np.testing.assert_allclose(sigmoid(np.log(q / (1 - q)) + shift), q / (q + (1 - q) / RATE), rtol=1e-12)


def test_only_the_first_label_is_what_sampling_looks_at() -> None:
    assert logit_shifts(["click", "buy"], RATE) == (np.log(RATE), 0.0)
    assert logit_shifts([], RATE) == ()
    assert logit_shifts(["click"], 1.0) == (0.0,)


def test_a_model_of_sampled_rows_predicts_the_rate_of_all_rows_once_shifted() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400_000, 2))
    truth = x @ [1.0, -0.5] - 2.5
    clicks = random.uniform(size=len(x)) < sigmoid(truth)
    kept = clicks | (random.uniform(size=len(x)) < RATE)
    half = np.arange(len(x)) < len(x) // 2
    model = LogisticRegression(C=np.inf).fit(x[half & kept], clicks[half & kept])
    logits = model.decision_function(x[~half])
    seen = clicks[~half].mean()
    error = np.sqrt(seen * (1 - seen) / (~half).sum())
    shifted = logits + logit_shifts(["click"], RATE)[0]
    assert abs(sigmoid(shifted).mean() - seen) < 4 * error
    assert sigmoid(logits).mean() > 3 * seen
    np.testing.assert_allclose(shifted, truth[~half], atol=0.15)  # not only on average


@pytest.fixture(scope="module")
def sampled(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file whose train has a tenth of the negatives, prepared, trained, evaluated and exported."""
    folder = tmp_path_factory.mktemp("sampled")
    values = yaml.safe_load(dense_run.yaml.read_text())
    values["dataset"]["negative_sampling_rate"] = RATE
    values |= {"name": "sampled", "runs": str(folder / "runs"), "prepare": {"into": str(folder / "prepared")}}
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    for verb in ("prepare", "train", "evaluate", "export"):
        type(dense_run)(yaml=folder / "run.yaml", rows=dense_run.rows, artifact=folder)(verb)
    return folder


def test_train_alone_is_sampled(sampled: Path) -> None:
    manifest = json.loads((sampled / "prepared/manifest.json").read_text())
    assert manifest["negative_sampling_rate"] == RATE
    splits = manifest["splits"]
    assert splits["train"]["num_rows"] < 480 * 0.7
    assert (splits["valid"]["num_rows"], splits["test"]["num_rows"]) == (60, 60)


def test_every_place_that_speaks_of_logits_is_corrected(sampled: Path) -> None:
    folder = RunFolder(sampled / "runs/sampled")
    restored = restore(folder)
    files = restored.prepared.files("valid")
    batches = Reader(files, layout=restored.layout).batches(Order(batch_size=100))
    (raw,) = (logits for _, logits in logits_of(restored.model, batches, num_rows=60, title="valid"))
    expected = raw[:, 0] + np.log(RATE)

    evaluated = pl.read_parquet(folder.path / "evaluation/valid.parquet")["logit:click"].to_numpy()
    np.testing.assert_allclose(evaluated, expected, atol=1e-6)
    result = json.loads((folder.path / "evaluation/valid.json").read_text())
    assert result["logit_shifts"] == [np.log(RATE)]
    assert result["calibration_ratio"] == pytest.approx(sigmoid(expected).sum() / result["num_positives"], rel=1e-6)
    assert result["log_loss"] == pytest.approx(folder.metrics()[0]["valid/log_loss"], rel=1e-6)

    artifact = Artifact.load(folder.path / "artifact")
    assert artifact.manifest.logit_shifts == (np.log(RATE),)
    (batch,) = Reader(files, layout=artifact.layout).batches(Order(batch_size=100))
    np.testing.assert_allclose(artifact.logits_of(batch)[:, 0], expected, atol=1e-5)


def test_an_evaluation_from_before_the_correction_is_not_compared(
    sampled: Path, dense_run: Any, tmp_path: Path
) -> None:
    run = type(dense_run)(yaml=sampled / "run.yaml", rows=dense_run.rows, artifact=sampled)
    place = sampled / "runs/sampled"
    arguments = (f"compare.against={place / 'artifact'}", f"compare.into={tmp_path}", "compare.split=valid")

    def read() -> tuple[str, float]:
        run("compare", *arguments)
        found = json.loads((tmp_path / "comparison.json").read_text())
        difference = found["metrics"]["calibration_ratio"]["difference"]["value"]
        return found["b"]["read"], difference

    assert read() == ("evaluation", pytest.approx(0, abs=1e-5))
    path = place / "evaluation/valid.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in values.items() if name != "logit_shifts"}))
    assert read() == ("encoded rows", pytest.approx(0, abs=1e-5))
    path.write_text(json.dumps(values))
    assert reading._evaluated_step(path.with_suffix(".parquet"), corrected=True) == values["step"]
