"""All metrics of one set of rows, as the JSON that evaluation writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ctrgate.errors import DataError
from ctrgate.metrics.calibration import sigmoid
from ctrgate.metrics.summary import evaluate_scores


def sample(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1, num_rows)
    return (rng.random(num_rows) < sigmoid(logits)).astype(np.float32), logits


def test_the_summary_agrees_with_scikit_learn_and_is_json() -> None:
    labels, logits = sample(4000)
    groups = np.arange(4000) % 97
    result = evaluate_scores(labels, logits, groups=groups, seed=1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["num_rows"], result["num_positives"]) == (4000, int(labels.sum()))
    assert result["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-13)
    assert result["auc"]["low"] < result["auc"]["value"] < result["auc"]["high"]
    assert result["log_loss"] == pytest.approx(log_loss(labels, sigmoid(logits)), abs=1e-12)
    assert (result["gauc"]["num_groups"], result["gauc"]["num_rows"]) == (97, 4000)
    assert result["gauc"]["low"] < result["gauc"]["value"] < result["gauc"]["high"]


def test_each_segment_is_as_if_it_were_alone() -> None:
    labels, logits = sample(3000)
    weights = np.random.default_rng(1).integers(0, 3, 3000).astype(float)
    country = np.array(["de", "fr", None], dtype=object)[np.random.default_rng(2).choice(3, 3000, p=[0.6, 0.3, 0.1])]
    table = evaluate_scores(labels, logits, weights=weights, segments={"country": country})["segments"]["country"]
    assert table["num_values"] == 3
    assert [line["value"] for line in table["lines"]] == ["de", "fr", "missing"]
    inside = country == "fr"
    alone = evaluate_scores(labels[inside], logits[inside], weights=weights[inside])
    assert table["lines"][1] == {"value": "fr", **{name: alone[name] for name in table["lines"][1] if name != "value"}}


def test_only_the_largest_segments_are_listed() -> None:
    labels, logits = sample(1000)
    values = np.minimum(np.arange(1000) // 10, 40)
    table = evaluate_scores(labels, logits, segments={"item": values}, max_segments=3)["segments"]["item"]
    assert (table["num_values"], len(table["lines"]), table["lines"][0]["value"]) == (41, 3, "40")


def test_one_class_has_null_where_a_metric_does_not_exist() -> None:
    result = evaluate_scores(np.zeros(5), np.linspace(-1, 1, 5), groups=np.zeros(5))
    json.dumps(result, allow_nan=False)
    assert result["auc"] == {"value": None, "low": None, "high": None}
    assert result["gauc"]["value"] is None
    assert result["calibration_ratio"] is None
    assert result["normalized_entropy"] is None
    assert result["log_loss"] > 0


def test_a_segment_of_another_length_is_refused_by_name() -> None:
    labels, logits = sample(10)
    with pytest.raises(DataError, match="segment 'country'"):
        evaluate_scores(labels, logits, segments={"country": np.array(["de"])})
