"""Golden rows: raw rows made up from what an encoder has learnt, by which an artifact is checked on load."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from ctrgate.features.encoder import Encoder
from ctrgate.features.encodings import Boundaries, FloorLogSquared, HashEncoding
from ctrgate.features.kinds import (
    Bag,
    Bucketized,
    Categorical,
    CategoricalMember,
    Cross,
    Feature,
    Numeric,
    SequenceFeature,
    Vector,
    WeightedBag,
    columns_read,
)
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
            if any(column not in row for column in columns_read(feature, scoring=True)):
                row = {**self._values(feature, row), **row}
        return row

    def _kinds(self, feature: Feature) -> Iterator[tuple[str, _Kind]]:
        """How a feature wants its columns to be."""
        read = columns_read(feature, scoring=True)
        if isinstance(feature, Categorical):
            yield from ((column, self._kind(feature.table)) for column in read)
        elif isinstance(feature, Cross):
            yield from ((column, "category") for column in read)
        elif isinstance(feature, Bag) and feature.columns:
            yield from ((column, "int") for column in read)
        elif isinstance(feature, Bag | WeightedBag):
            is_int = self._kind(feature.table) == "int"
            separated = isinstance(feature, Bag) and feature.separator
            yield read[0], "list int" if is_int else "string" if separated else "list string"
            yield from ((column, "list float") for column in read[1:])
        elif isinstance(feature, SequenceFeature):
            for member, column in zip(feature.members, read, strict=True):
                if not isinstance(member, CategoricalMember):
                    yield column, "list float"
                    continue
                is_int = self._kind(feature.member_table(member)) == "int"
                yield column, "list int" if is_int else "list string"
        else:
            yield from ((column, "list float" if isinstance(feature, Vector) else "float") for column in read)

    def _kind(self, table: str) -> Literal["int", "string"]:
        return "int" if self._encoder.tables[table].type == "int" else "string"

    def _values(self, feature: Feature, row: Mapping[str, object]) -> dict[str, object]:
        """A value for each column of a feature, as long as those of its columns that the row has already."""
        read = columns_read(feature, scoring=True)
        if isinstance(feature, Categorical):
            return {read[0]: self._category(feature.table)}
        if isinstance(feature, Cross):
            return dict(zip(read, self._crossed(feature), strict=True))
        if isinstance(feature, Bag) and feature.columns:
            return {column: self._maybe(int(self._random.integers(2))) for column in read}
        if isinstance(feature, Vector):
            return {read[0]: self._maybe([float(each) for each in self._random.normal(size=feature.width)])}
        if isinstance(feature, Bag | WeightedBag | SequenceFeature):
            return self._lists(feature, row)
        return {read[0]: self._maybe(self._number(feature))}

    def _lists(self, feature: Bag | WeightedBag | SequenceFeature, row: Mapping[str, object]) -> dict[str, object]:
        longest = feature.max_length + 2 if isinstance(feature, SequenceFeature) else _LONGEST_BAG
        lengths = [len(row[column]) for column in columns_read(feature) if isinstance(row.get(column), list)]  # type: ignore[arg-type]
        num_values = lengths[0] if lengths else 0 if self._missing() else int(self._random.integers(longest + 1))
        places = range(num_values)
        if isinstance(feature, SequenceFeature):
            found: dict[str, object] = {}
            for member in feature.members:
                column = feature.list_column(member)
                if isinstance(member, CategoricalMember):
                    found[column] = [self._category(feature.member_table(member)) for _ in places]
                else:
                    scaling = self._encoder.scalings[feature.encoded_column(member)]
                    found[column] = [self._maybe(self._scaled(scaling)) for _ in places]
            return found
        entries = [self._category(feature.table) for _ in places]
        if isinstance(feature, WeightedBag):
            weights = [self._maybe(float(weight)) for weight in self._random.uniform(0.5, 2, size=num_values)]
            return {feature.source: entries, feature.weights: weights}
        if feature.separator and self._kind(feature.table) == "string":
            return {feature.source: feature.separator.join(str(each or "") for each in entries)}
        return {feature.source: entries}

    def _category(self, table: str) -> int | str | None:
        """A value of a table: seen, never seen, or missing."""
        if self._missing():
            return None
        known, number = self._known[table], int(self._random.integers(1_000))
        if known and self._random.random() >= self._unknown_share:
            return known[int(self._random.integers(len(known)))]
        return _UNKNOWN_INT + number if self._kind(table) == "int" else f"{_UNKNOWN_TEXT}-{number}"

    def _crossed(self, feature: Cross) -> Sequence[str | None]:
        """The parts of a combination that was seen, or of none."""
        whole = self._category(feature.table)
        parts = [None for _ in feature.columns] if whole is None else _uncrossed(str(whole))
        if len(parts) == len(feature.columns):
            return parts
        return [str(int(self._random.integers(1_000))) for _ in feature.columns]

    def _number(self, feature: Numeric | Bucketized) -> float:
        if isinstance(feature, Numeric):
            return self._scaled(self._encoder.scalings[feature.name])
        if isinstance(feature.buckets, FloorLogSquared):
            return round(math.exp(self._random.uniform(0, 8))) - 2.0
        fitted = feature.buckets.values if isinstance(feature.buckets, Boundaries) else None
        boundaries = fitted or self._encoder.boundaries.get(feature.name) or (0.0,)
        spread = boundaries[-1] - boundaries[0] or 1.0
        return float(self._random.uniform(boundaries[0] - spread / 2, boundaries[-1] + spread / 2))

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
    return isinstance(feature, Categorical | Cross | Bag | WeightedBag) and isinstance(feature.encoding, HashEncoding)


def _known(table: Table) -> list[int | str]:
    """The raw values that have rows of their own; none of a hash, whose values are not kept."""
    if isinstance(table, HashTable):
        return []
    if isinstance(table, IdentityTable):
        return list(range(table.size)) if table.type == "int" else [str(value) for value in range(table.size)]
    assert isinstance(table, Vocabulary)
    values = table.decode(table.entries["id"].drop_nulls()).drop_nulls()
    return values.to_list()


def _uncrossed(text: str) -> Sequence[str | None]:
    """The parts of a cross: ``|`` between them, ``\\`` before a plain ``|`` or ``\\``, ``\\N`` for a missing one."""
    parts = re.findall(r"(?:^|\|)((?:\\.|[^\\|])*)", text, re.DOTALL)
    return [None if part == r"\N" else re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts]


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
