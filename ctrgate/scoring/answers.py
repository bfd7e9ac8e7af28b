"""What a model says of encoded rows, as columns: logits and probabilities, or the best items of each row."""

from __future__ import annotations

from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.interface import Score, score_columns
from ctrgate.contracts import Batch
from ctrgate.errors import DataError
from ctrgate.metrics.calibration import sigmoid
from ctrgate.models.next_item import HISTORIES_AT_ONCE
from ctrgate.row_ids import FIRST_VALUE_ID

__all__ = ["item_names", "ranked", "rows_at_once", "scores"]


def rows_at_once(artifact: Artifact, batch_rows: int) -> int:
    """How many rows go through the network together."""
    return batch_rows if artifact.items is None else min(batch_rows, HISTORIES_AT_ONCE)


def item_names(artifact: Artifact) -> pl.Series:
    """The raw value of each item by its id; none for a model that ranks no items."""
    items = artifact.items
    return pl.Series() if items is None else artifact.encoder.decode(items.target, pl.Series(range(items.num_rows)))


def scores(artifact: Artifact, batch: Batch | None, *, first: int) -> list[pl.Series]:
    """``score``, ``logit`` and, where it has a calibration, ``calibrated`` of each label; of no rows, they are empty.

    Args:
        artifact: The model.
        batch: The rows.
        first: Where they begin in their file, for messages.

    Raises:
        DataError: Where a score is no number.
    """
    labels = artifact.layout.labels
    logits = np.empty((0, len(labels)), dtype=np.float32) if batch is None else artifact.logits_of(batch)
    _check(logits, first=first)
    calibrated = None if artifact.calibration is None else artifact.calibrated(logits)
    named = {kind: score_columns(kind, labels) for kind in get_args(Score)}
    columns = []
    for place, label in enumerate(labels):
        columns.append(pl.Series(named["score"][label], sigmoid(logits[:, place].astype(np.float64))))
        columns.append(pl.Series(named["logit"][label], logits[:, place]))
        if calibrated is not None:
            columns.append(pl.Series(named["calibrated"][label], calibrated[:, place]))
    return columns


def ranked(
    artifact: Artifact, batch: Batch | None, keys: pl.DataFrame, *, names: pl.Series, top_k: int, first: int
) -> pl.DataFrame:
    """The best items of each row, one below the other, with the row's keys; ``names`` are ``item_names``.

    Raises:
        DataError: Where a score is no number.
    """
    count = top_k + names[FIRST_VALUE_ID:].null_count()  # rows of missing and retired values name no item
    best, ids = np.empty((0, count), dtype=np.float32), np.empty((0, count), dtype=np.int64)
    if batch is not None:
        best, ids = artifact.best_items(batch, count=count)
    _check(best, first=first)
    row = np.repeat(np.arange(len(ids)), ids.shape[1])
    found = keys[row].with_columns(
        pl.Series("row:place", row), names[ids.ravel()].alias("item"), pl.Series("score", best.ravel())
    )
    found = found.filter(pl.col("score").is_finite() & pl.col("item").is_not_null())
    found = found.insert_column(keys.width, found.select(rank=pl.int_range(1, pl.len() + 1).over("row:place"))["rank"])
    return found.filter(pl.col("rank") <= top_k).drop("row:place")


def _check(found: NDArray[np.float32], *, first: int) -> None:
    """Refuse scores that are no numbers: a value of the row is beyond what the network can reckon with."""
    wrong = np.isnan(found).any(axis=1)
    if wrong.any():
        raise DataError(
            f"row {first + int(wrong.argmax())} (counted from 0) has a score that is no number, as one of its values "
            "is too large for float32; correct it, or leave the row out"
        )
