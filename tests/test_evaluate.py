"""Segments by the length of histories, from prepared files to the evaluation."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ctrgate import evaluate
from ctrgate.features.layout import Member, SequenceGroup
from ctrgate.training.evaluation import _events
from ctrgate.training.runs import Restored

GROUP = SequenceGroup(name="history", members=(Member(name="item", column="history/item", table="item"),), max_length=9)


class Files:
    """What ``_events`` asks of a prepared folder."""

    def __init__(self, folder: Path, **lengths: list[int]) -> None:
        self.folder = folder
        for split, of in lengths.items():
            pl.DataFrame({"history/item": [[2] * length for length in of]}).write_parquet(folder / f"{split}.parquet")

    def files(self, split: str) -> list[Path]:
        return [self.folder / f"{split}.parquet"]


def test_rows_are_told_apart_by_trains_lowest_fifth(tmp_path: Path) -> None:
    prepared: Any = Files(tmp_path, train=[1, 5, 6, 7, 8, 8, 8, 8, 8, 8], test=[0, 3, 4, 5, 6, 9])
    found = _events(prepared, "test", GROUP)
    assert found.name == "segment:events in history"
    assert found.to_list() == ["0 to 3", "0 to 3", "4 to 5", "4 to 5", "more than 5", "more than 5"]


@pytest.mark.parametrize("train", [[0, 0, 0, 9, 9], [3] * 5])
def test_where_the_lowest_fifth_is_short_there_are_two_parts(tmp_path: Path, train: list[int]) -> None:
    prepared: Any = Files(tmp_path, train=train, test=[0, 3, 4])
    assert _events(prepared, "test", GROUP).to_list() == ["0 to 3", "0 to 3", "more than 3"]


def test_what_evaluate_returns_is_what_it_says(dense_run: Any) -> None:
    said = set(re.findall(r"``(\w+)``", inspect.getdoc(evaluate.run).partition("Returns:")[2].partition("Raises:")[0]))
    result = dense_run("evaluate")
    assert set(result) == {"run", "valid", "test"}
    assert {"run", *result["test"]} <= said
    assert said == {"run", "rows_per_second", *evaluate._HEADLINE}


def test_probabilities_that_say_less_than_the_click_rate_are_told(
    dense_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(evaluate.console, "print", lambda text, **_: said.append(text))
    results = [dense_run("evaluate", "tracking.enabled=false")]
    monkeypatch.setattr(Restored, "logit_shifts", (5.0,))
    results.append(dense_run("evaluate", "tracking.enabled=false"))
    monkeypatch.undo()
    dense_run("evaluate", "tracking.enabled=false")  # as others find it
    entropies = [result["test"]["normalized_entropy"] for result in results]
    told = [line for line in said if line.startswith("test: probabilities are no better than the click rate")]
    assert len(told) == sum(entropy >= 1 for entropy in entropies)
    assert entropies[1] >= 1
    assert f"normalised entropy {entropies[1]:.2f}" in told[-1]


def test_an_evaluation_has_the_segment_of_each_history(dense_run: Any) -> None:
    dense_run("evaluate")
    result = json.loads((dense_run.artifact.parent / "evaluation" / "test.json").read_text())
    (line,) = result["segments"]["events in history"]["lines"]
    assert (line["value"], line["num_rows"]) == ("0 to 3", result["num_rows"])  # histories are cut to three
