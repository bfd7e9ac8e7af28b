"""Comparing runs, artifacts and files of predictions: on the same rows or not at all."""

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
from sklearn.metrics import log_loss, roc_auc_score

from ctrgate import compare, export, train
from ctrgate import prepare as prepare_verb
from ctrgate.config import load
from ctrgate.errors import ConfigError, DataError
from ctrgate.metrics.measured import Measured, non_inferiority

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CTRGATE_DATA") or ROOT / "../shared/data")
# Another encoder: rare items are unknown, and there is one feature less.
OTHER_ITEMS = {"kind": "vocabulary", "min_count": 60}


@pytest.fixture(scope="module")
def others(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the run ``dense``: ``second``, of the same prepared data, and ``other``, of an encoder of its own."""
    dense_run("evaluate")
    for verb in ("train", "evaluate", "export"):
        dense_run(verb, "name=second", "seed=9")
    values = yaml.safe_load(dense_run.yaml.read_text())
    features = [feature for feature in values["dataset"]["features"] if feature["name"] != "item_hash"]
    for feature in features:
        if feature["name"] == "item":
            feature["encoding"] = OTHER_ITEMS
        if feature["name"] == "history":
            feature["members"][0]["encoding"] = OTHER_ITEMS
    into = tmp_path_factory.mktemp("other") / "prepared"
    overrides = [f"dataset.features={json.dumps(features)}", f"prepare.into={into}"]
    for verb in ("prepare", "train", "export"):
        dense_run(verb, "name=other", *overrides)
    return Path(dense_run.yaml.parent / "runs")


def against(dense_run: Any, place: Path, tmp_path: Path, *overrides: str) -> dict[str, Any]:
    """What a comparison of ``dense`` with a place leaves."""
    dense_run("compare", f"compare.against={place}", f"compare.into={tmp_path / 'out'}", *overrides)
    found: dict[str, Any] = json.loads((tmp_path / "out" / "comparison.json").read_text())
    return found


def test_two_runs_are_compared_by_what_their_evaluations_left(dense_run: Any, others: Path, tmp_path: Path) -> None:
    result = against(dense_run, others / "second", tmp_path)
    a, b = (pl.read_parquet(others / name / "evaluation/test.parquet") for name in ("second", "dense"))
    label = a["label:click"].to_numpy()
    for name, of in (("auc", roc_auc_score), ("log_loss", log_loss)):
        expected = [of(label, 1 / (1 + np.exp(-side["logit:click"].to_numpy()))) for side in (a, b)]
        metric = result["metrics"][name]
        assert [metric[side]["value"] for side in ("a", "b")] == pytest.approx(expected)
        assert metric["difference"]["value"] == pytest.approx(expected[1] - expected[0])
    assert (result["a"]["read"], result["b"]["read"]) == ("evaluation", "evaluation")
    assert (result["a"]["name"], result["b"]["name"], result["b"]["model"]) == ("second", "dense", "final_mlp")
    assert result["rows"]["identified_by"] == ["label:click", "group:id", "key:user", "key:id"]
    assert (result["format_version"], result["num_rows"], result["users"]["count"]) == (1, 60, 60)
    # What a rule of promotion reads: a difference, back as it was, for a test of its own.
    difference = Measured.from_json(result["metrics"]["auc"]["difference"])
    assert difference.interval().low == result["metrics"]["auc"]["difference"]["low"]
    assert non_inferiority(difference, margin=0.9, larger_is_better=True).passed


def test_a_run_without_its_evaluation_is_predicted_and_says_the_same(
    dense_run: Any, others: Path, tmp_path: Path
) -> None:
    first = against(dense_run, others / "second", tmp_path)
    for change in ("gone", "of another step"):
        copy = tmp_path / change
        shutil.copytree(others / "second", copy)
        path = copy / "evaluation" / "test.json"
        if change == "gone":
            path.unlink()
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 1}))
        second = against(dense_run, copy, tmp_path)
        assert (second["a"]["read"], second["a"]["identity"]) == ("encoded rows", None)
        assert second["metrics"] == first["metrics"]


def test_an_artifact_says_what_its_run_says(dense_run: Any, others: Path, tmp_path: Path) -> None:
    of_run = against(dense_run, others / "second", tmp_path)
    of_artifact = against(dense_run, others / "second" / "artifact", tmp_path)
    assert (of_artifact["a"]["kind"], of_artifact["a"]["read"]) == ("artifact", "encoded rows")
    assert of_artifact["a"]["name"] == "second"
    assert len(of_artifact["a"]["identity"]) == 64
    for name in ("auc", "log_loss"):
        value = of_run["metrics"][name]["difference"]["value"]
        assert of_artifact["metrics"][name]["difference"]["value"] == pytest.approx(value, abs=1e-5)


def test_an_artifact_of_another_encoder_scores_the_raw_rows_as_its_run_does_the_encoded_ones(
    dense_run: Any, others: Path, tmp_path: Path
) -> None:
    of_run = against(dense_run, others / "other", tmp_path)
    of_artifact = against(dense_run, others / "other" / "artifact", tmp_path)
    assert (of_run["a"]["read"], of_artifact["a"]["read"]) == ("encoded rows", "raw rows")
    for name in ("auc", "log_loss", "calibration_ratio"):
        value = of_run["metrics"][name]["a"]["value"]
        assert of_artifact["metrics"][name]["a"]["value"] == pytest.approx(value, abs=1e-5)


def test_predictions_in_a_file_are_taken_with_keys_called_either_way(
    dense_run: Any, others: Path, tmp_path: Path
) -> None:
    first = against(dense_run, others / "second", tmp_path)
    rows = pl.read_parquet(others / "second/evaluation/test.parquet")
    named = rows.select(user="key:user", id=pl.col("key:id").cast(pl.Int32), logit="logit:click")
    named.write_parquet(tmp_path / "scores.parquet")
    second = against(dense_run, tmp_path / "scores.parquet", tmp_path)
    assert second["metrics"] == first["metrics"]
    assert (second["a"]["name"], second["a"]["read"], second["a"]["model"]) == ("scores", "file", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[::-1], r"row \d+ \(counted from 0\) has (label:click|key:user|key:id|group:id)"),
        (lambda rows: rows.with_columns(pl.col("key:id") + (pl.int_range(60) == 41)), "row 41 .* has key:id"),
        (lambda rows: rows[:50], "has 50 rows, test of .* 60; write predictions of the same rows"),
        (lambda rows: rows.select("logit:click"), "nothing shows that its rows are the same"),
        (lambda rows: rows.drop("logit:click"), "neither logit:click nor logit"),
        (lambda rows: rows.with_columns(pl.lit(float("nan")).alias("logit:click")), "says nan of row 0"),
    ],
)
def test_predictions_of_other_rows_are_refused(
    dense_run: Any, others: Path, tmp_path: Path, change: Any, message: str
) -> None:
    rows = pl.read_parquet(others / "second/evaluation/test.parquet")
    change(rows).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match=message):
        against(dense_run, tmp_path / "p.parquet", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_rows_is_refused_with_the_way_out(dense_run: Any, others: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(others / "second", copy)
    rows = pl.read_parquet(copy / "evaluation/test.parquet")
    rows.with_columns((1 - pl.col("label:click")).alias("label:click")).write_parquet(copy / "evaluation/test.parquet")
    with pytest.raises(DataError, match=r"row 0 .* has label:click .* export it and compare the artifact"):
        against(dense_run, copy, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["compare.against=nowhere"], "compare.against: nowhere does not exist; name the folder of a run"),
        (["compare.against={runs}"], "holds neither a run nor an artifact"),
        (["compare.against={runs}/dense"], "is the candidate itself"),
        (["compare.against={runs}/second", "compare.label=buy"], "compare.label: buy is none of the labels click"),
        (["compare.against={runs}/second", "name=none"], "holds no run; run ctrgate train"),
        (["compare.against={runs}/second", "compare.candidate=x"], "compare.candidate: x does not exist"),
    ],
)
def test_what_cannot_be_compared_is_told(dense_run: Any, others: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dense_run("compare", *(override.format(runs=others) for override in overrides))


def test_the_candidate_may_be_any_of_them_and_the_difference_turns_with_the_sides(
    dense_run: Any, others: Path, tmp_path: Path
) -> None:
    one = against(dense_run, others / "second", tmp_path)
    turned = against(dense_run, others / "dense", tmp_path, f"compare.candidate={others / 'second' / 'artifact'}")
    apart = (result["metrics"]["auc"]["difference"]["value"] for result in (one, turned))
    assert next(apart) == pytest.approx(-next(apart), abs=1e-12)
    assert turned["b"]["kind"] == "artifact"


def test_the_page_stands_alone_and_says_the_sentence(dense_run: Any, others: Path, tmp_path: Path) -> None:
    result = against(dense_run, others / "second", tmp_path)
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert result["sentence"] in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "dense against second" in text
    for title in ("Differences", "Calibration", "Segments", "By unknown ids", "How it was compared"):
        assert title in text


def test_by_default_the_result_lies_with_the_run(dense_run: Any, others: Path) -> None:
    told = dense_run("compare", f"compare.against={others / 'second'}", "compare.split=valid", "compare.resamples=0")
    assert told["comparison"] == str(others / "dense/comparisons/second-valid/comparison.json")
    result = json.loads(Path(told["comparison"]).read_text())
    assert result["metrics"]["auc"]["bootstrap"] is None
    assert told["sentence"] == result["sentence"]
    assert told["metrics"]["auc"]["verdict"] == result["metrics"]["auc"]["verdict"]


def test_rows_without_a_label_or_a_weight_are_left_out_and_without_users_rows_are_independent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "item": rng.integers(5, size=400),
            "click": pl.Series(rng.integers(2, size=400)).scatter(range(320, 330), None),
            "weight": np.where(np.arange(400) < 370, 2.0, 0.0),
        }
    )
    rows.write_parquet(tmp_path / "raw.parquet")
    values = {
        "name": "small",
        "runs": str(tmp_path / "runs"),
        "dataset": {
            "name": "d",
            "files": str(tmp_path / "raw.parquet"),
            "split": {"by": "order", "valid": 0.2, "test": 0.2},
            "labels": [{"name": "click", "allow_missing": True}],
            "roles": {"weight": "weight"},
            "features": [{"kind": "categorical", "name": "item"}],
        },
        "prepare": {"into": str(tmp_path / "prepared")},
        "tables": {"dim": 4},
        "model": {"name": "logistic_regression"},
        "train": {"batch_size": 100, "epochs": 1},
        "tracking": {"enabled": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    for verb in (prepare_verb, train, export):
        verb.run(load(tmp_path / "run.yaml", verb.Config))
    train.run(load(tmp_path / "run.yaml", train.Config, ["name=second", "seed=4"]))
    told = compare.run(load(tmp_path / "run.yaml", compare.Config, [f"compare.against={tmp_path / 'runs/second'}"]))
    result = json.loads(Path(told["comparison"]).read_text())
    assert result["num_rows"] == 40  # of 80 test rows, 10 have no label and 30 no weight
    assert (result["users"], result["metrics"]["gauc"], result["metrics"]["auc"]["bootstrap"]) == (None, None, None)
    assert "Rows are taken for independent" in result["sentence"]


def test_movielens_users_make_the_interval_wider_and_both_models_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (DATA / "ml_100k").exists():
        pytest.skip(f"{DATA / 'ml_100k'} is missing; set CTRGATE_DATA to the folder of the real data")
    monkeypatch.setenv("CTRGATE_DATA", str(DATA.resolve()))
    monkeypatch.chdir(tmp_path)
    run_file = ROOT / "configs/experiments/movielens_100k_final_mlp.yaml"
    shared = ["train.epochs=1", "tracking.enabled=false"]
    prepare_verb.run(load(run_file, prepare_verb.Config))
    train.run(load(run_file, train.Config, [*shared, "name=items", "model={name: logistic_regression}"]))
    worse = [*shared, "name=noise", "model={name: logistic_regression}", "train.learning_rate=1e-9"]
    train.run(load(run_file, train.Config, [*worse, "tables.rule.learning_rate=1e-9"]))
    told = compare.run(load(run_file, compare.Config, ["name=items", "compare.against=runs/noise"]))
    result = json.loads(Path(told["comparison"]).read_text())
    auc = result["metrics"]["auc"]
    assert told["sentence"].startswith("B is better by 0.")
    assert auc["verdict"] == "better"
    assert auc["difference"]["standard_error"] > 1.5 * auc["independent_rows"]["standard_error"]
    assert auc["bootstrap"]["standard_error"] == pytest.approx(auc["difference"]["standard_error"], rel=0.3)
    lines = {line["value"]: line for line in result["segments"]["segments"]["user's rows in train"]["lines"]}
    assert sum(line["num_rows"] for line in lines.values()) == result["num_rows"] == 10_000
    assert lines["0"]["num_users"] == 97  # most users of the last tenth are new
    assert lines["1 to 4"]["small"]
    shares = {line["value"] for line in result["segments"]["segments"]["unknown ids"]["lines"]}
    assert shares <= {"none", "up to 10 %", "up to 25 %", "up to 50 %", "more than 50 %"}
