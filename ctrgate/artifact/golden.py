"""Golden rows: raw rows made up from what an encoder has learnt, by which an artifact is checked on load."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from ctrgate.features.encoder import Encoder
from ctrgate.features.encodings import HashEncoding
from ctrgate.features.kinds.cross import Cross
from ctrgate.features.kinds.registry import Feature
from ctrgate.features.kinds.sequence import SequenceFeature
from ctrgate.features.raw_column import RawColumn
from ctrgate.features.statistics import Scaling
from ctrgate.features.tables import HashTable, IdentityTable, Table
from ctrgate.features.vocabulary import Vocabulary

__all__ = ["golden_rows"]

_Kind = Literal["int", "string", "float", "category", "list int", "list string", "list float"]
_NULL_SHARE = _UNKNOWN_SHARE = 0.1
_UNKNOWN_INT, _UNKNOWN_TEXT = 2**40, "golden-unknown"
_LONGEST_BAG = 5
_LARGEST = 2**63
_INNER: Mapping[_Kind, _Kind] = {"list int": "int", "list string": "string", "list float": "float"}
_LISTS: Mapping[_Kind, _Kind] = {inner: kind for kind, inner in _INNER.items()}
_DTYPES: Mapping[_Kind, pl.DataType] = {
    "int": pl.Int64(),
    "string": pl.String(),
    "float": pl.Float64(),
    "list int": pl.List(pl.Int64),
    "list string": pl.List(pl.String),
    "list float": pl.List(pl.Float64),
}


def golden_rows(encoder: Encoder, *, num_rows: int, seed: int) -> pl.DataFrame:
    """Rows that no user made: the first all null, the second all unknown, then values combined at random.

    Categories are drawn from the vocabularies, evenly; numbers spread as the train rows' did; one in ten of either is
    null, and one in ten categories was never seen. Columns for which scoring has a constant are left out.

    Args:
        encoder: What was learnt.
        num_rows: How many.
        seed: Decides every value.
    """
    draw = _Draw(encoder, np.random.default_rng(seed))
    rows = [draw.row(null_share=1.0, unknown_share=0.0), draw.row(null_share=0.0, unknown_share=1.0)]
    rows += [draw.row(null_share=_NULL_SHARE, unknown_share=_UNKNOWN_SHARE) for _ in range(num_rows - 2)]
    rows = rows[:num_rows]
    kinds = {name: _settled(wanted) for name, wanted in draw.kinds.items()}
    values = {name: [_held(row[name], kind) for row in rows] for name, kind in kinds.items()}
    return pl.DataFrame(values, schema={name: _DTYPES[kind] for name, kind in kinds.items()})


class _Draw:
    """Random raw values of an encoder's features."""

    def __init__(self, encoder: Encoder, random: np.random.Generator) -> None:
        self._encoder, self._random = encoder, random
        self._known = {name: _known(table) for name, table in encoder.tables.items()}
        self._null_share = self._unknown_share = 0.0
        self.kinds: dict[str, set[_Kind]] = {}
        for feature in encoder.features:
            for column, kind in self._kinds(feature):
                self.kinds.setdefault(column, set()).add(kind)

    def row(self, *, null_share: float, unknown_share: float) -> dict[str, object]:
        """One row; features take turns to decide the columns that several of them read."""
        self._null_share, self._unknown_share = null_share, unknown_share
        row: dict[str, object] = {}
        features = [self._encoder.features[number] for number in self._random.permutation(len(self._encoder.features))]
        # A hash knows no values: others that read its column come first.
        for feature in sorted(features, key=_is_hashed):
            if any(column not in row for column in feature.columns_read(scoring=True)):
                row = {**self._values(feature, row), **row}
        return row

    def _kinds(self, feature: Feature) -> Iterator[tuple[str, _Kind]]:
        """How a feature wants its columns to be."""
        for raw in feature.raw_columns(scoring=True):
            one = self._kind(raw)
            yield raw.column, _LISTS[one] if raw.is_list and not self._is_split(feature, raw) else one

    def _kind(self, raw: RawColumn) -> _Kind:
        """What a value is, alone or in a list."""
        if raw.holds != "category":
            return "int" if raw.holds == "flag" else "float"
        if not raw.table:
            return "category"
        return "int" if self._encoder.tables[raw.table].type == "int" else "string"

    def _is_split(self, feature: Feature, raw: RawColumn) -> bool:
        """Whether it is made up as text; lists that belong together are made up as lists, so that lengths agree."""
        return bool(raw.separator) and self._kind(raw) == "string" and not isinstance(feature, SequenceFeature)

    def _values(self, feature: Feature, row: Mapping[str, object]) -> dict[str, object]:
        """A value for each column of a feature, lists as long as those of its columns that the row has already."""
        if isinstance(feature, Cross):
            return dict(zip(feature.columns, self._crossed(feature), strict=True))
        read = feature.raw_columns(scoring=True)
        lengths = [len(held) for raw in read if isinstance(held := row.get(raw.column), list)]
        longest = feature.max_length + 2 if isinstance(feature, SequenceFeature) else _LONGEST_BAG
        num_values = lengths[0] if lengths else 0 if self._missing() else int(self._random.integers(longest + 1))
        return {raw.column: self._value(feature, raw, num_values=num_values) for raw in read}

    def _value(self, feature: Feature, raw: RawColumn, *, num_values: int) -> object:
        if not raw.is_list:
            return self._one(feature, raw)
        if raw.width:
            return self._maybe([self._number(feature, raw) for _ in range(raw.width)])
        entries = [self._one(feature, raw) for _ in range(num_values)]
        if self._is_split(feature, raw):
            return raw.separator.join(str(each or "") for each in entries)
        return entries

    def _one(self, feature: Feature, raw: RawColumn) -> object:
        """A value as it stands alone or in a list."""
        return self._category(raw.table) if raw.holds == "category" else self._maybe(self._number(feature, raw))

    def _category(self, table: str) -> int | str | None:
        """A value of a table: seen, never seen, or missing; any text where there is no table."""
        if self._missing():
            return None
        number = int(self._random.integers(1_000))
        if not table:
            return str(number)
        known = self._known[table]
        if known and self._random.random() >= self._unknown_share:
            return known[int(self._random.integers(len(known)))]
        return _UNKNOWN_INT + number if self._encoder.tables[table].type == "int" else f"{_UNKNOWN_TEXT}-{number}"

    def _crossed(self, feature: Cross) -> Sequence[str | None]:
        """The parts of a combination that was seen, or of none."""
        whole = self._category(feature.table)
        parts = [None for _ in feature.columns] if whole is None else feature.parts(str(whole))
        if len(parts) == len(feature.columns):
            return parts
        return [str(int(self._random.integers(1_000))) for _ in feature.columns]

    def _number(self, feature: Feature, raw: RawColumn) -> float:
        if raw.holds == "flag":
            return int(self._random.integers(2))
        if raw.scaling:
            return self._scaled(self._encoder.scalings[raw.scaling])
        boundaries = self._encoder.boundaries.get(feature.name, ())
        return feature.example(float(self._random.random()), boundaries=boundaries)

    def _scaled(self, scaling: Scaling) -> float:
        """A raw number that a scaling brings near its mean."""
        if scaling.transform == "minmax":
            return scaling.shift + scaling.scale * float(self._random.uniform(-0.1, 1.1))
        at = scaling.shift + scaling.scale * (scaling.missing + float(self._random.normal()))
        return math.copysign(math.expm1(min(abs(at), 50.0)), at) if scaling.transform == "log" else at

    def _maybe(self, value: object) -> object:
        return None if self._missing() else value

    def _missing(self) -> bool:
        return bool(self._random.random() < self._null_share)


