"""One pass over some rows: everything that is counted of them, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.rawfile import ROW
from ctrgate.features.roles import label_column, seconds
from ctrgate.features.sources import Source
from ctrgate.validation.counts import Batch, ColumnCounts, Ints, Places
from ctrgate.validation.expectations import ColumnExpectation, Period
from ctrgate.validation.reference import BATCH_ROWS
from ctrgate.validation.tally import Tally
from ctrgate.validation.watched import Watched

__all__ = ["LabelCounts", "Profile", "Times", "profile", "repeated_rows"]

_STEP: Mapping[Period, str] = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}
_HASH, _TIME, _PERIOD, _USER, _TAKEN = "hash", "time", "period", "user", "taken"


@dataclass
class LabelCounts:
    """Rows with a label, and positive ones, by period."""

    num_rows: dict[int, int] = field(default_factory=dict)
    positives: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> tuple[int, int]:
        """Rows and positives of all periods."""
        return sum(self.num_rows.values()), sum(self.positives.values())


@dataclass
class Times:
    """When rows happened, and which of them happened when they should not.

    Args:
        since: The first second of the day, where it is known.
        until: The second after its last.
    """

    since: int | None
    until: int | None
    minutes: set[int] = field(default_factory=set)
    early: Places = field(default_factory=Places)
    late: Places = field(default_factory=Places)
    taken_later: Places = field(default_factory=Places)

    def longest_gap(self) -> tuple[float, int] | None:
        """The longest time without rows, in minutes, and the minute since 1970 it begins with; None without times.

        Times are taken by whole minutes. Where the day's ends are known, they count as rows and what lies outside does
        not.
        """
        if not self.minutes:
            return None
        marked = np.array(sorted(self.minutes), dtype=np.int64)
        if self.since is not None:
            before = self.since // 60 - 1
            marked = np.append(before, marked[marked > before])
        if self.until is not None:
            after = -(-self.until // 60)
            marked = np.append(marked[marked < after], after)
        gaps = np.diff(marked) - 1
        if not len(gaps):
            return 0.0, int(marked[0])
        widest = int(gaps.argmax())
        return float(gaps[widest]), int(marked[widest]) + 1


@dataclass
class Profile:
    """What was counted of some rows.

    Args:
        files: Rows by file.
        periods: Rows by period: its first second, or without a clock the file's number.
        columns: By name, those that are there in a type that can be read.
        labels: By name, in the dataset's order.
        times: None without a clock.
        hashes: Of whole rows.
        users: Of users; None where no column names them.
    """

    files: dict[str, int]
    periods: dict[int, int]
    columns: dict[str, ColumnCounts]
    labels: dict[str, LabelCounts]
    times: Times | None
    hashes: Tally
    users: Tally | None

    @property
    def num_rows(self) -> int:
        """All rows."""
        return sum(self.files.values())

    @property
    def effective_rows(self) -> float:
        """Kish's effective number of users, at most the rows: rows of one user are not independent draws."""
        return float(self.num_rows) if self.users is None else min(self.users.effective_number, float(self.num_rows))


def profile(
    dataset: DatasetConfig,
    sources: Sequence[Source],
    *,
    watched: Sequence[Watched],
    expected: Mapping[str, ColumnExpectation],
    period: Period | None,
    times: Times | None = None,
    features_at: str = "",
) -> Profile:
    """Count some rows.

    Args:
        dataset: What their columns mean.
        sources: The rows.
        watched: The columns to count; one that a file lacks or holds in an unfitting type is passed over there.
        expected: Their bins, ranges and domains; only columns that are in it are counted.
        period: What rows are grouped by; None groups them by file.
        times: Where the rows' times go; None leaves them unread.
        features_at: A column of the moments at which features were taken.
    """
    names = [label.name for label in dataset.labels]
    columns = {
        one.column: ColumnCounts(watched=one, expected=expected[one.column], num_labels=len(names))
        for one in watched
        if one.column in expected
    }
    users = Tally() if dataset.roles.group else None
    made = Profile({}, {}, columns, {name: LabelCounts() for name in names}, times, Tally(), users)
    for source in sources:
        made.files[str(source.path)] = 0
        read = [one.watched for one in columns.values() if _fits(one.watched, source.schema)]
        asked = [_hash_of(source), pl.col(ROW).cast(pl.Int64)]
        asked += [one.values(source.schema).alias(f"value:{one.column}") for one in read]
        asked += _labels(dataset, source.schema) + _moments(dataset, source, period=period, features_at=features_at)
        if users is not None and dataset.roles.group in source.schema:
            asked.append(pl.col(dataset.roles.group).hash().alias(_USER))
        with source.reading():
            rows = source.rows.select(asked)
            for frame in rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
                _take(made, frame, file=str(source.path), read=read)
    return made


