"""Widths chosen by explained variance, and the run file that trains with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctrgate import evaluate, export, train
from ctrgate.config import load
from ctrgate.errors import ConfigError
from ctrgate.training.runs import RunFolder, restore
from ctrgate.training.table_widths import explained_variance, width


def naive_shares(rows: np.ndarray) -> np.ndarray:
    """Eigenvalues of the covariance matrix, the largest first."""
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1]
    return np.cumsum(values) / values.sum()


def test_explained_variance_is_that_of_the_covariances_eigenvalues() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([5.0, 1.0, 0.3, 0.1]) + 7.0
    np.testing.assert_allclose(explained_variance(torch.tensor(rows)).numpy(), naive_shares(rows), rtol=1e-9)


@pytest.mark.parametrize(("explained", "expected"), [(0.5, 1), (0.9, 2), (0.89, 1), (0.99, 3), (0.999999, 3)])
def test_a_width_is_the_fewest_components_that_explain_more_than_the_share(explained: float, expected: int) -> None:
    assert width(torch.tensor([0.9, 0.98, 1.0]), explained=explained) == expected


@pytest.mark.parametrize("rows", [torch.ones(5, 3), torch.zeros(0, 3), torch.tensor([[1.0, 2.0, 3.0]])])
def test_a_table_that_does_not_vary_gets_width_one(rows: torch.Tensor) -> None:
    assert width(explained_variance(rows), explained=0.95) == 1


def test_a_table_of_few_rows_gets_at_most_one_component_less_than_rows() -> None:
    assert width(explained_variance(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 0.0]])), explained=0.95) == 1


def test_the_written_run_trains_with_the_chosen_widths(dense_run: Any) -> None:
    result = dense_run("widths", "widths.explained=0.6")
    path, summary = Path(result["run_file"]), json.loads((dense_run.artifact.parent / "widths.json").read_text())
    restored = restore(RunFolder(dense_run.artifact.parent))
    tables = {spec.name: rows for spec, rows in restored.model.lookups.tables()}
    for line in summary["fields"]:
        shares = naive_shares(tables[line["table"]][2:].numpy())
        assert line["after"] == int((shares <= 0.6).sum()) + 1
        assert result["dims"][line["field"]] == line["after"]
        assert line["before"] == 6
    assert {"user", "tags", "liked", "age"} <= set(result["dims"])
    assert result["dims"]["tags"] == result["dims"]["liked"]  # they share a table
    assert "price" not in result["dims"]
    assert any(1 < dim < 6 for dim in result["dims"].values())
    used = {line["table"]: line for line in summary["fields"]}.values()
    assert result["parameters_after"] == sum(line["rows"] * line["after"] for line in used)
    config = load(path, train.Config)
    assert (config.name, config.tables.dim, config.tracking.enabled) == ("dense_widths", 6, False)
    train.run(config)
    narrow = restore(config.folder)
    assert {spec.name: spec.dim for spec, _ in narrow.model.lookups.tables()}["user"] == result["dims"]["user"]
    evaluate.run(load(path, evaluate.Config))
    saved = export.run(load(path, export.Config))["saved"]
    assert saved["bytes"] == 4 * (result["parameters_before"] - result["parameters_after"])


def test_values_that_a_search_dropped_take_no_part(dense_run: Any) -> None:
    search = "select={name: continuation, penalty: 10.0, epochs: 2, learning_rate: 0.5}"
    dense_run("train", "name=all_dropped", search)
    result = dense_run("widths", "name=all_dropped")
    assert set(result["dims"].values()) == {1}


def test_a_run_that_is_not_there_is_named(dense_run: Any) -> None:
    with pytest.raises(ConfigError, match="runs/nowhere holds no run; run ctrgate train"):
        dense_run("widths", "name=nowhere")
