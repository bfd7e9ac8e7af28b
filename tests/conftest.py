"""For all tests: one thread per process; for export and scoring: a small run over every kind of feature, made once.

The tests' models are small, and threads that wait for each other on few cores are slow.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate.config import load

ITEMS = {"kind": "vocabulary", "min_count": 2}
FEATURES: list[dict[str, Any]] = [
    {"kind": "categorical", "name": "user"},
    {"kind": "categorical", "name": "item", "encoding": ITEMS},
    {"kind": "categorical", "name": "item_hash", "column": "item", "encoding": {"kind": "hash", "num_buckets": 5}},
    {"kind": "categorical", "name": "hour", "encoding": {"kind": "identity", "num_values": 24}, "missing": "unknown"},
    {"kind": "categorical", "name": "position", "when_scoring": 1},
    {"kind": "numeric", "name": "price", "transform": "log", "indicator": True},
    {"kind": "bucketized", "name": "age", "buckets": {"kind": "quantiles", "count": 4}},
    {"kind": "bucketized", "name": "visits", "buckets": {"kind": "floor_log_squared"}, "missing": "zero"},
    {"kind": "cross", "name": "user_item", "columns": ["user", "item"]},
    {"kind": "bag", "name": "tags", "share": "tag"},
    {"kind": "bag", "name": "words", "separator": "|", "pooling": "sum"},
    {"kind": "bag", "name": "flags", "columns": ["red", "green"]},
    {"kind": "weighted_bag", "name": "liked", "weights": "liked_weights", "share": "tag", "pooling": "mean"},
    {"kind": "vector", "name": "image", "width": 3},
    {
        "kind": "sequence",
        "name": "history",
        "max_length": 3,
        "members": [
            {"kind": "categorical", "name": "item", "column": "seen", "share": "item", "encoding": ITEMS},
            {"kind": "numeric", "name": "ago"},
        ],
    },
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained run with its artifact.

    ``rows`` holds all raw rows: the last tenth are test, and there ``position`` is what scoring takes it for.
    """

    yaml: Path
    rows: pl.DataFrame
    artifact: Path

    def __call__(self, verb: str, *overrides: str) -> dict[str, Any]:
        """Run a verb."""
        module = import_module(f"ctrgate.{verb}")
        result: dict[str, Any] = module.run(load(self.yaml, module.Config, overrides))
        return result


def raw_rows(num_rows: int, *, seed: int) -> pl.DataFrame:
    """Rows with a column for every kind of feature, and nulls in most."""
    random = np.random.default_rng(seed)

    def some(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    def texts(count: int) -> list[str]:
        return [f"v{n}" for n in random.integers(9, size=count)]

    lengths = random.integers(6, size=num_rows).tolist()
    return pl.DataFrame(
        {
            "id": range(num_rows),
            "user": some(random.integers(7, size=num_rows).tolist()),
            "item": some([f"v{n}" if n else "a|b\\c" for n in random.integers(9, size=num_rows)]),
            "hour": some(random.integers(24, size=num_rows).tolist()),
            "position": np.where(np.arange(num_rows) < num_rows * 0.9, random.integers(1, 4, size=num_rows), 1),
            "price": some(random.lognormal(size=num_rows).tolist()),
            "age": some(random.normal(40, 9, size=num_rows).tolist()),
            "visits": some(random.integers(200, size=num_rows).astype(float).tolist()),
            "tags": some([texts(n) for n in lengths]),
            "words": some(["|".join(texts(n)) for n in lengths]),
            "red": some(random.integers(2, size=num_rows).tolist()),
            "green": some(random.integers(2, size=num_rows).tolist()),
            "liked": [texts(n) for n in lengths],
            "liked_weights": [random.uniform(size=n).tolist() for n in lengths],
            "image": some([random.normal(size=3).tolist() for _ in lengths]),
            "seen": [texts(n) for n in lengths],
            "ago": [random.uniform(size=n).tolist() for n in lengths],
            "click": random.integers(2, size=num_rows),
            "buy": random.integers(2, size=num_rows),
        }
    )


def clicked_rows(num_rows: int) -> pl.DataFrame:
    """The table that README and documents speak of; half of the users like phones, and shoes are liked."""
    random = np.random.default_rng(0)
    users = random.integers(40, size=num_rows)
    tags = [[["sale", "shoes", "new"][tag] for tag in range(3) if random.random() < 0.4] for _ in range(num_rows)]
    devices = random.choice(["phone", "desktop"], size=num_rows)
    logits = np.where((users % 2 == 0) == (devices == "phone"), 0.5, -2.0) + np.array(["shoes" in of for of in tags])
    start = datetime.datetime(2025, 1, 1)
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": [f"a{item}" for item in random.integers(25, size=num_rows)],
            "device": devices,
            "tags": tags,
            "price": np.where(random.random(num_rows) < 0.1, None, random.lognormal(3, 1, size=num_rows)).tolist(),
            "shown_at": [start + datetime.timedelta(minutes=5 * row) for row in range(num_rows)],
            "clicked": (random.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(int),
        },
        schema_overrides={"price": pl.Float64},
    )


@pytest.fixture(scope="session")
def clicks() -> Callable[[int], pl.DataFrame]:
    """So many rows of the documents' table."""
    return clicked_rows


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run under a table rule; ``dense`` has one label and keys, ``fused`` two labels and none."""

    @functools.cache
    def make(rule: str) -> Run:
        folder, rows = tmp_path_factory.mktemp(rule), raw_rows(600, seed=0)
        rows.write_parquet(folder / "raw.parquet")
        labels = ["click"] if rule == "dense" else ["click", "buy"]
        values = {
            "name": rule,
            "runs": str(folder / "runs"),
            "dataset": {
                "name": "small",
                "files": str(folder / "raw.parquet"),
                "split": {"by": "order", "valid": 0.1, "test": 0.1},
                "labels": [{"name": label} for label in labels],
                "roles": {"group": "id", "keys": ["user", "id"] if rule == "dense" else []},
                "features": FEATURES,
            },
            "prepare": {"into": str(folder / "prepared")},
            "tables": {"dim": 6, "init_std": 0.3, "rule": {"name": rule}},
            "model": {
                "name": "final_mlp",
                "mlp1": {"hidden": [12]},
                "mlp2": {"hidden": [8]},
                "gate1_context": ["user"],
                "gate2_context": ["tags", "price"],
                "gate_hidden": 8,
            },
            "train": {"batch_size": 100, "epochs": 1, "learning_rate": 0.01},
            "tracking": {"enabled": False},
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        run = Run(yaml=folder / "run.yaml", rows=rows, artifact=folder / "runs" / rule / "artifact")
        for verb in ("prepare", "train", "export"):
            run(verb)
        return run

    return make


@pytest.fixture(scope="session")
def dense_run(trained_run: Callable[[str], Run]) -> Run:
    """One label, keys ``user`` and ``id``."""
    return trained_run("dense")
