"""Gather from the rows of one file what the encoder needs to know of them, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.checks import check_columns
from ctrgate.features.columns import Key, KeyType, Number, number
from ctrgate.features.encodings import IdentityEncoding, VocabularyEncoding
from ctrgate.features.events import events, log_keys, log_numbers
from ctrgate.features.kinds.categorical import Categorical
from ctrgate.features.kinds.registry import Feature, table_encodings
from ctrgate.features.kinds.sequence import SequenceFeature, is_logged
from ctrgate.features.partial import Partial, agreed, features_json, summed
from ctrgate.features.statistics import Moments, compress, transformed

__all__ = ["observe"]

_BATCH_ROWS = 1 << 17
_PENDING_VALUES = 1 << 18
_COUNTS = pl.Schema({"value": pl.String, "count": pl.Int64})
_SKETCH = pl.Schema({"value": pl.Float64, "weight": pl.Int64})


def observe(features: Sequence[Feature], lazy: pl.LazyFrame, *, source: str = "the train rows") -> Partial:
    """Count and measure what the features need to know of some train rows, in batches.

    Memory holds the distinct values and a batch; the result depends on the rows and their order alone. Of histories
    that are built from the log, the rows' own events are looked at, each once, and not the lists that repeat them.

    Args:
        features: The features.
        lazy: The rows, joined and filtered.
        source: The file's name, for messages.

    Raises:
        SchemaError: Where columns are missing or hold what the features cannot read.
    """
    schema = lazy.collect_schema()
    check_columns(features, schema, source=source, log=True)
    gatherer = _Gatherer(features, schema, source=source)
    num_rows = 0
    if gatherer.columns:
        # batches of one size whatever the file's own cutting, so that sums of floats come out the same
        batches = lazy.select(gatherer.columns).collect_batches(
            chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming"
        )
        for batch in batches:
            num_rows += batch.height
            gatherer.take(batch.rechunk())
    else:
        num_rows = lazy.select(pl.len()).collect(engine="streaming").item()
    return Partial(
        features=features_json(features),
        num_rows=num_rows,
        types=gatherer.types,
        counts={table: counter.result() for table, counter in gatherer.counters.items()},
        moments={column: tuple(sorted(parts)) for column, parts in gatherer.moments.items()},
        sketches={name: sketch.result() for name, sketch in gatherer.sketches.items()},
    )


@dataclass
class _Counter:
    """How often each value was seen; merges what is pending whenever it outgrows what is known."""

    known: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_COUNTS))
    pending: list[pl.DataFrame] = field(default_factory=list)
    waiting: int = 0

    def add(self, values: pl.Series) -> None:
        counted = values.rename("value").value_counts(name="count")
        self.pending.append(pl.DataFrame([counted["value"].cast(pl.String), counted["count"].cast(pl.Int64)]))
        self.waiting += counted.height
        if self.waiting > max(_PENDING_VALUES, self.known.height):
            self._settle()

    def result(self) -> pl.DataFrame:
        self._settle()
        return self.known.sort("value")

    def _settle(self) -> None:
        merged = pl.concat([self.known, *self.pending]).group_by("value").agg(pl.col("count").sum())
        self.known, self.pending, self.waiting = merged, [], 0


@dataclass
class _Sketch:
    """A quantile sketch per batch, one below the other."""

    parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, values: pl.Series) -> None:
        present = pl.Series("value", values.drop_nulls().to_numpy() + 0.0)  # -0.0 becomes 0.0, as in Moments
        counted = present.value_counts(name="weight")
        self.parts.append(compress(counted.cast({"weight": pl.Int64})))

    def result(self) -> pl.DataFrame:
        return summed([pl.DataFrame(schema=_SKETCH), *self.parts], "weight")


class _Gatherer:
    """The columns to look at, and what is gathered from each."""

    def __init__(self, features: Sequence[Feature], schema: pl.Schema, *, source: str) -> None:
        self.columns: list[pl.Expr] = []
        self.types: dict[str, KeyType] = {}
        self.moments: dict[str, list[Moments]] = {}
        self.sketches: dict[str, _Sketch] = {}
        self._takers: list[Callable[[pl.Series], None]] = []
        self._source = source
        self._encodings = table_encodings(features)
        self.counters = {table: _Counter() for table in self._encodings}
        counted = dict.fromkeys(_counted(features), pl.lit(True))
        for feature in features:
            if is_logged(feature):
                self._observe_log(feature, schema, counted=counted)
                continue
            for key in feature.keys(schema):
                self._count(key)
            for each in feature.numbers(schema):
                self._measure(each)
            if feature.quantiles:
                self._sketch(feature)

    def take(self, batch: pl.DataFrame) -> None:
        """Gather from one batch of ``columns``."""
        for column, taker in zip(batch.get_columns(), self._takers, strict=True):
            taker(column)

    def _observe_log(
        self, group: SequenceFeature, schema: pl.Schema, *, counted: dict[tuple[str, str, bool], pl.Expr]
    ) -> None:
        """Look at the events of a log, each once: not at those that another feature counts for the same table."""
        happened = events(group, schema)
        for column, key in log_keys(group, schema):
            places = [(key.table, column, is_null) for is_null in (False, True)]
            known = (
                pl.when(key.values.is_null())
                .then(counted.get(places[1], False))
                .otherwise(counted.get(places[0], False))
            )
            self._count(key, where=happened & ~known)
            for place in places[: 2 if key.missing == "value" else 1]:
                counted[place] = counted.get(place, pl.lit(False)) | happened
        for each in log_numbers(group):
            self._measure(each, where=happened)

    def _watch(
        self,
        column: pl.Expr,
        taker: Callable[[pl.Series], None],
        *,
        is_list: bool = False,
        where: pl.Expr | None = None,
    ) -> None:
        def take_entries(values: pl.Series) -> None:
            taker(values.explode(empty_as_null=False))

        def take_marked(values: pl.Series) -> None:
            taker(values.struct.field("value").filter(values.struct.field("where")))

        column = column if where is None else pl.struct(column.alias("value"), where.alias("where"))
        self.columns.append(column.alias(str(len(self.columns))))
        self._takers.append(take_marked if where is not None else take_entries if is_list else taker)

    def _count(self, key: Key, *, where: pl.Expr | None = None) -> None:
        what = f"{self._source}: {key.column} reads the table {key.table}, which"
        self.types[key.table] = agreed(self.types.get(key.table, ""), key.type, what=what)
        encoding, counter = self._encodings[key.table], self.counters[key.table]
        if isinstance(encoding, IdentityEncoding) and key.type == "string":
            raise SchemaError(f"{self._source}: {key.column} takes integers as rows (identity), but it holds text")
        present, absent = isinstance(encoding, VocabularyEncoding), key.missing == "value"

        def count(values: pl.Series) -> None:
            counter.add(values if present and absent else values.filter(values.is_not_null() == present))

        if present or absent:
            self._watch(key.values, count, is_list=key.is_list, where=where)

    def _measure(self, read: Number, *, where: pl.Expr | None = None) -> None:
        parts = self.moments.setdefault(read.column, [])

        def measure(values: pl.Series) -> None:
            present = values.drop_nulls().to_numpy()
            if not np.isfinite(present).all():
                raise DataError(f"{self._source}: {read.column} has an infinite number; mend it or leave it empty")
            if len(present):
                parts.append(Moments.of(present))

        self._watch(_transformed_entries(read), measure, is_list=read.is_list, where=where)

    def _sketch(self, feature: Feature) -> None:
        sketch = self.sketches.setdefault(feature.name, _Sketch())
        self._watch(number(feature.columns_read()[0]), sketch.add)


def _counted(features: Sequence[Feature]) -> Iterator[tuple[str, str, bool]]:
    """What one value per row is counted for: the table, the column, and whether it is for missing values."""
    for feature in features:
        if isinstance(feature, Categorical):
            place = (feature.table, feature.source)
            yield (*place, False)
            if feature.missing == "value":
                yield (*place, True)


def _transformed_entries(read: Number) -> pl.Expr:
    """A number column after the part of its transform that needs no statistics."""
    if read.is_list:
        return read.values.list.eval(transformed(pl.element(), read.transform))
    return transformed(read.values, read.transform)
