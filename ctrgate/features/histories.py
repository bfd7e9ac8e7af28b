"""Histories from a log: for each row, what its user did strictly before it, as list columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.events import event_values, events
from ctrgate.features.hashing import hash_column
from ctrgate.features.kinds.sequence import SequenceFeature, is_logged
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import Source
from ctrgate.features.timeline import PLACE, TIME, USER, first_of_run, in_order, is_timed, num_rows, timed_rows

__all__ = ["histories"]

_EVENT = "time:event"
_PARTITION_ROWS = 1 << 23
_BATCH_ROWS = 1 << 17


def histories(
    dataset: DatasetConfig,
    sources: Sequence[Source],
    *,
    asked: Sequence[Source] = (),
    scratch: Path,
    partition_rows: int = _PARTITION_ROWS,
) -> list[list[pl.Expr]]:
    """For each file, the columns ``GROUP/MEMBER`` of the features that are built from the log.

    A row's history holds the events among its user's rows in all files that came before it, the oldest first, cut to
    the last ``max_length``: by ``roles.timestamp`` in whole seconds, else by ``roles.order``, else by the order of
    files and rows. Rows of the same time follow ``dataset.same_second``; those that are seen are in the order of files.
    A row without a user or a time has an empty history and is no event; rows that ``negative_sampling_rate`` leaves out
    of train are events like others, as they happened.

    Up to ``partition_rows`` rows are sorted in memory; where there are more, they are parted by a hash of their users
    and sorted part by part, and events and places wait in ``scratch``, which must stay there as long as the columns
    are read. The lists themselves are made as their rows are read.

    Args:
        dataset: The features, and the roles that tell user and time.
        sources: The files, each with the column ``ROW`` in its rows, and checked by ``check_columns``.
        asked: Files whose rows get histories and are no events, told after those of the log; they need the user alone,
            and without a time they come after all events.
        scratch: A folder for large logs.
        partition_rows: About how many rows are sorted at once.
    """
    groups = list(filter(is_logged, dataset.features))
    columns: list[list[pl.Expr]] = [[] for _ in (*sources, *asked)]
    counts = num_rows([*sources, *asked]) if groups else []
    for number, group in enumerate(groups):
        log = _Log(dataset, group, sources, asked=asked, counts=counts)
        ranges = _built(log, scratch=scratch / f"log-{number}", num_parts=-(-sum(counts) // partition_rows))
        for place, start in enumerate(log.starts):
            columns[place] += ranges.columns(start)
    return columns


class _Log:
    """The rows of all files, as far as one feature looks at them."""

    def __init__(
        self,
        dataset: DatasetConfig,
        group: SequenceFeature,
        sources: Sequence[Source],
        *,
        asked: Sequence[Source],
        counts: Sequence[int],
    ) -> None:
        self.dataset, self.group = dataset, group
        self.starts = [int(start) for start in np.cumsum([0, *counts[:-1]])]
        self.num_rows = sum(counts)
        self._sources, self._num_logged = [*sources, *asked], len(sources)
        frames = [frame.clear().collect() for frame in self._frames()]
        self.schema = pl.concat(frames, how="vertical_relaxed").schema
        self.values = [group.encoded_column(member) for member in group.members]

    def rows(self) -> Iterator[pl.DataFrame]:
        """User, time, place, whether it is an event, and the members' values, batch by batch."""
        for source, frame in zip(self._sources, self._frames(), strict=True):
            with source.reading():
                for batch in frame.collect_batches(chunk_size=_BATCH_ROWS):
                    yield batch.cast(self.schema)

    def _frames(self) -> Iterator[pl.LazyFrame]:
        for number, (source, start) in enumerate(zip(self._sources, self.starts, strict=True)):
            timed = timed_rows(self.dataset, source.schema, start=start)
            if number < self._num_logged:
                happened, values = events(self.group, source.schema), event_values(self.group, source.schema)
            else:
                happened = pl.lit(False)
                values = [pl.lit(None).alias(self.group.encoded_column(member)) for member in self.group.members]
            yield source.rows.select(*timed, happened.alias(_EVENT), *values)


