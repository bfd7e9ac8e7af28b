"""Rows of one file in, finished parts out: what every process of a job does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import pyarrow.parquet as pq
import torch
from pydantic import Field

from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.artifact.forms import Form
from ctrgate.artifact.interface import score_columns
from ctrgate.artifact.snapshot import Counter
from ctrgate.config import settings
from ctrgate.errors import ArtifactError, DataError
from ctrgate.features.checks import check_values
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.layout import role_column
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import RawReader, Source
from ctrgate.files import atomic_file, checksum
from ctrgate.metrics.histogram import Counts, added, counts
from ctrgate.scoring.answers import item_names, ranked, rows_at_once, scores
from ctrgate.scoring.units import Unit, cut, sizes

__all__ = ["JobOrder", "ScoredPart", "Scorer"]

_ROW_GROUP = 65_536
_STEM_BYTES = 100


@settings
class JobOrder:
    """All that a process needs to know of a job."""

    artifact: str
    """The folder of the model."""
    identity: str
    """Of the model, which must not change meanwhile."""
    form: Form
    """How its network is computed."""
    dataset: DatasetConfig
    """How rows are read."""
    files: tuple[str, ...]
    """By number."""
    folder: str
    """Where parts go."""
    batch_rows: int
    top_k: int
    threads: int
    about: Mapping[str, str]
    """Kept in each part's metadata."""


@settings
class ScoredPart:
    """One finished file of scores."""

    file: int
    """The number of the file whose rows it scores."""
    unit: int
    """The number of the unit in that file."""
    part: str
    """Its name."""
    rows: Annotated[int, Field(ge=0)]
    """Its rows: those of the unit, or their best items."""
    num_bytes: int
    sha256: str
    histogram: Counts
    """Of logits, by label; empty for a model that ranks items."""
    features: Counts
    """Of encoded columns, in the bins of the model's snapshot; empty where it has none."""


def _part_name(unit: Unit, path: str) -> str:
    """Names a part by its content's place, so that names sort as rows do."""
    stem = Path(path).stem.encode("utf-8", errors="replace")[:_STEM_BYTES].decode("utf-8", errors="ignore")
    return f"part-{unit.file:05d}-{unit.number:05d}-{stem}.parquet"