def repeated_rows(source: Source, hashes: NDArray[np.uint64], *, known: set[int], count: int = 5) -> list[int]:
    """The first rows of a file whose hash is among some and was met before.

    Args:
        source: The file.
        hashes: Of rows that occur more than once, in rising order.
        known: Those met so far; grows.
        count: Most rows given.
    """
    found: list[int] = []
    with source.reading():
        asked = source.rows.select(_hash_of(source), ROW)
        for frame in asked.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
            values = frame[_HASH].to_numpy()
            for place in np.flatnonzero(np.isin(values, hashes)).tolist():
                if int(values[place]) in known:
                    found.append(int(frame[ROW][place]))
                    if len(found) == count:
                        return found
                known.add(int(values[place]))
    return found


def _take(made: Profile, frame: pl.DataFrame, *, file: str, read: Sequence[Watched]) -> None:
    """Count a batch of rows."""
    made.files[file] += frame.height
    periods = frame[_PERIOD].to_numpy()
    for period, count in zip(*np.unique(periods, return_counts=True), strict=True):
        made.periods[int(period)] = made.periods.get(int(period), 0) + int(count)
    labels = np.stack([_label(frame, name) for name in made.labels]) if made.labels else np.empty((0, frame.height))
    batch = Batch(file=file, rows=frame[ROW].to_numpy(), periods=periods, labels=labels.astype(np.int64))
    for one in read:
        made.columns[one.column].add(frame[f"value:{one.column}"], batch)
    for counts, label in zip(made.labels.values(), batch.labels, strict=True):
        for period in np.unique(periods[label >= 0]).tolist():
            here = label[periods == period]
            counts.num_rows[period] = counts.num_rows.get(period, 0) + int((here >= 0).sum())
            counts.positives[period] = counts.positives.get(period, 0) + int((here == 1).sum())
    made.hashes.add(frame[_HASH].to_numpy())
    if made.users is not None and _USER in frame.columns:
        made.users.add(frame[_USER].to_numpy())
    if made.times is not None:
        _take_times(made.times, frame, file=file, rows=batch.rows)


def _take_times(times: Times, frame: pl.DataFrame, *, file: str, rows: Ints) -> None:
    if _TIME not in frame.columns:
        return
    moments = frame[_TIME]
    times.minutes.update((moments.drop_nulls() // 60).unique().to_list())
    shown = pl.from_epoch(moments, time_unit="s")
    if times.since is not None:
        early = (moments < times.since).fill_null(False).to_numpy()
        times.early.add(early, rows=rows, values=shown, file=file)
    if times.until is not None:
        late = (moments >= times.until).fill_null(False).to_numpy()
        times.late.add(late, rows=rows, values=shown, file=file)
    if _TAKEN in frame.columns:
        later = (frame[_TAKEN] > moments).fill_null(False).to_numpy()
        times.taken_later.add(later, rows=rows, values=pl.from_epoch(frame[_TAKEN], time_unit="s"), file=file)


def _label(frame: pl.DataFrame, name: str) -> Ints:
    """1, 0, or -1 where it is missing."""
    column = f"label:{name}"
    if column not in frame.columns:
        return np.full(frame.height, -1, dtype=np.int64)
    return frame[column].fill_nan(-1.0).cast(pl.Int64).to_numpy()


def _labels(dataset: DatasetConfig, schema: pl.Schema) -> list[pl.Expr]:
    """The labels that can be read; what is neither 0 nor 1 counts as missing."""
    found = []
    for label in dataset.labels:
        kind = schema.get(label.source)
        if kind is None or (kind.is_numeric() or kind == pl.Boolean) == isinstance(label.equals, str):
            continue
        value = label_column(label, schema)
        found.append(pl.when(value.is_in([0.0, 1.0])).then(value).otherwise(float("nan")).alias(f"label:{label.name}"))
    return found


def _moments(dataset: DatasetConfig, source: Source, *, period: Period | None, features_at: str) -> list[pl.Expr]:
    """A row's time, its period and the time of its features, as far as the file tells them."""
    schema, clock = source.schema, dataset.roles.timestamp
    by_file = [pl.lit(source.number, dtype=pl.Int64).alias(_PERIOD)]
    if not (clock and _is_clock(schema.get(clock))):
        return by_file
    time = seconds(dataset, schema)
    found = [time.alias(_TIME)]
    if period is None:
        found += by_file
    else:
        start = pl.from_epoch(time, time_unit="s").dt.truncate(_STEP[period]).dt.epoch("s")
        found.append(start.fill_null(-1).alias(_PERIOD))
    if features_at and _is_clock(schema.get(features_at)):
        taken = dataclasses.replace(dataset, roles=dataclasses.replace(dataset.roles, timestamp=features_at))
        found.append(seconds(taken, schema).alias(_TAKEN))
    return found


def _is_clock(kind: pl.DataType | None) -> bool:
    return kind is not None and (kind.is_integer() or isinstance(kind, pl.Datetime | pl.Date))


def _fits(one: Watched, schema: pl.Schema) -> bool:
    kind = schema.get(one.column)
    return kind is not None and one.fits(kind)


def _hash_of(source: Source) -> pl.Expr:
    """A hash of the file's own columns; compared within this process alone, so it need not be stable."""
    return pl.struct(list(source.file.schema)).hash().alias(_HASH)
