"""The tables whose rows features read: a vocabulary, hash buckets, or integers as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import polars as pl

from ctrgate.errors import ConfigError
from ctrgate.features.columns import KeyType
from ctrgate.features.encodings import Encoding, HashEncoding, Missing, VocabularyEncoding
from ctrgate.features.hashing import hash_column, hash_text
from ctrgate.features.vocabulary import Vocabulary
from ctrgate.row_ids import FIRST_VALUE_ID, PADDING_ID, UNKNOWN_ID

__all__ = ["HashTable", "IdentityTable", "Table", "decode", "fit_table", "from_json", "to_json"]


@dataclass(frozen=True, kw_only=True)
class _FixedTable(ABC):
    """A table whose values have their rows before anything is counted; a row for missing values is added behind."""

    kind: ClassVar[str]
    size: int
    type: KeyType
    has_missing: bool = False

    @property
    def num_rows(self) -> int:
        """Rows of the table, padding and unknown included."""
        return FIRST_VALUE_ID + self.size + self.has_missing

    def ids(self, values: pl.Expr, *, missing: Missing) -> pl.Expr:
        """The rows that values read."""
        row = PADDING_ID if missing == "zero" else UNKNOWN_ID
        if missing == "value" and self.has_missing:
            row = FIRST_VALUE_ID + self.size
        ids = (self._places(values) + FIRST_VALUE_ID).fill_null(UNKNOWN_ID)
        return pl.when(values.is_null()).then(row).otherwise(ids)

    @abstractmethod
    def _places(self, values: pl.Expr) -> pl.Expr:
        """Places from 0 for values that have one, null for others."""


@dataclass(frozen=True, kw_only=True)
class HashTable(_FixedTable):
    """Row ``2 + xxh64(value) mod size``, with XXH64's seed taken from the salt."""

    kind: ClassVar[str] = "hash"
    salt: str

    def _places(self, values: pl.Expr) -> pl.Expr:
        seed = hash_text(self.salt)

        def bucket(column: pl.Series) -> pl.Series:
            return (hash_column(column, seed=seed) % self.size).cast(pl.Int64)

        return values.map_batches(bucket, return_dtype=pl.Int64, is_elementwise=True)


@dataclass(frozen=True, kw_only=True)
class IdentityTable(_FixedTable):
    """Row ``2 + value`` for the integers 0 to ``size - 1``."""

    kind: ClassVar[str] = "identity"

    def _places(self, values: pl.Expr) -> pl.Expr:
        whole = values.cast(pl.Int64, strict=False)
        return pl.when(whole.is_between(0, self.size - 1)).then(whole)


Table = Vocabulary | HashTable | IdentityTable


def fit_table(
    name: str,
    *,
    encoding: Encoding,
    type: KeyType,
    counts: pl.DataFrame,
    fit: int,
    previous: Table | None,
) -> Table:
    """A table that knows what was counted; one that was fitted before only grows.

    Args:
        name: The table's name, the default salt of a hash.
        encoding: How values get their rows.
        type: What the values are.
        counts: Columns ``value`` (text; null is missing) and ``count``; fixed tables look at the missing value alone.
        fit: The number of this fit, from 0.
        previous: The table of the fit before.
    """
    if isinstance(encoding, VocabularyEncoding):
        known = replace(previous, type=type) if isinstance(previous, Vocabulary) else Vocabulary.empty(type)
        return known.grow(counts, encoding=encoding, fit=fit)
    has_missing = counts["value"].null_count() > 0
    if isinstance(previous, HashTable | IdentityTable):
        return replace(previous, type=type, has_missing=previous.has_missing or has_missing)
    if isinstance(encoding, HashEncoding):
        salt = encoding.salt or name
        return HashTable(size=encoding.num_buckets, type=type, has_missing=has_missing, salt=salt)
    return IdentityTable(size=encoding.num_values, type=type, has_missing=has_missing)


def decode(table: Table, ids: pl.Series, *, feature: str) -> pl.Series:
    """The raw values of rows; null for padding, unknown, the missing value and rows beyond the table.

    Raises:
        ConfigError: For a hashed feature, whose values cannot be told from their buckets.
    """
    if isinstance(table, HashTable):
        raise ConfigError(f"{feature} is hashed, so its rows cannot be decoded; encode it by a vocabulary")
    if isinstance(table, Vocabulary):
        return table.decode(ids)
    values = ids.cast(pl.Int64) - FIRST_VALUE_ID
    return values.set(~values.is_between(0, table.size - 1), None)


def to_json(table: HashTable | IdentityTable) -> dict[str, Any]:
    """A fixed table as plain values."""
    values = {"kind": table.kind, "size": table.size, "type": table.type, "has_missing": table.has_missing}
    return values | ({"salt": table.salt} if isinstance(table, HashTable) else {})


def from_json(values: Mapping[str, Any]) -> HashTable | IdentityTable:
    """The inverse of ``to_json``."""
    kinds: dict[str, Any] = {"hash": HashTable, "identity": IdentityTable}
    plain = dict(values)
    table: HashTable | IdentityTable = kinds[plain.pop("kind")](**plain)
    return table
