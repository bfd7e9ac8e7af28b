"""Days of generated clicks, some of them with a planted fault, and what is expected of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.features.checks import check_columns
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.observe import observe
from ctrgate.features.sources import open_sources
from ctrgate.validation.day import check_files
from ctrgate.validation.expectations import Expectations
from ctrgate.validation.infer import SchemaSettings, infer
from ctrgate.validation.result import Validation
from ctrgate.validation.rules import CheckSettings

DAY = 86_400
START = 20_000 * DAY
NUM_ROWS = 3_000
FEATURES: list[dict[str, Any]] = [
    {"kind": "categorical", "name": "user"},
    {"kind": "categorical", "name": "item"},
    {"kind": "categorical", "name": "device"},
    {"kind": "numeric", "name": "price"},
    {"kind": "bucketized", "name": "years", "column": "age", "buckets": {"kind": "quantiles", "count": 4}},
    {"kind": "bag", "name": "tags"},
]


def clicks(day: int, *, seed: int, num_rows: int = NUM_ROWS, num_users: int = 1_500) -> pl.DataFrame:
    """A day's rows in the order of time; each has a column for every kind of check."""
    random = np.random.default_rng(seed)
    users = random.integers(num_users, size=num_rows)
    prices = np.where(random.random(num_rows) < 0.1, np.nan, random.lognormal(2, 0.8, size=num_rows))
    devices = random.choice(["phone", "desktop", "tv"], p=[0.6, 0.3, 0.1], size=num_rows)
    logits = -1.2 + 0.6 * (devices == "phone") + 0.3 * (users % 3 - 1)
    return pl.DataFrame(
        {
            "user": users,
            "item": [f"i{item}" for item in np.minimum(random.geometric(0.03, size=num_rows), 200)],
            "device": devices,
            "price": pl.Series(prices).fill_nan(None),
            "age": (18 + (users * 7919) % 50).astype(float),  # a user's own: rows of one user agree
            "tags": [
                [f"t{tag}" for tag in random.integers(6, size=count)] for count in random.integers(1, 4, num_rows)
            ],
            "time": START + day * DAY + np.sort(random.integers(DAY, size=num_rows)),
            "clicked": (random.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(int),
        }
    )


def dataset_of(files: str | list[str], **values: Any) -> DatasetConfig:
    given: dict[str, Any] = {
        "name": "clicks",
        "splits": {"train": files},
        "labels": [{"name": "clicked"}],
        "roles": {"group": "user", "timestamp": "time"},
        "features": FEATURES,
    }
    return TypeAdapter(DatasetConfig).validate_python(given | values)


@dataclass(frozen=True)
class Week:
    """Six days of reference, what is expected after them, and the encoder that was fitted on them."""

    dataset: DatasetConfig
    expectations: Expectations
    encoder: Encoder
    folder: Path

    def check(self, *frames: pl.DataFrame, how: CheckSettings | None = None, **changed: Any) -> Validation:
        """Check a day that consists of these files."""
        files = []
        for number, frame in enumerate(frames):
            path = self.folder / f"day-{number}.parquet"
            frame.write_parquet(path)
            files.append(str(path))
        expectations = changed.get("expectations", self.expectations)
        return check_files(self.dataset, files, expectations=expectations, how=how, encoder=self.encoder)


@pytest.fixture(scope="session")
def six_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetConfig, Expectations, Encoder]:
    folder = tmp_path_factory.mktemp("reference")
    for day in range(6):
        clicks(day, seed=day).write_parquet(folder / f"{day}.parquet")
    dataset = dataset_of(str(folder / "*.parquet"))
    sources = open_sources(dataset)
    for source in sources:
        check_columns(dataset.features, source.schema, source=str(source.path), log=True)
    expectations = infer(dataset, sources, how=SchemaSettings())
    encoder = Encoder.fit(dataset.features, [observe(dataset.features, source.rows) for source in sources])
    return folder, dataset, expectations, encoder


@pytest.fixture
def week(six_days: tuple[Path, DatasetConfig, Expectations, Encoder], tmp_path: Path) -> Week:
    _, dataset, expectations, encoder = six_days
    return Week(dataset=dataset, expectations=expectations, encoder=encoder, folder=tmp_path)


@pytest.fixture(scope="session")
def make_clicks() -> Callable[..., pl.DataFrame]:
    return clicks