@dataclass(frozen=True)
class _Ranges:
    """For each row, which events its history holds: those of one part from ``firsts`` on.

    Args:
        firsts: Counted through the events of all parts, which are in the order of users and time.
        lengths: How many.
        parts: The events of each part.
        bounds: How many events there are before each part.
    """

    firsts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    parts: list[pl.DataFrame]
    bounds: NDArray[np.int64]

    def columns(self, start: int) -> list[pl.Expr]:
        """The list columns of the file whose first row has this place."""
        return [
            pl.col(ROW)
            .map_batches(partial(self._lists, start=start, name=name), return_dtype=pl.List(kind), is_elementwise=True)
            .alias(name)
            for name, kind in self.parts[0].schema.items()
        ]

    def _lists(self, rows: pl.Series, *, start: int, name: str) -> pl.Series:
        places = rows.to_numpy().astype(np.int64) + start
        firsts, lengths = self.firsts[places], self.lengths[places]
        owners = np.searchsorted(self.bounds, firsts, side="right") - 1
        pieces, order = [], []
        for owner in np.unique(owners):
            chosen = np.flatnonzero(owners == owner)
            pieces.append(_sliced(self.parts[owner][name], firsts[chosen] - self.bounds[owner], lengths[chosen]))
            order.append(chosen)
        if not pieces:
            return pl.Series(name, [], dtype=pl.List(self.parts[0].schema[name]))
        back = np.argsort(np.concatenate(order))
        return pl.concat(pieces).gather(back) if len(pieces) > 1 else pieces[0]


def _sliced(values: pl.Series, firsts: NDArray[np.int64], lengths: NDArray[np.int32]) -> pl.Series:
    """A list per row: so many values from the first one on."""
    ends = np.cumsum(lengths, dtype=np.int64)
    bounds = np.concatenate([[0], ends])
    places = np.arange(bounds[-1]) + np.repeat(firsts - bounds[:-1], lengths)
    flat = values.gather(places).to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.Series(values.name, pa.LargeListArray.from_arrays(pa.array(bounds), flat))


def _built(log: _Log, *, scratch: Path, num_parts: int) -> _Ranges:
    firsts, lengths = np.zeros(log.num_rows, dtype=np.int64), np.zeros(log.num_rows, dtype=np.int32)
    if num_parts <= 1:
        parts = [
            _settled(
                log, pl.concat([pl.DataFrame(schema=log.schema), *log.rows()]), firsts=firsts, lengths=lengths, bound=0
            )
        ]
    else:
        scratch.mkdir(parents=True)
        firsts = np.memmap(scratch / "firsts", dtype=np.int64, mode="w+", shape=(log.num_rows,))
        lengths = np.memmap(scratch / "lengths", dtype=np.int32, mode="w+", shape=(log.num_rows,))
        parts, bound = [], 0
        for path in _parted(log, scratch=scratch, num_parts=num_parts):
            happened = _settled(log, pl.read_ipc(path), firsts=firsts, lengths=lengths, bound=bound)
            bound += happened.height
            path.unlink()
            parts.append(_put_aside(happened, path))
    bounds = np.cumsum([0, *(part.height for part in parts[:-1])])
    return _Ranges(firsts=firsts, lengths=lengths, parts=parts, bounds=bounds)


def _put_aside(values: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The same frame, its memory being that of a file."""
    table = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    kept = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
    assert isinstance(kept, pl.DataFrame)
    return kept


def _parted(log: _Log, *, scratch: Path, num_parts: int) -> list[Path]:
    """Write the rows to files by a hash of their users."""
    paths = [scratch / f"{number:05d}.arrow" for number in range(num_parts)]
    schema = pl.DataFrame(schema=log.schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_file(str(path), schema)) for path in paths]
        for batch in log.rows():
            rows = batch.drop_nulls([USER, TIME])
            part = hash_column(rows[USER], seed=0) % num_parts
            for number, writer in enumerate(writers):
                chosen = rows.filter(part == number)
                if chosen.height:
                    writer.write_table(chosen.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return paths


def _settled(
    log: _Log, rows: pl.DataFrame, *, firsts: NDArray[np.int64], lengths: NDArray[np.int32], bound: int
) -> pl.DataFrame:
    """Find each row's history as a range of its user's events; returns the events, which follow ``bound`` others."""
    rows = in_order(rows)
    happened = rows[_EVENT].to_numpy().astype(np.int64)
    before = np.cumsum(happened) - happened
    end = before
    if log.dataset.same_second == "unseen" and is_timed(log.dataset):
        end = before[first_of_run(rows[USER], rows[TIME])]
    length = np.minimum(end - before[first_of_run(rows[USER])], log.group.max_length)
    places = rows[PLACE].to_numpy()
    firsts[places], lengths[places] = bound + end - length, length
    return rows.filter(_EVENT).select(log.values).rechunk()
