"""A table's vocabulary: which value has which row. Rows are only ever added, until a declared compaction."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.features.columns import KeyType
from ctrgate.features.encodings import Missing, VocabularyEncoding
from ctrgate.row_ids import FIRST_VALUE_ID, PADDING_ID, UNKNOWN_ID

__all__ = ["Vocabulary"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The values of one table, with their rows.

    Args:
        entries: One row per value that was ever seen (null is the missing value), in a canonical order:

            - ``value``: as text, integers too
            - ``count``: how often it was seen, over all fits; from 0 again once it is retired
            - ``id``: its row, from 2; null where it is not admitted, 0 where it was dropped for good
            - ``last_seen``: the number of the fit that saw it last
            - ``retired``: whether it keeps its row, but reads the unknown one
        type: What the values are.

    Example:
        >>> counts = pl.DataFrame({"value": ["b", "a", None, "c"], "count": [5, 5, 2, 1]})
        >>> seen = Vocabulary.empty("string").grow(counts, encoding=VocabularyEncoding(min_count=2), fit=0)
        >>> values = pl.Series(["a", "b", None, "c", "never seen"])
        >>> pl.select(seen.ids(pl.lit(values), missing="value")).to_series().to_list()
        [2, 3, 4, 1, 1]
    """

    entries: pl.DataFrame
    type: KeyType

    SCHEMA: ClassVar = pl.Schema(
        {"value": pl.String, "count": pl.Int64, "id": pl.Int64, "last_seen": pl.Int32, "retired": pl.Boolean}
    )

    @classmethod
    def empty(cls, type: KeyType) -> Vocabulary:
        """A vocabulary before its first fit."""
        return cls(pl.DataFrame(schema=cls.SCHEMA), type)

    @property
    def num_rows(self) -> int:
        """Rows of the table, padding and unknown included."""
        return int(self.entries.select(pl.max_horizontal(pl.col("id").max(), UNKNOWN_ID)).item()) + 1

    def grow(self, counts: pl.DataFrame, *, encoding: VocabularyEncoding, fit: int) -> Vocabulary:
        """Add what a new fit has counted; no value that has a row ever moves.

        Values are admitted once they were seen ``min_count`` times in all, the most frequent first and equal ones in
        rising order (missing, then numbers by size, text by its bytes), as long as fewer than ``max_size`` live. A
        retired value that is frequent again gets its old row back.

        Args:
            counts: Columns ``value`` (text) and ``count``, values distinct.
            encoding: The rules.
            fit: The number of this fit, from 0.
        """
        entries = _seen(self.entries, counts, fit)
        if encoding.retire_after is not None:
            gone = pl.lit(fit) - pl.col("last_seen") > encoding.retire_after
            listed = pl.col("id").is_not_null()
            retiring = gone & (pl.col("id") >= FIRST_VALUE_ID)
            entries = entries.filter(listed | ~gone).with_columns(
                retired=pl.col("retired") | retiring, count=pl.when(retiring).then(0).otherwise(pl.col("count"))
            )
        waiting = (pl.col("id").is_null() | pl.col("retired")) & (pl.col("count") >= encoding.min_count)
        admitted = entries.filter(waiting).sort("count", *self._order(), descending=[True, False, False])
        if encoding.max_size is not None:
            live = entries.filter((pl.col("id") >= FIRST_VALUE_ID) & ~pl.col("retired")).height
            admitted = admitted.head(max(0, encoding.max_size - live))
        next_id = Vocabulary(entries, self.type).num_rows
        given = pl.col("id").fill_null(next_id - 1 + pl.col("id").is_null().cast(pl.Int64).cum_sum())
        admitted = admitted.with_columns(id=given, retired=pl.lit(False))
        others = entries.join(admitted.select("value"), on="value", how="anti", nulls_equal=True)
        return Vocabulary(pl.concat([admitted, others]), self.type)._canonical()

    def compact(self, *, dropped: Collection[int] = ()) -> tuple[Vocabulary, NDArray[np.int64]]:
        """Give up the rows of retired and of dropped values and close the gaps.

        Args:
            dropped: Rows whose values read padding, and so nothing, from now on.

        Returns:
            The new vocabulary, and for each of its rows the row it had.
        """
        is_dropped = pl.col("id").is_in(pl.Series(sorted(dropped), dtype=pl.Int64).implode())
        entries = self.entries.with_columns(
            id=pl.when(is_dropped).then(PADDING_ID).when(~pl.col("retired")).then(pl.col("id")),
            retired=pl.lit(False),
        )
        old = np.sort(entries.filter(pl.col("id") >= FIRST_VALUE_ID)["id"].to_numpy())
        new = pl.col("id").replace(pl.Series(old), pl.int_range(FIRST_VALUE_ID, FIRST_VALUE_ID + len(old), eager=True))
        rows = np.concatenate([np.arange(FIRST_VALUE_ID), old])
        return Vocabulary(entries.with_columns(id=new), self.type)._canonical(), rows

    def ids(self, values: pl.Expr, *, missing: Missing) -> pl.Expr:
        """The rows that values read; works on whole columns and, by ``list.eval``, on lists.

        The text of a value is cast to an Enum of the texts that have rows, which is one look-up in a hash table that
        is built once; what it does not list becomes null, then unknown.
        """
        rows = self.entries.filter(pl.col("id") >= FIRST_VALUE_ID)
        texts = rows["value"].drop_nulls()
        dropped = self.entries.filter(pl.col("id") == PADDING_ID)["value"].drop_nulls()
        place = values.cast(pl.String).cast(pl.Enum(pl.concat([texts, dropped])), strict=False).to_physical()
        ids = place.cast(pl.Int64) + FIRST_VALUE_ID
        null_row = rows.filter(pl.col("value").is_null())["id"]
        if len(null_row):  # the missing value has a row, but no place in the Enum
            ids = ids + (ids >= null_row.item()).cast(pl.Int64)
        if len(dropped):
            ids = pl.when(place >= len(texts)).then(PADDING_ID).otherwise(ids)
        retired = rows.filter("retired")["id"]
        if len(retired):
            ids = ids.replace(retired, UNKNOWN_ID)
        return pl.when(values.is_null()).then(self._missing_row(missing)).otherwise(ids.fill_null(UNKNOWN_ID))

    def decode(self, ids: pl.Series) -> pl.Series:
        """The raw values of rows; null for padding, unknown, the missing value and rows beyond the table."""
        rows = self.entries.filter((pl.col("id") >= FIRST_VALUE_ID) & pl.col("value").is_not_null())
        values = ids.cast(pl.Int64).replace_strict(rows["id"], rows["value"], default=None, return_dtype=pl.String)
        if self.type != "int":
            return values
        whole = values.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == values.null_count() else values.cast(pl.UInt64)

    def digest(self) -> str:
        """A hash of the contents, indifferent to how a file holds them."""
        hasher = hashlib.sha256(self.type.encode())
        value = self.entries["value"]
        for column in (value.str.len_bytes().cast(pl.Int64), *self.entries.drop("value").cast(pl.Int64)):
            hasher.update(column.fill_null(-1).to_numpy().astype("<i8").tobytes())
        hasher.update(value.str.join("").item().encode())
        return hasher.hexdigest()

    def _missing_row(self, missing: Missing) -> int:
        if missing == "zero":
            return PADDING_ID
        row = self.entries.filter(pl.col("value").is_null())
        if missing == "unknown" or row.height == 0 or row["id"].item() is None or row["retired"].item():
            return UNKNOWN_ID
        return int(row["id"].item())

    def _order(self) -> tuple[pl.Expr, pl.Expr]:
        """Sort keys of values: null, then integers by size or text by its bytes."""
        value = pl.col("value").cast(pl.Int128) if self.type == "int" else pl.col("value")
        return value.is_not_null(), value

    def _canonical(self) -> Vocabulary:
        entries = self.entries.select(self.SCHEMA.names()).sort("id", *self._order(), nulls_last=True)
        return Vocabulary(entries, self.type)


def _seen(entries: pl.DataFrame, counts: pl.DataFrame, fit: int) -> pl.DataFrame:
    """Entries with new counts added and new values listed."""
    joined = entries.join(
        counts.select("value", new=pl.col("count")), on="value", how="full", coalesce=True, nulls_equal=True
    )
    return joined.select(
        "value",
        (pl.col("count").fill_null(0) + pl.col("new").fill_null(0)).alias("count"),
        "id",
        pl.when(pl.col("new") > 0).then(pl.lit(fit, dtype=pl.Int32)).otherwise(pl.col("last_seen")).alias("last_seen"),
        pl.col("retired").fill_null(False),
    )
