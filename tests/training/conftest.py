"""A small task to train on, and its run file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate import prepare
from ctrgate.config import load

RULES = {
    "dense": {"name": "dense", "l2": 0.01},
    "fused": {"name": "fused", "learning_rate": 0.05, "l2": 0.01, "decay": 0.01, "decay_every": 3},
}


def rows(number: int, *, seed: int, num_users: int = 30) -> pl.DataFrame:
    """A click that user and item decide together, with a number and noise."""
    generator = np.random.default_rng(seed)
    user, item = generator.integers(0, num_users, number), generator.integers(0, 20, number)
    price = generator.normal(size=number)
    logit = np.sin(user * 1.7) * np.cos(item * 2.3) * 3 + 0.3 * price
    click = generator.random(number) < 1 / (1 + np.exp(-logit))
    return pl.DataFrame({"user": user, "item": item, "price": price, "click": click.astype(int)})


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw files, prepared once."""
    folder = tmp_path_factory.mktemp("task")
    for seed, (split, number) in enumerate({"train": 1300, "valid": 401, "test": 257}.items()):
        rows(number, seed=seed).write_parquet(folder / f"{split}.parquet")
    prepare.run(load(run_file(folder, folder / "prepare.yaml", "dense"), prepare.Config))
    return folder


def run_file(task: Path, path: Path, rule: str, **sections: object) -> Path:
    """Write a run file for the task; sections are added as given."""
    dataset = {
        "name": "small",
        "splits": {split: str(task / f"{split}.parquet") for split in ("train", "valid", "test")},
        "labels": [{"name": "click"}],
        "features": [
            {"kind": "categorical", "name": "user"},
            {"kind": "categorical", "name": "item"},
            {"kind": "numeric", "name": "price"},
        ],
    }
    values = {
        "name": "small",
        "seed": 3,
        "runs": str(path.parent / "runs"),
        "dataset": dataset,
        "prepare": {"into": str(task / "prepared")},
        "tables": {"dim": 6, "init_std": 0.05, "rule": RULES[rule], "unknown_share": 0.02, "dropout": 0.05},
        "model": {
            "name": "final_mlp",
            "mlp1": {"hidden": [16], "dropout": 0.1},
            "mlp2": {"hidden": [8]},
            "gate1_context": ["user"],
            "gate2_context": ["price"],
            "gate_hidden": 8,
            "num_heads": 2,
        },
        "train": {"batch_size": 100, "learning_rate": 0.01, "epochs": 4, "checkpoint_every": 5},
        "tracking": {"enabled": False},
    }
    path.write_text(yaml.safe_dump({**values, **sections}))
    return path


@pytest.fixture
def write_run(task: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a run file whose run lies in this test's own folder."""

    def write(rule: str = "dense", *, under: str = "one", **sections: object) -> Path:
        (tmp_path / under).mkdir(exist_ok=True)
        return run_file(task, tmp_path / under / "run.yaml", rule, **sections)

    return write
