"""A split's rows with the ranks of their next items, and what they amount to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.data.reader import Reader
from ctrgate.features.sources import SplitName
from ctrgate.metrics.arrays import MISSING
from ctrgate.metrics.ranking import ranking_summary
from ctrgate.models.next_item import Items
from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.training.next_item import items_of, ranks_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.runs import Restored

__all__ = ["measure_ranks", "ranked"]


def ranked(restored: Restored, split: SplitName, *, objective: NextItemConfig) -> tuple[pl.DataFrame, float]:
    """Every row of a split in its order: ``target`` (its row in the items' table), ``rank``, roles; and rows/s.

    A rank counts from 1; 0 is a target that is no candidate: unseen in training, or masked as seen.
    """
    layout, files = restored.layout, restored.prepared.files(split)
    items = items_of(layout, restored.settings.model, objective)
    reader = Reader(files, layout=layout)
    started = time.monotonic()
    ranks = np.concatenate(list(ranks_of(restored.model, reader, items=items, title=split)))
    rate = reader.num_rows / (time.monotonic() - started)
    roles = [column for role, names in layout.roles.items() if role != "order" for column in names]
    rows = pl.scan_parquet(files).select(pl.col(items.target).alias("target"), *dict.fromkeys(roles)).collect()
    return rows.with_columns(pl.Series("rank", ranks)), rate


def measure_ranks(
    rows: pl.DataFrame, *, objective: NextItemConfig, items: Items, groups: NDArray[Any] | None, seed: int
) -> dict[str, Any]:
    """Hit rate, NDCG and MRR at each cutoff with intervals over users, overall and by segment, and what they rest on.

    Args:
        rows: As ``ranked`` gives them, with their segments.
        objective: Its cutoffs, and whether seen items were candidates.
        items: Where the items are.
        groups: The user of each row.
        seed: Of the resampling.
    """
    ranks = rows["rank"].to_numpy()
    unknown = (rows["target"] < FIRST_VALUE_ID).sum()
    return {
        "num_rows": rows.height,
        "num_candidates": items.num_rows - FIRST_VALUE_ID,
        "unknown_targets": unknown,
        "seen_targets": int((ranks == 0).sum()) - unknown,
        "seen": f"masked, from {items.seen}" if items.seen else "kept",
        "ranking": ranking_summary(ranks, cutoffs=objective.cutoffs, groups=groups, seed=seed),
        "segments": {
            column.removeprefix("segment:"): _lines(
                rows, column, cutoffs=objective.cutoffs[:1], groups=groups, seed=seed
            )
            for column in rows.columns
            if column.startswith("segment:")
        },
    }


def _lines(
    rows: pl.DataFrame, column: str, *, cutoffs: Sequence[int], groups: NDArray[Any] | None, seed: int
) -> dict[str, Any]:
    """A line per value of a segment, the values with most rows first."""
    users = np.arange(rows.height) if groups is None else np.unique(groups, return_inverse=True)[1]
    named = rows.with_columns(pl.col(column).fill_null(MISSING), pl.Series("user", users))
    parts = sorted(named.partition_by(column), key=lambda part: -part.height)
    lines = [
        {
            "value": part[column][0],
            "num_rows": part.height,
            "ranking": ranking_summary(
                part["rank"].to_numpy(), cutoffs=cutoffs, groups=part["user"].to_numpy(), seed=seed
            ),
        }
        for part in parts[:50]
    ]
    return {"num_values": len(parts), "lines": lines}
