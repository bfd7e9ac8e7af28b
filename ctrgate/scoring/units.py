"""Units of work: ranges of a file's rows, cut by the file alone; no kill and no number of processes moves them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from ctrgate.errors import DataError
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import Source

__all__ = ["Unit", "cut", "sizes", "tasks", "units_of"]


@dataclass(frozen=True, kw_only=True, order=True)
class Unit:
    """Rows of one file that make one part of the output.

    Args:
        file: The file's number.
        number: Of the unit in its file.
        start: The first row.
        stop: The row after the last.
    """

    file: int
    number: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.stop - self.start


def units_of(source: Source, *, unit_rows: int) -> list[Unit]:
    """The units of a file, at least one: ``unit_rows`` each; of Parquet, as few whole row groups as have that many.

    Raises:
        DataError: Where the file is damaged.
    """
    if source.file.format == "parquet":
        stops = list(_by_groups(source, unit_rows=unit_rows))
    else:
        with source.reading():
            num_rows = int(source.file.rows().select(pl.col(ROW).len()).collect(engine="streaming").item())
        stops = [*range(unit_rows, num_rows, unit_rows), num_rows]
    return [
        Unit(file=source.number, number=number, start=start, stop=stop)
        for number, (start, stop) in enumerate(itertools.pairwise([0, *stops]))
    ]


def tasks(units: Iterable[Unit], *, streamed: Sequence[bool]) -> list[list[Unit]]:
    """The units by what is read in one go: each alone, those that follow one another together in a streamed file.

    Args:
        units: In order.
        streamed: By file, whether it can only be read from its start, as text.
    """
    found: list[list[Unit]] = []
    for unit in units:
        last = found[-1][-1] if found else None
        if last is not None and streamed[unit.file] and (last.file, last.number + 1) == (unit.file, unit.number):
            found[-1].append(unit)
        else:
            found.append([unit])
    return found


def sizes(unit: Unit, *, batch_rows: int) -> list[int]:
    """The rows of a unit's batches; of a unit without rows, one batch without any."""
    whole, rest = divmod(unit.rows, batch_rows)
    return [batch_rows] * whole + ([rest] if rest or not whole else [])


def cut(frames: Iterable[pl.DataFrame], lengths: Iterable[int], *, empty: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The same rows in frames of the lengths given, so that batches do not hang on how a file is read.

    Raises:
        DataError: Where there are fewer rows.
    """
    pieces, waiting = iter(frames), empty
    for length in lengths:
        gathered, size = [waiting], waiting.height
        while size < length:
            piece = next(pieces, None)
            if piece is None:
                raise DataError("there are fewer rows than when the job began; was the file changed meanwhile?")
            gathered.append(piece)
            size += piece.height
        rows = pl.concat(gathered)
        yield rows.head(length)
        waiting = rows.slice(length)


def _by_groups(source: Source, *, unit_rows: int) -> Iterator[int]:
    try:
        metadata = pq.read_metadata(source.path)
    except (OSError, ValueError) as error:  # Arrow's errors are these
        raise DataError(f"{source.path} cannot be read: {error}; is it damaged, or cut short?") from error
    start = stop = 0
    for group in range(metadata.num_row_groups):
        stop += metadata.row_group(group).num_rows
        if stop - start >= unit_rows:
            yield stop
            start = stop
    if stop > start or stop == 0:
        yield stop
