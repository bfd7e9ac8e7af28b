"""What is called reproduced: the same bits, or a difference whose interval holds 0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctrgate.errors import DataError
from ctrgate.reproduction.outcome import logits_compared, sentence, verdict

NUM = 2_000


class Rows:
    """What is asked of a split's rows."""

    label_column, split, label = "label:click", "test", "click"
    prepared = SimpleNamespace(folder="prepared")

    def __init__(self, labels: NDArray[Any], groups: NDArray[Any] | None = None, weights: Any = None) -> None:
        self._labels, self._roles = labels, {"group": groups, "weight": weights}

    def column(self, _: str) -> NDArray[Any]:
        return self._labels

    def role(self, role: str) -> Any:
        return self._roles[role]


def drawn(seed: int = 0) -> tuple[Any, NDArray[np.float64]]:
    """Rows of 100 users with the log odds that their clicks were drawn by."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=NUM)
    labels = (random.uniform(size=NUM) < 1 / (1 + np.exp(-logits))).astype(float)
    return Rows(labels, groups=np.arange(NUM) % 100), logits


def told(rows: Any, run: NDArray[np.float64], again: NDArray[np.float64]) -> dict[str, Any]:
    labels = {"click": logits_compared(rows, run, again, level=0.95)}
    result: dict[str, Any] = {"labels": labels, "verdict": verdict(labels), "split": "test", "num_rows": NUM}
    return {**result, "sentence": sentence({**result, "environment": {}})}


def test_the_same_bits_are_identical() -> None:
    rows, logits = drawn()
    result = told(rows, logits, logits.copy())
    assert result["verdict"] == "identical"
    assert result["labels"]["click"]["num_differing"] == 0
    assert result["sentence"] == (
        "Reproduced bit for bit: all logits of 2,000 test rows are the run's. "
        "Versions, processor and threads are the run's."
    )


def test_the_last_bit_of_one_row_is_not_identical_and_is_within() -> None:
    rows, logits = drawn()
    again = logits.copy()
    again[7] = np.nextafter(again[7], 9)
    result = told(rows, logits, again)
    assert result["verdict"] == "within"
    of = result["labels"]["click"]
    assert (of["identical"], of["num_differing"]) == (False, 1)
    assert of["largest_difference"] == abs(again[7] - logits[7]) > 0


def test_another_seeds_noise_is_within_and_its_figures_are_told() -> None:
    rows, logits = drawn()
    random = np.random.default_rng(1)
    run, again = (logits + random.normal(scale=0.3, size=NUM) for _ in range(2))
    result = told(rows, run, again)
    assert result["verdict"] == "within"
    metric = result["labels"]["click"]["metrics"]["auc"]
    assert metric["difference"]["value"] == pytest.approx(metric["reproduction"]["value"] - metric["run"]["value"])
    assert metric["difference"]["low"] < 0 < metric["difference"]["high"]
    assert "AUC" in result["sentence"]
    assert "every interval holds 0" in result["sentence"]


@pytest.mark.parametrize(("scale", "shift", "metric"), [(3.0, 0.0, "auc"), (0.0, 1.0, "log_loss")])
def test_one_metric_beyond_its_interval_is_enough(scale: float, shift: float, metric: str) -> None:
    rows, logits = drawn()
    again = logits + np.random.default_rng(2).normal(scale=scale, size=NUM) + shift
    result = told(rows, logits, again)
    assert result["verdict"] == "outside"
    assert result["labels"]["click"]["metrics"][metric]["within"] is False
    assert result["sentence"].startswith("Not reproduced: 2,000 test rows, logits up to ")


def test_a_worse_and_a_better_reproduction_are_both_outside() -> None:
    rows, logits = drawn()
    noisy = logits + np.random.default_rng(2).normal(scale=3, size=NUM)
    assert told(rows, noisy, logits)["verdict"] == told(rows, logits, noisy)["verdict"] == "outside"


def test_with_one_user_nothing_is_shown() -> None:
    rows, logits = drawn()
    alone = Rows(rows.column(""), groups=np.zeros(NUM))
    result = told(alone, logits, logits[::-1].copy())
    assert result["verdict"] == "unknown"
    assert "too few users" in result["sentence"]


def test_a_class_alone_is_judged_by_its_log_loss() -> None:
    rows = Rows(np.zeros(NUM))
    logits = np.linspace(-1, 1, NUM)
    assert told(rows, logits, logits + np.tile([0.1, -0.1], NUM // 2))["verdict"] == "within"
    assert told(rows, logits, logits + 0.1)["verdict"] == "outside"


def test_rows_without_a_label_or_weight_are_left_out_of_metrics_and_not_of_bits() -> None:
    rows, logits = drawn()
    labels = rows.column("").copy()
    labels[:500] = np.nan
    weights = np.ones(NUM)
    weights[500:900] = 0
    again = logits.copy()
    again[:900] += 5
    result = told(Rows(labels, weights=weights), logits, again)
    of = result["labels"]["click"]
    assert of["num_differing"] == 900
    assert of["metrics"]["auc"]["difference"]["value"] == 0
    with pytest.raises(DataError, match="no test row of prepared has the label click and a weight"):
        logits_compared(Rows(np.full(NUM, np.nan)), logits, logits, level=0.95)  # type: ignore[arg-type]


def test_the_worst_label_decides_and_each_is_named() -> None:
    rows, logits = drawn()
    labels = {
        "click": logits_compared(rows, logits, logits, level=0.95),
        "buy": logits_compared(rows, logits, -logits, level=0.95),
    }
    assert verdict(labels) == "outside"
    told_of = sentence({"labels": labels, "verdict": "outside", "split": "valid", "num_rows": NUM, "environment": {}})
    assert "click: logits up to 0 apart" in told_of
    assert "buy: logits up to" in told_of


def test_what_differs_around_is_told() -> None:
    text = sentence(
        {
            "labels": {},
            "verdict": "identical",
            "split": "test",
            "num_rows": 5,
            "environment": {"torch": {"run": "2.13.0", "here": "2.14.0"}, "threads": {"run": 2, "here": 1}},
        }
    )
    assert text.endswith("Other than the run's: torch 2.14.0 instead of 2.13.0, threads 1 instead of 2.")