def _is_hashed(feature: Feature) -> bool:
    encodings = [encoding for _, encoding in feature.tables()]
    return bool(encodings) and all(isinstance(encoding, HashEncoding) for encoding in encodings)


def _known(table: Table) -> list[int | str]:
    """The raw values that have rows of their own; none of a hash, whose values are not kept."""
    if isinstance(table, HashTable):
        return []
    if isinstance(table, IdentityTable):
        return list(range(table.size)) if table.type == "int" else [str(value) for value in range(table.size)]
    assert isinstance(table, Vocabulary)
    values = table.decode(table.entries["id"].drop_nulls()).drop_nulls()
    return values.to_list()


def _settled(kinds: set[_Kind]) -> _Kind:
    """The kind that suits every feature that reads a column: numbers serve as categories where they are whole."""
    scalar = kinds & {"int", "float", "category", "string"}
    if "string" in kinds or scalar == {"category"}:
        return "string"
    if scalar:
        return "float" if kinds == {"float"} else "int"
    return "list string" if "list string" in kinds else "list int" if "list int" in kinds else "list float"


def _held(value: object, kind: _Kind) -> object:
    """A value as a column of that kind holds it; None for what it cannot hold."""
    if kind.startswith("list"):
        inner = _INNER[kind]
        return [_held(each, inner) for each in value] if isinstance(value, list) else None
    if value is None or isinstance(value, list):
        return None
    if kind == "string":
        return str(value)
    try:
        number = float(str(value))
    except ValueError:
        return None
    whole = value if isinstance(value, int) else round(number)
    return number if kind == "float" else whole if abs(whole) < _LARGEST else None
