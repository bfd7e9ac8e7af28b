"""A prepared folder, and run files whose search lies in the test's own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrgate import tune
from ctrgate.config import load
from tests.training.conftest import run_file
from tests.training.conftest import task as folder

__all__ = ["folder"]

SPACE = {
    "train.learning_rate": {"log_uniform": [1e-4, 3e-2]},
    "model.mlp1.dropout": {"uniform": [0, 0.5], "step": 0.1},
    "tables.dim": {"choice": [4, 8, 16]},
    "model.num_heads": {"int": [1, 8]},
}


@pytest.fixture
def write(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a run file whose search lies in this test's own folder."""

    def write(**settings: object) -> Path:
        return run_file(folder, tmp_path / "run.yaml", "dense", tune={"space": SPACE, "trials": 6, **settings})

    return write


def loaded(path: Path, *overrides: str) -> tune.Config:
    return load(path, tune.Config, overrides)


def drawn(path: Path, *overrides: str) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = tune.run(loaded(path, "tune.dry_run=true", *overrides))["trials"]
    return result
