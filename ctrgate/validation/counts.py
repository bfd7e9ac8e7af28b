"""What is counted of one column: bins by period, values outside their range, bins by label for leaks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.features.hashing import hash_column
from ctrgate.validation.expectations import ColumnExpectation
from ctrgate.validation.watched import Watched

__all__ = ["HASHED", "Batch", "ColumnCounts", "Places", "bin_names", "reference_shares"]

Ints = NDArray[np.int64]

HASHED = 256
"""Buckets that categories are hashed to where a column is tried as a leak; one more holds the missing ones."""
_SHOWN = 5


@dataclass
class Places:
    """How many rows breach something, and the first of them: file, row, value."""

    count: int = 0
    first: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, where: NDArray[np.bool_], *, rows: Ints, values: pl.Series | None, file: str) -> None:
        """Take the rows where a mask is true.

        Shape:
            - where, rows: ``(n,)``
        """
        found = np.flatnonzero(where)
        self.count += len(found)
        for place in found[: _SHOWN - len(self.first)]:
            self.first.append((file, int(rows[place]), "" if values is None else str(values[int(place)])))

    @property
    def file(self) -> str:
        """The first row's file; empty of none."""
        return self.first[0][0] if self.first else ""

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows shown that lie in that file."""
        return tuple(dict.fromkeys(row for file, row, _ in self.first if file == self.file))

    @property
    def values(self) -> str:
        """The values shown, each once."""
        return ", ".join(dict.fromkeys(value for _, _, value in self.first))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of one file.

    Args:
        file: Its path.
        rows: Their numbers.
        periods: The period of each.
        labels: Per label 1, 0, or -1 where it is missing.

    Shape:
        - rows, periods: ``(n,)``
        - labels: ``(L, n)``
    """

    file: str
    rows: Ints
    periods: Ints
    labels: Ints


