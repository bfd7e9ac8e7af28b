"""What ctrgate does in a turn of the stages that need no torch: their memory is to be theirs alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.place import Place
from benchmarks.speed.turns import Turn
from ctrgate import prepare
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.sources import open_sources
from ctrgate.metrics.auc import delong

__all__ = ["AUC_ROWS", "auc_side", "clicks", "encode_side", "prepare_side"]

AUC_ROWS = 10_000_000


def prepare_side(place: Place) -> Turn:
    """The verb ``prepare``, from raw Parquet to encoded Parquet."""

    def turn() -> int:
        into = mkdtemp(dir=place.folder)
        rows = prepare.run(place.settings(prepare.Config, prepare={"into": f"{into}/prepared"}))["rows"]
        shutil.rmtree(into)
        return sum(rows.values())

    return turn


def encode_side(place: Place) -> Turn:
    """Raw Parquet to encoded columns in memory, as ``score`` has them made, and nothing else."""
    encoder = Encoder.load(place.prepared.encoder_folder)
    files = tuple(map(str, sorted(place.raw_to_score.glob("*.parquet"))))
    dataset: DatasetConfig = replace(place.settings(prepare.Config).dataset, files=files)

    def turn() -> int:
        rows = 0
        for source in open_sources(dataset):
            encoded = encoder.transform(source.rows, scoring=True)
            rows += sum(len(part) for part in encoded.collect_batches(chunk_size=16_384, maintain_order=True))
        return rows

    return turn


def auc_side(_: Place) -> Turn:
    """Exact AUC with DeLong's interval."""
    labels, logits = clicks()

    def turn() -> int:
        delong(labels, logits)
        return len(labels)

    return turn


def clicks(num_rows: int = AUC_ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and logits, as float64, some of them tied."""
    random = np.random.default_rng(0)
    logits = random.standard_normal(num_rows).astype(np.float32).astype(np.float64)
    labels = (random.random(num_rows) < 1 / (1 + np.exp(1.5 - logits))).astype(np.float64)
    return labels, logits
