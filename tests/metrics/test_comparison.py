"""The figures of a comparison as a whole, and by segment."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctrgate.comparison.document import document
from ctrgate.comparison.wording import sentence
from ctrgate.errors import DataError
from ctrgate.metrics.comparison import Segment, compare_pairs, compare_segments, verdict
from ctrgate.metrics.measured import Measured
from ctrgate.metrics.paired import PairedRows, pair
from ctrgate.metrics.paired_auc import paired_auc
from ctrgate.metrics.stability import EPSILON, population_stability


def sample(num_rows: int = 4000, *, gain: float = 0.6, num_users: int | None = 300) -> PairedRows:
    rng = np.random.default_rng(5)
    labels = rng.random(num_rows) < 0.3
    a = rng.normal(size=num_rows) + 0.5 * labels
    b = a * 0.7 + 0.7 * rng.normal(size=num_rows) + gain * labels
    groups = None if num_users is None else rng.integers(0, num_users, num_rows)
    return pair(labels, a, b, groups=groups)


def test_a_better_model_is_called_better_in_every_metric_and_the_json_is_plain() -> None:
    result = compare_pairs(sample(), num_resamples=50)
    json.dumps(result, allow_nan=False)
    verdicts = {name: metric["verdict"] for name, metric in result["metrics"].items()}
    assert (verdicts["auc"], verdicts["gauc"], verdicts["calibration_ratio"]) == ("better", "better", None)
    auc = result["metrics"]["auc"]
    assert auc["difference"]["low"] < auc["difference"]["value"] < auc["difference"]["high"]
    assert auc["bootstrap"]["value"] == auc["difference"]["value"]


def test_resamples_are_decided_by_the_seed() -> None:
    first, again, other = (
        compare_pairs(sample(), num_resamples=20, seed=seed)["metrics"]["auc"]["bootstrap"] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_verdict_is_the_side_of_zero_that_the_whole_interval_lies_on() -> None:
    up = Measured(value=0.01, standard_error=0.001, degrees=50)
    down, unsure = (Measured(value=value, standard_error=0.01, degrees=50) for value in (-0.1, 0.01))
    assert [verdict(of, level=0.95, larger_is_better=True) for of in (up, down, unsure)] == ["better", "worse", "open"]
    assert [verdict(of, level=0.95, larger_is_better=False) for of in (up, down)] == ["worse", "better"]
    assert verdict(up, level=0.95, larger_is_better=None) is None


def test_a_line_is_the_comparison_of_its_rows_and_intervals_of_all_lines_together_are_wider() -> None:
    rows, rng = sample(), np.random.default_rng(6)
    codes = rng.choice(4, len(rows), p=[0.5, 0.3, 0.195, 0.005])
    found = compare_segments(rows, {"device": Segment(names=["a", "b", "c", "few"], codes=codes)})
    lines = found["segments"]["device"]["lines"]
    assert [line["value"] for line in lines] == ["a", "b", "c", "few"]
    assert [line["small"] for line in lines] == [False, False, False, True]
    assert found["num_intervals"] == 3
    line = lines[1]
    alone = paired_auc(rows.take(np.flatnonzero(codes == 1)))
    assert line["auc"]["difference"] == alone.difference.to_json()
    expected = alone.difference.interval(1 - 0.05 / 3)
    assert (line["auc"]["simultaneous"]["low"], line["auc"]["simultaneous"]["high"]) == (expected.low, expected.high)
    assert expected.low < line["auc"]["difference"]["low"]
    assert lines[3]["auc"]["verdict"] is None
    assert sum(line["num_rows"] for line in lines) == len(rows)


def test_ordered_parts_keep_their_order_others_come_by_rows_and_empty_ones_are_left_out() -> None:
    rows = sample(600)
    codes = np.repeat([0, 2, 3], [100, 300, 200])
    names = ["w", "x", "y", "z"]
    both = compare_segments(
        rows,
        {"by size": Segment(names=names, codes=codes), "in order": Segment(names=names, codes=codes, ordered=True)},
        max_lines=3,
    )["segments"]
    assert [line["value"] for line in both["by size"]["lines"]] == ["y", "z", "w"]
    assert [line["value"] for line in both["in order"]["lines"]] == ["w", "y", "z"]
    assert both["in order"]["num_values"] == 3
    with pytest.raises(DataError, match="segment 'x' must have one value for each of the 600 rows"):
        compare_segments(rows, {"x": Segment(names=["w"], codes=np.zeros(3, dtype=int))})


def test_the_stability_index_is_the_hand_worked_one() -> None:
    a, b = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    # Halves of A at 1, a quarter and three quarters of B, each share smoothed.
    p, q, r = ((share + EPSILON) / (1 + 2 * EPSILON) for share in (0.5, 0.25, 0.75))
    expected = (q - p) * np.log(q / p) + (r - p) * np.log(r / p)
    assert population_stability(a, b, num_bins=2) == pytest.approx(expected)
    assert population_stability(a, a) == 0


def told(rows: PairedRows) -> str:
    return sentence({**compare_pairs(rows, num_resamples=0), "users": {"count": 1}})


def test_the_sentence_says_who_is_better_by_how_much() -> None:
    rows = sample()
    found = paired_auc(rows).difference
    low, high = found.interval().low, found.interval().high
    assert told(rows).startswith(f"B is better by {found.value:.4f} [{low:.4f}, {high:.4f}] in AUC (")
    turned = pair(rows.positive, rows.b, rows.a, groups=rows.codes)
    assert told(turned).startswith(f"B is worse by {found.value:.4f} [{low:.4f}, {high:.4f}] in AUC (")
    rng = np.random.default_rng(1)
    noise = pair(rows.positive, rng.normal(size=4000), rng.normal(size=4000), groups=rows.codes)
    assert told(noise).startswith("No difference in AUC is shown: B less A is ")
    assert told(pair(rows.positive, rows.a, rows.a)).startswith("A and B rank the rows alike")
    assert told(pair(np.ones(9), np.arange(9.0), np.arange(9.0))).startswith("AUC does not exist on these rows")
    two = pair(np.array([1, 0, 0]), np.array([1.0, 0, 0]), np.array([1.0, 2, 0]))
    assert "too few users for an interval" in told(two)


@pytest.mark.parametrize("rows", [sample(), sample(num_users=None), pair(np.zeros(50), np.arange(50.0), np.ones(50))])
def test_a_page_is_made_of_whatever_there_is_and_names_are_escaped(rows: PairedRows) -> None:
    side = {"kind": "run", "place": "runs/x", "read": "evaluation", "model": "dnn", "step": 7, "identity": None}
    segments = {"<i>device</i>": Segment(names=["<b>tv</b>", "phone"], codes=np.arange(len(rows)) % 2)}
    found = compare_pairs(rows, num_resamples=10)
    result = {
        **found,
        "a": {"name": "<b>one</b>", **side},
        "b": {"name": "two", **side},
        "rows": {"split": "test", "label": "click", "prepared": "p", "encoder": "e", "identified_by": ["label:click"]},
        "level": 0.95,
        "users": None if found["num_users"] is None else {"column": "user", "count": found["num_users"]},
        "segments": compare_segments(rows, segments),
    }
    text = document({**result, "sentence": sentence(result)})
    assert "<b>" not in text
    assert "<i>" not in text
    assert text.count("<section>") == 3