@dataclass
class ColumnCounts:
    """One column's counts over all batches.

    The bins of numbers are: below the reference, its bins, above it, missing; of categories: the top ones, all others,
    missing. Lists are counted by their entries, and have no bin for what is missing.

    Args:
        watched: The column.
        expected: Its bins, range and domain.
        num_labels: L.
    """

    watched: Watched
    expected: ColumnExpectation
    num_labels: int
    bins: dict[int, Ints] = field(default_factory=dict)
    num_rows: dict[int, int] = field(default_factory=dict)
    num_missing: dict[int, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    outside: Places = field(default_factory=Places)
    unlisted: Places = field(default_factory=Places)
    by_label: Ints = field(init=False)
    """``(L, 2, 2, B)``: per label, half of the rows and class, the rows in each bin (of categories: hash bucket)."""

    def __post_init__(self) -> None:
        size = HASHED + 1 if self.watched.content == "category" else self.num_bins
        self.by_label = np.zeros((self.num_labels, 2, 2, size), dtype=np.int64)

    @property
    def num_bins(self) -> int:
        """All bins, those of what the reference lacks included; 0 where no distribution is known."""
        if self.expected.bins is not None:
            return len(self.expected.bins.upto) + 3
        return len(self.expected.top) + 2 if self.expected.top is not None else 0

    @property
    def total_bins(self) -> Ints:
        """Of all periods together; ``(num_bins,)``."""
        return sum(self.bins.values(), start=np.zeros(self.num_bins, dtype=np.int64))

    def add(self, values: pl.Series, batch: Batch) -> None:
        """Count a batch's values, as ``Watched.values`` gives them."""
        if self.watched.content == "other":
            self._add_missing(~values.to_numpy(), batch)
            return
        rows, periods = batch.rows, batch.periods
        if values.dtype == pl.List:
            lengths = values.list.len().fill_null(0).to_numpy()
            self._add_missing(lengths == 0, batch)
            values = values.explode(empty_as_null=False, keep_nulls=False)
            present = values.is_not_null().to_numpy()
            rows, periods = np.repeat(rows, lengths)[present], np.repeat(periods, lengths)[present]
            values = values.drop_nulls()
        else:
            self._add_missing(values.is_null().to_numpy(), batch)
        is_number = self.watched.content in ("number", "numbers")
        bins = self._number_bins(values) if is_number else self._category_bins(values)
        if is_number:
            self._add_range(values, rows=rows, file=batch.file)
        elif self.expected.domain is not None:
            listed = pl.Series(self.expected.domain, dtype=pl.String)
            unlisted = (values.is_not_null() & ~values.is_in(listed.implode())).fill_null(False)
            self.unlisted.add(unlisted.to_numpy(), rows=rows, values=values, file=batch.file)
        if self.num_bins:
            self._add_bins(bins, periods)
        if self.watched.content in ("number", "category") and self.watched.features:
            self._add_by_label(values, bins, batch)

    def _add_missing(self, missing: NDArray[np.bool_], batch: Batch) -> None:
        for period in np.unique(batch.periods).tolist():
            here = batch.periods == period
            self.num_rows[period] = self.num_rows.get(period, 0) + int(here.sum())
            self.num_missing[period] = self.num_missing.get(period, 0) + int((missing & here).sum())

    def _number_bins(self, values: pl.Series) -> Ints:
        if self.expected.bins is None:
            return np.zeros(len(values), dtype=np.int64)
        numbers, known = values.to_numpy(), self.expected.bins
        bins = np.searchsorted(np.asarray(known.upto), numbers, side="left") + 1
        bins[numbers < known.start] = 0
        bins[values.is_null().to_numpy()] = self.num_bins - 1
        return bins.astype(np.int64)

    def _category_bins(self, values: pl.Series) -> Ints:
        top = list(self.expected.top or ())
        if not top:
            return np.where(values.is_null().to_numpy(), 1, 0).astype(np.int64)
        # one look-up in a hash table per value; what is not listed becomes null
        places = values.cast(pl.Enum(top), strict=False).to_physical().cast(pl.Int64).fill_null(len(top)).to_numpy()
        return np.where(values.is_null().to_numpy(), len(top) + 1, places).astype(np.int64)

    def _add_range(self, values: pl.Series, *, rows: Ints, file: str) -> None:
        present = values.drop_nulls()
        if len(present):
            low, high = float(present.min()), float(present.max())  # type: ignore[arg-type]
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)
        if self.expected.range is not None:
            limits = self.expected.range
            outside = ((values < limits.min) | (values > limits.max)).fill_null(False)
            self.outside.add(outside.to_numpy(), rows=rows, values=values, file=file)

    def _add_bins(self, bins: Ints, periods: Ints) -> None:
        for period in np.unique(periods).tolist():
            counted = np.bincount(bins[periods == period], minlength=self.num_bins)
            self.bins[period] = self.bins.get(period, 0) + counted

    def _add_by_label(self, values: pl.Series, bins: Ints, batch: Batch) -> None:
        if self.watched.content == "category":
            codes = values.unique()
            buckets = (hash_column(codes, seed=0) % HASHED).fill_null(HASHED)
            bins = values.replace_strict(codes, buckets, return_dtype=pl.Int64).to_numpy()
        # the top bit of a golden-ratio multiple: a fixed half of the rows whose pattern no label follows
        halves = ((batch.rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(63)).astype(np.int64)
        size = self.by_label.shape[-1]
        if not size:
            return
        for number, label in enumerate(batch.labels):
            known = label >= 0
            cells = (halves * 2 + label)[known] * size + bins[known]
            self.by_label[number] += np.bincount(cells, minlength=4 * size).reshape(2, 2, size)


def reference_shares(expected: ColumnExpectation) -> list[float]:
    """The reference's shares in the order of ``ColumnCounts.bins``."""
    if expected.bins is not None:
        return [0.0, *expected.bins.shares, 0.0, expected.missing]
    return [*(expected.top or {}).values(), expected.rest, expected.missing]


def bin_names(expected: ColumnExpectation) -> list[str]:
    """What each bin holds, in the order of ``ColumnCounts.bins``."""
    if expected.bins is not None:
        known = expected.bins
        ends = [f"up to {upto:.6g}" for upto in known.upto]
        return [f"below {known.start:.6g}", *ends, f"above {known.upto[-1]:.6g}", "missing"]
    return [*(expected.top or ()), "other values", "missing"]