class Scorer:
    """A model with the files of a job.

    Args:
        order: The job.
        artifact: The model, where it is loaded already.

    Raises:
        ArtifactError: Where the model is not the job's any more.
    """

    def __init__(self, order: JobOrder, *, artifact: Artifact | None = None) -> None:
        self.order, self.artifact = order, artifact or _loaded(order)
        if self.artifact.identity != order.identity:
            raise ArtifactError(f"{order.artifact} was replaced by another model while the job ran; run it again")
        if self.artifact.form != order.form:
            raise ArtifactError(
                f"this machine computes {self.artifact.form}, not the {order.form} of the job, whose parts must be of "
                "one form; score on machines alike, or set score.form to fp32"
            )
        self._reader = RawReader(order.dataset, encoder=self.artifact.encoder)
        snapshot = self.artifact.snapshot
        bins = {} if snapshot is None else {name: of.bins for name, of in snapshot.columns.items()}
        self._counter = Counter(bins, layout=self.artifact.layout)
        self._batch_rows = rows_at_once(self.artifact, order.batch_rows)
        self._names = item_names(self.artifact)

    def parts(self, task: Sequence[Unit], *, advance: Callable[[int], None]) -> Iterator[ScoredPart]:
        """Score units of one file that follow one another, and give each part once it is in its place for good.

        Args:
            task: The units.
            advance: Told of rows that are scored.

        Raises:
            DataError: Naming the file, and the row, that cannot be used.
        """
        first, last = task[0], task[-1]
        path = self.order.files[first.file]
        threads = torch.get_num_threads()
        torch.set_num_threads(self.order.threads)
        try:
            source = self._reader.open(Path(path), number=first.file, within=(first.start, last.stop))
            lengths = [sizes(unit, batch_rows=self._batch_rows) for unit in task]
            scored = self._scored(source, first=first.start, lengths=itertools.chain(*lengths), advance=advance)
            for unit, of in zip(task, lengths, strict=True):
                yield self._part(unit, path, itertools.islice(scored, len(of)))
        finally:
            torch.set_num_threads(threads)

    def _scored(
        self, source: Source, *, first: int, lengths: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[tuple[pl.DataFrame, Counts]]:
        """Rows with their keys and scores, in frames of the lengths given, and counts of their encoded columns."""
        artifact, keys, path = self.artifact, self.order.dataset.roles.keys, str(source.path)
        names = {role_column("key", name): name for name in keys} or {ROW: "row"}
        columns = [_key(name, source.schema).alias(role_column("key", name)) for name in keys]
        with source.reading():
            check_values(artifact.encoder.features, source.rows, source=path, scoring=True)
            lazy = artifact.encoder.transform(source.rows.with_columns(columns), keep=list(names), scoring=True)
            pieces = lazy.collect_batches(chunk_size=self._batch_rows, maintain_order=True)
            empty = pl.DataFrame(schema=lazy.collect_schema())
            start = first
            for rows in _told(path, cut(pieces, lengths, empty=empty)):
                found = rows.select(pl.col(column).alias(name) for column, name in names.items())
                if not keys:
                    found = found.select(pl.lit(path).alias("file"), pl.col("row").cast(pl.Int64))
                batch = to_batch(rows, layout=artifact.layout) if rows.height else None
                try:
                    if artifact.items is None:
                        scored = found.with_columns(scores(artifact, batch, first=start))
                    else:
                        scored = ranked(artifact, batch, found, names=self._names, top_k=self.order.top_k, first=start)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from error
                yield scored, {} if batch is None else self._counter(batch)
                advance(rows.height)
                start += rows.height

    def _part(self, unit: Unit, path: str, scored: Iterable[tuple[pl.DataFrame, Counts]]) -> ScoredPart:
        """Write a unit's scores: to a temporary name, synced, renamed."""
        place = Path(self.order.folder) / _part_name(unit, path)
        labels = self.artifact.layout.labels if self.artifact.items is None else ()
        logits = score_columns("logit", labels)
        histograms, counted, num_rows = [], list[Counts](), 0

        def rows_of(pieces: Iterable[tuple[pl.DataFrame, Counts]]) -> Iterator[pl.DataFrame]:
            for rows, of in pieces:
                counted.append(of)
                yield rows

        with atomic_file(place) as temporary:
            writer = None
            try:
                for rows in _regrouped(rows_of(scored), _ROW_GROUP):
                    histograms.append({label: counts(rows[column].to_numpy()) for label, column in logits.items()})
                    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
                    table = table.replace_schema_metadata(dict(self.order.about))
                    writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                    writer.write_table(table)
                    num_rows += rows.height
            finally:
                if writer is not None:
                    writer.close()
            num_bytes, hashed = temporary.stat().st_size, checksum(temporary)
        return ScoredPart(
            file=unit.file,
            unit=unit.number,
            part=place.name,
            rows=num_rows,
            num_bytes=num_bytes,
            sha256=hashed,
            histogram=added(histograms),
            features=added(counted),
        )


def _loaded(order: JobOrder) -> Artifact:
    """The job's model; whoever gave the order has seen that its identity is trusted."""
    return Artifact.load(order.artifact, form=order.form, trusted=order.identity)


def _told(path: str, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    try:
        yield from frames
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _key(name: str, schema: pl.Schema) -> pl.Expr:
    is_coded = isinstance(schema[name], pl.Categorical | pl.Enum)
    return pl.col(name).cast(pl.String) if is_coded else pl.col(name)


def _regrouped(frames: Iterable[pl.DataFrame], num_rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of ``num_rows``; the last is smaller, and without any rows it is the only one."""
    waiting: list[pl.DataFrame] = []
    size, yielded = 0, False
    for frame in frames:
        waiting.append(frame)
        size += frame.height
        if size >= num_rows:
            rows = pl.concat(waiting)
            whole = size // num_rows * num_rows
            for start in range(0, whole, num_rows):
                yield rows.slice(start, num_rows)
            waiting, size, yielded = [rows.slice(whole)], size - whole, True
    if waiting and (size or not yielded):
        yield pl.concat(waiting)
