"""The table of reproductions, worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.reproduce_frappe import EXPERIMENTS, PUBLISHED, table


def result(auc: float, *, epochs: int) -> dict[str, Any]:
    return {
        "parameters": 253_392,
        "epochs": epochs,
        "valid": {"auc": {"value": auc + 0.01}},
        "test": {"auc": {"value": auc}, "log_loss": 0.15},
    }


def test_means_and_spread_are_over_seeds() -> None:
    lines = table({"mine": [result(0.97, epochs=3), result(0.98, epochs=5)]}).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    # mean of .97 and .98 is .975; their standard deviation (n - 1) is .01 / sqrt 2 = .00707
    assert cells == [
        "mine", "253,392", "2", "0.98500", "0.97500 ± 0.00707", "0.97000 0.98000", "0.1500", "3 5", "—",
    ]  # fmt: skip


def test_every_line_of_the_table_has_its_run_file() -> None:
    assert [name for name in PUBLISHED if not Path(EXPERIMENTS / f"{name}.yaml").exists()] == []
