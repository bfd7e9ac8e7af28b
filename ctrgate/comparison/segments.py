"""How rows are parted: by the dataset's segments, how much is known of the user, and which ids train has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from ctrgate.comparison.rows import Rows
from ctrgate.features.encodings import VocabularyEncoding
from ctrgate.features.kinds.registry import table_encodings
from ctrgate.features.layout import Layout
from ctrgate.metrics.arrays import MISSING
from ctrgate.metrics.comparison import Segment
from ctrgate.row_ids import UNKNOWN_ID

__all__ = ["segments_of"]

_COUNTS = (1, 5, 20, 100, 500)
_EVENTS = (1, 5, 20, 50)
_SHARES = (0.1, 0.25, 0.5)


def segments_of(rows: Rows) -> dict[str, Segment]:
    """All segments by name; each row is in one part of each.

    The dataset's own (``roles.segments``); ``user's rows in train``, where users are known; ``events in GROUP`` for
    each sequence; and ``unknown ids``, the share of a row's ids that the encoder of the rows has no row for: every
    feature with a vocabulary counts alike, one with several ids by the share of them that is unknown, and one without
    any ids as known. One file at a time is read.
    """
    layout = rows.prepared.layout
    found = {column.partition(":")[2]: _named(rows, column) for column in layout.roles.get("segment", ())}
    if users := layout.roles.get("group"):
        found["user's rows in train"] = _rows_in_train(rows, users[0])
    for group in layout.sequences:
        length = pl.col(group.members[0].column).list.len()
        found[f"events in {group.name}"] = _binned(rows, length, _EVENTS)
    share = _unknown_share(layout, tables=_learnt(rows))
    if share is not None:
        found["unknown ids"] = _shares(rows, share)
    return found


def _learnt(rows: Rows) -> set[str]:
    """The tables that have a vocabulary; hashes and integers know every value."""
    return {
        name
        for name, how in table_encodings(rows.prepared.dataset.features).items()
        if isinstance(how, VocabularyEncoding)
    }


def _unknown_share(layout: Layout, *, tables: set[str]) -> pl.Expr | None:
    shares = []
    for field in layout.fields:
        if field.table in tables:
            one = pl.col(field.name)
            shares.append((one == UNKNOWN_ID).cast(pl.Float32) if field.kind == "id" else _share_of_list(one))
    for group in layout.sequences:
        shares += [_share_of_list(pl.col(member.column)) for member in group.members if member.table in tables]
    return pl.mean_horizontal(shares) if shares else None


def _share_of_list(ids: pl.Expr) -> pl.Expr:
    return ids.list.eval((pl.element() == UNKNOWN_ID).cast(pl.Float32)).list.mean().fill_null(0.0)


def _named(rows: Rows, column: str) -> Segment:
    """A column of text; few distinct values are kept, whatever the number of rows."""
    numbers: dict[str, int] = {}
    parts = []
    for values in _read(rows, pl.col(column).fill_null(MISSING)):
        for value in values.unique().sort().to_list():
            numbers.setdefault(value, len(numbers))
        parts.append(values.replace_strict(numbers, return_dtype=pl.Int32).to_numpy())
    return Segment(names=list(numbers), codes=np.concatenate(parts))


def _rows_in_train(rows: Rows, column: str) -> Segment:
    train = pl.scan_parquet(rows.prepared.files("train"))
    counts = train.group_by(column).agg(pl.len()).collect(engine="streaming")
    parts = [
        values.to_frame(column)
        .join(counts, on=column, how="left", maintain_order="left")["len"]
        .fill_null(0)
        .to_numpy()
        for values in _read(rows, pl.col(column))
    ]
    return _ordered(np.concatenate(parts), _COUNTS)


def _binned(rows: Rows, value: pl.Expr, edges: Sequence[int]) -> Segment:
    return _ordered(np.concatenate([values.to_numpy() for values in _read(rows, value)]), edges)


def _ordered(values: np.ndarray, edges: Sequence[int]) -> Segment:
    """Whole numbers in the parts ``0``, ``1 to 4``, ``5 to 19``, ..., and the last edge or more."""
    names = ["0"]
    names += [f"{low} to {high - 1}" for low, high in pairwise(edges)]
    names.append(f"{edges[-1]:,} or more")
    return Segment(names=names, codes=np.digitize(values, edges).astype(np.int8), ordered=True)


def _shares(rows: Rows, share: pl.Expr) -> Segment:
    names = ["none", *(f"up to {100 * edge:g} %" for edge in _SHARES), f"more than {100 * _SHARES[-1]:g} %"]
    values = np.concatenate([part.to_numpy() for part in _read(rows, share)])
    # A share that is an edge belongs below it; the small step forgives rounding.
    codes = np.where(values > 0, 1 + np.searchsorted(np.array(_SHARES) + 1e-6, values, side="left"), 0)
    return Segment(names=names, codes=codes.astype(np.int8), ordered=True)


def _read(rows: Rows, value: pl.Expr) -> Iterator[pl.Series]:
    for path in rows.files:
        yield pl.scan_parquet(path).select(value).collect().to_series()
