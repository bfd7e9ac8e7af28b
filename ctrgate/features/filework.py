"""What prepare does to raw files one by one: nothing of it depends on how other files are worked on, or where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import polars as pl

from ctrgate.features.checks import check_values
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.observe import observe
from ctrgate.features.partial import Partial
from ctrgate.features.parts import ROW_GROUP, PartWriter
from ctrgate.features.prepared import Part
from ctrgate.features.roles import SPLIT, Count, count_rows, role_columns
from ctrgate.features.sources import SPLITS, Source, SplitName, open_sources
from ctrgate.features.splits import assign
from ctrgate.folders import ENCODER

__all__ = ["Each", "Encoded", "Files", "Task", "counted", "here", "observed"]

_HISTORY_ROWS = 16_384

T = TypeVar("T")
Advance = Callable[[int], None]
Task = Callable[["Files", int, Advance], T]
"""Work on the file of a number, which tells how many units are done."""


class Each(Protocol):
    """Does a task for files, and gives what comes of each in the order of the numbers."""

    def __call__(self, task: Task[T], numbers: Sequence[int], advance: Advance) -> Iterator[T]:
        """Do it."""


@dataclass(kw_only=True)
class Files:
    """A dataset's raw files, their rows assigned to splits.

    Args:
        dataset: The settings.
        sources: The files, as ``open_sources`` gives them.
    """

    dataset: DatasetConfig
    sources: Sequence[Source]
    _encoders: dict[str, Encoder] = field(default_factory=dict)

    @classmethod
    def open(cls, dataset: DatasetConfig) -> Files:
        """The same in every process."""
        return cls(dataset=dataset, sources=open_sources(dataset))

    @cached_property
    def frames(self) -> list[pl.LazyFrame]:
        """The rows of each file with their split; some rules look at a column of all files first."""
        return assign(self.dataset, self.sources)

    def encoder(self, folder: str) -> Encoder:
        """The encoder in a folder, read once."""
        if folder not in self._encoders:
            self._encoders[folder] = Encoder.load(folder)
        return self._encoders[folder]


def here(files: Files) -> Each:
    """Files one after the other, in this process."""

    def each(task: Task[T], numbers: Sequence[int], advance: Advance) -> Iterator[T]:
        return (task(files, number, advance) for number in numbers)

    return each


def counted(files: Files, number: int, advance: Advance) -> dict[SplitName, Count]:
    """Rows and positives of a file by split, every value, label and role checked."""
    source, frame = files.sources[number], files.frames[number]
    with source.reading():
        check_values(files.dataset.features, source.rows, source=str(source.path), log=True)
    found = count_rows(files.dataset, source, frame)
    advance(1)
    return found


def observed(files: Files, number: int, advance: Advance) -> Partial:
    """What the train rows of a file teach the encoder."""
    source, frame = files.sources[number], files.frames[number]
    with source.reading():
        found = observe(files.dataset.features, frame.filter(pl.col(SPLIT) == "train"), source=str(source.path))
    advance(found.num_rows)
    return found


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The task that writes a file's encoded rows.

    Args:
        folder: The prepared folder, with the encoder in it.
        built: Per file, columns that stand for histories.
    """

    folder: str
    built: Sequence[Sequence[pl.Expr]] = ()

    def __call__(self, files: Files, number: int, advance: Advance) -> dict[SplitName, list[Part]]:
        """The parts of each split; the file is read once."""
        writers = {split: PartWriter(Path(self.folder), split=split, number=number) for split in SPLITS}
        for rows in self._encoded(files, number):
            for split, writer in writers.items():
                writer.append(rows.filter(pl.col(SPLIT) == split).drop(SPLIT))
            advance(rows.height)
        for writer in writers.values():
            writer.close()
        return {split: writer.parts for split, writer in writers.items() if writer.parts}

    def _encoded(self, files: Files, number: int) -> Iterator[pl.DataFrame]:
        """Encoded rows with their split, at most a row group at a time."""
        source, frame = files.sources[number], files.frames[number]
        added = self.built[number] if self.built else ()
        roles = role_columns(files.dataset, source.schema)
        keep = [*(column.meta.output_name() for column in roles), SPLIT]
        encoder = files.encoder(str(Path(self.folder) / ENCODER))

        def encode(rows: pl.LazyFrame) -> pl.LazyFrame:
            return encoder.transform(rows.with_columns(*roles, *added), keep=keep)

        with source.reading():
            if not added:
                yield from encode(frame).collect_batches(chunk_size=ROW_GROUP, maintain_order=True)
                return
            # Polars keeps dozens of pieces between the steps of a query, and histories are wide: one piece at a time.
            for rows in frame.collect_batches(chunk_size=_HISTORY_ROWS, maintain_order=True):
                yield encode(rows.lazy()).collect()
