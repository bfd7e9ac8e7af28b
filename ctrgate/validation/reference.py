"""The bins that later days are compared by: quantiles of numbers, the most frequent categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ctrgate.features.sources import Source
from ctrgate.features.statistics import SKETCH_POINTS, compress, quantiles
from ctrgate.validation.expectations import Bins, ColumnExpectation
from ctrgate.validation.watched import Watched, type_name

__all__ = ["BATCH_ROWS", "reference_bins"]

BATCH_ROWS = 1 << 16
_MOST_VALUES = 1 << 16
_MOST_POINTS = 64 * SKETCH_POINTS
_OFTEN = 5  # a value seen less often than this says that others were not seen yet


def reference_bins(
    watched: Sequence[Watched], sources: Sequence[Source], *, num_bins: int, num_top: int, max_domain: int
) -> dict[str, ColumnExpectation]:
    """Types, bins, top categories and closed domains of all columns, without shares or limits; one pass.

    Memory holds at most 65,536 values of a column. Beyond, the rarest are given up (Misra and Gries 1982, merged as in
    Agarwal et al. 2012): every value that makes up more than 1/65,536 of the rows is still found.

    Args:
        watched: The columns.
        sources: The reference's rows.
        num_bins: Most bins of numbers.
        num_top: Most categories that are kept by name.
        max_domain: Most categories of a closed list; it is one only where each was seen five times or more.
    """
    sketches = {one.column: _Sketch() for one in watched if one.content in ("number", "numbers")}
    counters = {one.column: _Frequent() for one in watched if one.content in ("category", "categories")}
    for source in sources:
        read = [one for one in watched if one.content != "other"]
        columns = [one.values(source.schema).alias(one.column) for one in read]
        if not columns:
            continue
        with source.reading():
            rows = source.rows.select(columns)
            # in order, so that what is given up is the same each time
            for batch in rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
                for one in read:
                    values = batch[one.column]
                    if values.dtype == pl.List:
                        values = values.explode(empty_as_null=False, keep_nulls=False)
                    (sketches.get(one.column) or counters[one.column]).add(values.drop_nulls())
    types = _types(watched, sources)
    found = {}
    for one in watched:
        bins = sketches[one.column].bins(num_bins) if one.column in sketches else None
        top, domain = None, None
        if one.column in counters:
            top = dict.fromkeys(counters[one.column].top(num_top), 0.0)
            domain = counters[one.column].domain(max_domain)
        found[one.column] = ColumnExpectation(type=types[one.column], bins=bins, top=top, domain=domain)
    return found


def _types(watched: Sequence[Watched], sources: Sequence[Source]) -> Mapping[str, str]:
    """The first type seen of each column that is more than null."""
    return {
        one.column: next((name for name in (type_name(source.schema[one.column]) for source in sources) if name), "")
        for one in watched
    }


@dataclass
class _Frequent:
    """Counts of the most frequent values."""

    known: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"value": pl.String, "count": pl.Int64}))
    pending: list[pl.DataFrame] = field(default_factory=list)
    waiting: int = 0
    trimmed: bool = False

    def add(self, values: pl.Series) -> None:
        counted = values.rename("value").value_counts(name="count").cast({"count": pl.Int64})
        self.pending.append(counted)
        self.waiting += counted.height
        if self.waiting > _MOST_VALUES:
            self._settle()

    def top(self, count: int) -> list[str]:
        self._settle()
        return self.known.sort(["count", "value"], descending=[True, False])["value"].head(count).to_list()

    def domain(self, max_size: int) -> tuple[str, ...] | None:
        self._settle()
        closed = not self.trimmed and 0 < self.known.height <= max_size
        if not closed or int(self.known.select(pl.col("count").min()).item()) < _OFTEN:
            return None
        return tuple(self.known["value"].sort())

    def _settle(self) -> None:
        if self.pending:
            merged = pl.concat([self.known, *self.pending]).group_by("value").agg(pl.col("count").sum())
            if merged.height > _MOST_VALUES:
                given_up = merged["count"].top_k(_MOST_VALUES + 1).min()
                merged = merged.with_columns(pl.col("count") - given_up).filter(pl.col("count") > 0)
                self.trimmed = True
            self.known, self.pending, self.waiting = merged, [], 0


@dataclass
class _Sketch:
    """A quantile sketch with the least number."""

    parts: list[pl.DataFrame] = field(default_factory=list)
    least: float | None = None

    def add(self, values: pl.Series) -> None:
        finite = values.filter(values.is_finite()) + 0.0  # -0.0 becomes 0.0
        if len(finite):
            low = float(finite.min())  # type: ignore[arg-type]  # a number, as there are some
            self.least = low if self.least is None else min(self.least, low)
            counted = finite.rename("value").value_counts(name="weight").cast({"weight": pl.Int64})
            self.parts.append(compress(counted))
        if sum(part.height for part in self.parts) > _MOST_POINTS:
            self.parts = [compress(self._merged())]

    def bins(self, count: int) -> Bins | None:
        """None where there are no numbers."""
        if self.least is None:
            return None
        merged = self._merged()
        greatest = float(merged["value"].max())  # type: ignore[arg-type]
        upto = (*quantiles(merged, count=count), greatest)
        return Bins(start=self.least, upto=upto, shares=(0.0,) * len(upto))

    def _merged(self) -> pl.DataFrame:
        return pl.concat(self.parts).group_by("value").agg(pl.col("weight").sum()).sort("value")
