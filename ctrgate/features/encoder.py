"""The fitted encoder: raw rows to model-ready columns, the same for training, evaluation and scoring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ctrgate.errors import ArtifactError, ConfigError, DataError, SchemaError
from ctrgate.features.checks import check_columns
from ctrgate.features.columns import Key, Number
from ctrgate.features.kinds.registry import Feature, Features, table_encodings
from ctrgate.features.layout import Field, SequenceGroup, id_tables
from ctrgate.features.learnt import boundaries_of, check_constants, scalings_of
from ctrgate.features.partial import Partial, features_json, merge
from ctrgate.features.rawfile import UNREADABLE
from ctrgate.features.statistics import Scaling
from ctrgate.features.tables import Table, decode, fit_table, from_json, to_json
from ctrgate.features.vocabulary import Vocabulary
from ctrgate.files import atomic_folder

__all__ = ["Encoder"]

_FORMAT_VERSION = 1
_FILE = "encoder.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """Features with all that they learnt from train rows.

    Args:
        features: In the dataset's order.
        tables: The tables they read, by name.
        scalings: Per encoded column of numbers.
        boundaries: Per feature with quantiles.
        fits: How many times it was fitted; more than once where it grew from day to day.

    Example:
        >>> from ctrgate.features.kinds.categorical import Categorical
        >>> from ctrgate.features.observe import observe
        >>> rows = pl.LazyFrame({"user": ["b", "a", "b"]})
        >>> encoder = Encoder.fit([Categorical(name="user")], [observe([Categorical(name="user")], rows)])
        >>> encoder.transform(pl.LazyFrame({"user": ["a", "b", "c"]})).collect()["user"].to_list()
        [3, 2, 1]
    """

    features: tuple[Feature, ...]
    tables: Mapping[str, Table]
    scalings: Mapping[str, Scaling]
    boundaries: Mapping[str, tuple[float, ...]]
    fits: int = 1

    @classmethod
    def fit(
        cls, features: Sequence[Feature], partials: Iterable[Partial], *, previous: Encoder | None = None
    ) -> Encoder:
        """Learn from what was observed in the train rows.

        With ``previous``, vocabularies grow by the rules of ``Vocabulary.grow`` and nothing else moves: scalings and
        quantiles stay, as the weights of a model that goes on training have learnt them.

        Args:
            features: The dataset's features.
            partials: One per file, in any order.
            previous: The encoder to grow from, of the same features.

        Raises:
            DataError: Where there are no train rows.
            ConfigError: Where the statistics, or the previous encoder, belong to other features.
        """
        seen = merge(partials)
        plain = features_json(features)
        if seen.features != plain:
            raise ConfigError("the statistics were gathered for other features; gather them anew")
        if seen.num_rows == 0:
            raise DataError("there are no train rows to fit the encoder on; see dataset.split and the files")
        if previous is not None and features_json(previous.features) != plain:
            raise ConfigError("the features differ from those of the encoder to grow from; fit a new one without it")
        number = previous.fits if previous else 0
        tables = {}
        for name, encoding in table_encodings(features).items():
            known = previous.tables[name] if previous else None
            type = seen.types[name] or (known.type if known else "")
            if known is not None and known.type not in ("", type):
                words = {"int": "integers", "string": "text"}
                raise SchemaError(
                    f"the table {name} has learnt {words[known.type]}, but these files hold {words[type]}; convert the "
                    "column, or fit an encoder of its own without prepare.previous"
                )
            counts = seen.counts[name]
            tables[name] = fit_table(name, encoding=encoding, type=type, counts=counts, fit=number, previous=known)
        boundaries = previous.boundaries if previous else boundaries_of(features, seen)
        check_constants(features, tables, boundaries=boundaries)
        return cls(
            features=tuple(features),
            tables=tables,
            scalings=previous.scalings if previous else scalings_of(features, seen),
            boundaries=boundaries,
            fits=number + 1,
        )

    def transform(self, lazy: pl.LazyFrame, *, keep: Sequence[str] = (), scoring: bool = False) -> pl.LazyFrame:
        """The encoded columns of some rows, in the rows' order and without nulls.

        Ids are int64, numbers float32, bags and sequences lists of these, vectors fixed-size lists of float32; see
        ``ctrgate.features.layout``. Values are checked by ``check_values``, not here: infinite numbers that are scaled
        become the greatest float32.

        Args:
            lazy: Raw rows.
            keep: Columns to pass on as they are.
            scoring: Whether rows are scored, so that ``when_scoring`` values stand for their columns.

        Raises:
            SchemaError: Where columns are missing or of a type that does not fit what was learnt.
        """
        schema = lazy.collect_schema()
        check_columns(self.features, schema, source="the table to encode", scoring=scoring)
        if absent := [column for column in keep if column not in schema]:
            raise SchemaError(f"the table to encode lacks columns {absent} to be kept; it has {schema.names()}.")
        encoded = [column for feature in self.features for column in self._encode(feature, schema, scoring=scoring)]
        names = [column.meta.output_name() for column in encoded]
        if taken := sorted(set(names) & set(keep)):
            raise SchemaError(f"the columns {taken} are to be kept, but encoded columns have these names; rename them")
        return lazy.with_columns(encoded).select(*names, *keep)

    def decode(self, feature: str, ids: pl.Series) -> pl.Series:
        """The raw values of a feature's ids (``GROUP/MEMBER`` in a sequence).

        Null for padding, unknown, missing and ids that the table does not have.

        Raises:
            ConfigError: Where the feature is hashed or has no ids.
        """
        table = self._tables_read().get(feature)
        if table is None:
            raise ConfigError(f"{feature} has no ids to decode; known are {', '.join(self._tables_read())}")
        return decode(self.tables[table], ids, feature=feature)

    def layout_parts(self) -> tuple[tuple[Field, ...], tuple[SequenceGroup, ...], dict[str, int]]:
        """Fields, sequences and rows per table, for ``Layout``."""
        fields = [field for feature in self.features for field in feature.fields()]
        groups = [group for feature in self.features for group in feature.groups()]
        return tuple(fields), tuple(groups), {name: table.num_rows for name, table in self.tables.items()}

    def compact(
        self, *, dropped: Mapping[str, Collection[int]] | None = None
    ) -> tuple[Encoder, dict[str, NDArray[np.int64]]]:
        """Give up retired rows, and dropped ones, of all vocabularies; afterwards ids mean something else.

        Args:
            dropped: Per table, rows whose values read padding from now on; vocabularies only.

        Returns:
            The new encoder and, per vocabulary, the row that each of its rows had before.
        """
        dropped = dropped or {}
        tables, rows = dict(self.tables), {}
        for name, table in self.tables.items():
            if isinstance(table, Vocabulary):
                tables[name], rows[name] = table.compact(dropped=dropped.get(name, ()))
        if others := sorted(set(dropped) - set(rows)):
            raise ConfigError(f"only rows of vocabularies can be dropped, not those of {', '.join(others)}")
        return replace(self, tables=tables), rows

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of all that was learnt and set; two encoders with one hash encode alike."""
        return hashlib.sha256(json.dumps(self._to_json(), sort_keys=True, allow_nan=False).encode()).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write ``encoder.json`` and a Parquet file per vocabulary; the folder appears whole or not at all."""
        with atomic_folder(folder) as temporary:
            values = {"hash": self.hash, **self._to_json()}
            (temporary / _FILE).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            for number, table in enumerate(self.tables.values()):
                if isinstance(table, Vocabulary):
                    table.entries.write_parquet(temporary / _vocabulary_file(number))

    @classmethod
    def load(cls, folder: str | Path) -> Encoder:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: Naming the file that is missing, damaged, changed, or of another format.
        """
        path = Path(folder) / _FILE
        values = _read_json(path)
        if values.get("format_version") != _FORMAT_VERSION:
            raise ArtifactError(
                f"{path} has format {values.get('format_version')!r}, this ctrgate reads {_FORMAT_VERSION}; "
                "prepare the dataset again, or use the ctrgate that wrote it"
            )
        try:
            encoder = cls(
                features=TypeAdapter(Features).validate_python(values["features"]),
                tables={
                    table["name"]: _read_table(Path(folder) / _vocabulary_file(number), table)
                    for number, table in enumerate(values["tables"])
                },
                scalings={column: Scaling(**scaling) for column, scaling in values["scalings"].items()},
                boundaries={name: tuple(cuts) for name, cuts in values["boundaries"].items()},
                fits=values["fits"],
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise ArtifactError(f"{path} is damaged: {error}; take it from the run or the artifact again") from error
        if encoder.hash != values.get("hash"):
            raise ArtifactError(f"{path} was changed after it was written; take it from the run or the artifact again")
        return encoder

    def _to_json(self) -> dict[str, Any]:
        tables = [
            {"name": name, "kind": "vocabulary", "type": table.type, "digest": table.digest()}
            if isinstance(table, Vocabulary)
            else {"name": name, **to_json(table)}
            for name, table in self.tables.items()
        ]
        return {
            "format_version": _FORMAT_VERSION,
            "fits": self.fits,
            "features": features_json(self.features),
            "tables": tables,
            "scalings": {column: vars(scaling) for column, scaling in self.scalings.items()},
            "boundaries": {name: list(cuts) for name, cuts in self.boundaries.items()},
        }

    def _encode(self, feature: Feature, schema: pl.Schema, *, scoring: bool) -> list[pl.Expr]:
        """A feature's encoded columns, in the order of its fields."""
        boundaries = self.boundaries.get(feature.name, ())
        ids = map(self._ids, feature.keys(schema, boundaries=boundaries, scoring=scoring))
        scaled = map(self._scaled, feature.numbers(schema, scoring=scoring))
        return [*ids, *scaled, *feature.unlearnt(schema, scoring=scoring)]

    def _ids(self, key: Key) -> pl.Expr:
        table = self.tables[key.table]
        if table.type and key.type and table.type != key.type:
            words = {"int": "integers", "string": "text"}
            raise SchemaError(
                f"{key.column} is {words[key.type]} in the table to encode, but was {words[table.type]} in the train "
                "rows; convert the column"
            )
        if not key.is_list:
            return table.ids(key.values, missing=key.missing).alias(key.column)
        return key.values.list.eval(table.ids(pl.element(), missing=key.missing)).alias(key.column)

    def _scaled(self, number: Number) -> pl.Expr:
        scaling = self.scalings[number.column]
        if not number.is_list:
            return scaling.apply(number.values).alias(number.column)
        return number.values.list.eval(scaling.apply(pl.element())).alias(number.column)

    def _tables_read(self) -> dict[str, str]:
        """The table of every encoded column of ids."""
        fields, groups, _ = self.layout_parts()
        return id_tables(fields, groups)


def _vocabulary_file(number: int) -> str:
    return f"vocabulary-{number:03}.parquet"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as an encoder: {error}") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} cannot be read as an encoder: it holds no JSON object")
    return values


def _read_table(path: Path, values: Mapping[str, Any]) -> Table:
    if values["kind"] != "vocabulary":
        return from_json({key: value for key, value in values.items() if key != "name"})
    try:
        entries = pl.read_parquet(path)
    except (OSError, *UNREADABLE) as error:
        raise ArtifactError(f"{path} cannot be read as a vocabulary: {error}") from error
    if entries.schema != Vocabulary.SCHEMA:
        raise ArtifactError(f"{path} is no vocabulary: it has the columns {dict(entries.schema)}")
    table = Vocabulary(entries, values["type"])
    if table.digest() != values["digest"]:
        raise ArtifactError(f"{path} was changed after it was written; take it from the run or the artifact again")
    return table
