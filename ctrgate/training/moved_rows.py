"""Where the rows of a table were under another encoder: found by the values that they stand for."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import torch
from torch import Tensor

from ctrgate.errors import ConfigError
from ctrgate.features.encoder import Encoder
from ctrgate.features.partial import features_json
from ctrgate.features.vocabulary import Vocabulary
from ctrgate.row_ids import FIRST_VALUE_ID

__all__ = ["NEW", "moved_rows"]

NEW = -1


def moved_rows(earlier: Encoder, now: Encoder) -> Mapping[str, Tensor]:
    """The row that each row of a vocabulary had before, ``NEW`` for a value that had none.

    Hashed and whole ids are where they were, and are left out. Retired values keep their rows, and so do bring them.

    Returns:
        By vocabulary ``(V,)``.

    Raises:
        ConfigError: Where the encoders differ in more than the rows of values, so that weights would not fit.
    """
    differing = [
        name
        for name, same in {
            "features": features_json(earlier.features) == features_json(now.features),
            "scalings of numbers": earlier.scalings == now.scalings,
            "boundaries of buckets": earlier.boundaries == now.boundaries,
        }.items()
        if not same
    ]
    if differing:
        raise ConfigError(f"the encoders differ in their {' and '.join(differing)}, which the weights have learnt")
    return {
        name: _moved(name, earlier.tables[name], table)
        for name, table in now.tables.items()
        if isinstance(table, Vocabulary)
    }


def _moved(name: str, earlier: object, now: Vocabulary) -> Tensor:
    if not isinstance(earlier, Vocabulary) or (earlier.type and now.type and earlier.type != now.type):
        raise ConfigError(f"the values of table {name} are of another type than before, which the weights have learnt")
    before, after = (
        table.entries.filter(pl.col("id") >= FIRST_VALUE_ID).select("value", row=pl.col("id"))
        for table in (earlier, now)
    )
    both = after.join(before, on="value", how="inner", nulls_equal=True, suffix="_before")
    rows = torch.full((now.num_rows,), NEW)
    rows[:FIRST_VALUE_ID] = torch.arange(FIRST_VALUE_ID)
    rows[torch.from_numpy(both["row"].to_numpy().copy())] = torch.from_numpy(both["row_before"].to_numpy().copy())
    return rows
