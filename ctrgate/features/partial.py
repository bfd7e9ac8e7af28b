"""What one file tells the encoder: counts and statistics that merge to the same result in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from ctrgate.errors import ConfigError, SchemaError
from ctrgate.features.additions import without_additions
from ctrgate.features.columns import KeyType
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.statistics import Moments

__all__ = ["Partial", "agreed", "features_json", "merge", "summed"]


def features_json(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """Features as plain values."""
    values: list[dict[str, Any]] = TypeAdapter(Features).dump_python(tuple(features), mode="json")
    return [without_additions(feature) for feature in values]


@dataclass(frozen=True, kw_only=True, eq=False)
class Partial:
    """What was observed in some rows.

    Args:
        features: What was observed for, as plain values.
        num_rows: How many rows.
        types: What the values of each table are.
        counts: Per table: ``value`` (text; null for missing) and ``count``, in rising order of the text.
        moments: Per encoded number column: those of every file, in rising order, after the fixed part of its transform.
        sketches: Per feature with quantiles: ``value`` and ``weight``, in rising order.
    """

    features: list[dict[str, Any]]
    num_rows: int
    types: dict[str, KeyType]
    counts: dict[str, pl.DataFrame]
    moments: dict[str, tuple[Moments, ...]]
    sketches: dict[str, pl.DataFrame]


def merge(partials: Iterable[Partial]) -> Partial:
    """What was observed in all; neither the order nor the grouping of the parts changes a bit of it.

    Raises:
        ConfigError: Where there are none, or they were observed for different features.
        SchemaError: Where a table's values are integers in one part and text in another.
    """
    parts = list(partials)
    if not parts:
        raise ConfigError("there are no statistics to merge: no file has train rows")
    first = parts[0]
    if any(part.features != first.features for part in parts):
        raise ConfigError("statistics of different features cannot be merged; gather them anew with one dataset")
    types: dict[str, KeyType] = {}
    for part in parts:
        for table, type in part.types.items():
            types[table] = agreed(types.get(table, ""), type, what=f"the table {table}")
    return Partial(
        features=first.features,
        num_rows=sum(part.num_rows for part in parts),
        types=types,
        counts={name: summed([part.counts[name] for part in parts], "count") for name in first.counts},
        moments={name: tuple(sorted(m for part in parts for m in part.moments[name])) for name in first.moments},
        sketches={name: summed([part.sketches[name] for part in parts], "weight") for name in first.sketches},
    )


def agreed(known: KeyType, new: KeyType, *, what: str) -> KeyType:
    """The type of values that were seen with two types; SchemaError if one is text and the other integers."""
    if known and new and known != new:
        words = {"int": "integers", "string": "text"}
        raise SchemaError(f"{what} holds {words[known]} in one place and {words[new]} in another; convert one of them")
    return known or new


def summed(frames: Sequence[pl.DataFrame], amount: str) -> pl.DataFrame:
    """Frames of (value, amount) as one, each value once, in rising order."""
    return pl.concat(frames).group_by("value").agg(pl.col(amount).sum()).sort("value")
