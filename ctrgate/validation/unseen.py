"""The share of values that have no row of their own in an encoder's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ctrgate.errors import SchemaError
from ctrgate.features.columns import Key
from ctrgate.features.encoder import Encoder
from ctrgate.features.encodings import FloorLogSquared
from ctrgate.features.events import log_keys
from ctrgate.features.kinds.bucketized import Bucketized
from ctrgate.features.kinds.registry import Feature
from ctrgate.features.kinds.sequence import is_logged
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import Source
from ctrgate.features.tables import HashTable
from ctrgate.row_ids import UNKNOWN_ID

__all__ = ["Unseen", "count_unseen"]

_SHOWN = 5


@dataclass
class Unseen:
    """One feature's values.

    Args:
        columns: The raw columns they come from.
        num_values: Values that are not missing.
        num_unseen: Those that read the unknown row: never seen in training, too rarely, or retired.
        file: The file of the first unseen ones.
        rows: The first rows with one in that file.
    """

    columns: tuple[str, ...]
    num_values: int = 0
    num_unseen: int = 0
    file: str = ""
    rows: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        """Of the values; 0 of none."""
        return self.num_unseen / self.num_values if self.num_values else 0.0


def count_unseen(encoder: Encoder, sources: Sequence[Source]) -> dict[str, Unseen]:
    """Unseen values by feature (``GROUP/MEMBER`` in a sequence); hashed features, which know no unseen, are left out.

    A feature whose columns a file lacks, or holds as text where training had integers, is passed over in that file.
    """
    found: dict[str, Unseen] = {}
    for source in sources:
        read = [(key, columns, *_unseen(encoder, key)) for key, columns in _keys(encoder, source)]
        if not read:
            continue
        sums = [expression.sum() for _, _, *both in read for expression in both]
        with source.reading():
            counted = source.rows.select(part.alias(str(n)) for n, part in enumerate(sums)).collect(engine="streaming")
            for place, (key, columns, _, unseen) in enumerate(read):
                known = found.setdefault(key.column, Unseen(columns=columns))
                num_values, num_unseen = (int(counted[str(2 * place + part)].item() or 0) for part in (0, 1))
                known.num_values += num_values
                known.num_unseen += num_unseen
                if num_unseen and not known.file:
                    rows = source.rows.filter(unseen > 0).select(ROW).head(_SHOWN).collect(engine="streaming")
                    known.file, known.rows = str(source.path), tuple(rows[ROW].to_list())
    return found


def _unseen(encoder: Encoder, key: Key) -> tuple[pl.Expr, pl.Expr]:
    """How many values a row has, and how many of them are unseen."""
    table = encoder.tables[key.table]
    if not key.is_list:
        present = key.values.is_not_null()
        unseen = present & (table.ids(key.values, missing="zero") == UNKNOWN_ID)
        return present.cast(pl.Int64), unseen.cast(pl.Int64)
    values = key.values.list.drop_nulls()
    ids = values.list.eval(table.ids(pl.element(), missing="zero"))
    return values.list.len().cast(pl.Int64), ids.list.count_matches(UNKNOWN_ID).cast(pl.Int64)


def _keys(encoder: Encoder, source: Source) -> Iterator[tuple[Key, tuple[str, ...]]]:
    for feature in encoder.features:
        columns = feature.columns_read(log=True)
        if any(column not in source.schema for column in columns):
            continue
        for key in _keys_of(feature, source.schema, encoder=encoder):
            table = encoder.tables[key.table]
            alike = not (table.type and key.type) or table.type == key.type
            if alike and not isinstance(table, HashTable):
                yield key, columns


def _keys_of(feature: Feature, schema: pl.Schema, *, encoder: Encoder) -> list[Key]:
    if isinstance(feature, Bucketized) and not isinstance(feature.buckets, FloorLogSquared):
        return []  # every number has its bucket
    try:
        if is_logged(feature):
            return [key for _, key in log_keys(feature, schema)]
        return list(feature.keys(schema, boundaries=encoder.boundaries.get(feature.name, ())))
    except (SchemaError, pl.exceptions.PolarsError):  # of a type that the rule schema tells
        return []
