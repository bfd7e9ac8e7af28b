"""The logits of a run or an artifact for rows that it has not been evaluated on (imports torch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.comparison.rows import Rows, check_same
from ctrgate.comparison.side import Side
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.histories import histories
from ctrgate.features.roles import SPLIT, check_sources, role_columns
from ctrgate.features.sources import Source, open_sources
from ctrgate.features.splits import assign
from ctrgate.progress import Bar, bar
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.predict import EVALUATION_BATCH
from ctrgate.training.runs import RunFolder, restore
from ctrgate.training.task import logits_of

__all__ = ["of_artifact", "of_run"]

_HISTORY_ROWS = 16_384


def of_run(place: Path, rows: Rows, *, which: Literal["best", "last"]) -> NDArray[np.float64]:
    """What a run's checkpoint says, ``(n,)``, from the encoded rows.

    Those that are compared where they have the run's encoder, else those of its own prepared folder, once they are seen
    to be the same.

    Raises:
        ConfigError: A run that ranks items, lacks the label, or has no checkpoint.
        DataError: Its own split holds other rows.
    """
    restored = restore(RunFolder(place), which=which)
    if isinstance(restored.settings.objective, NextItemConfig):
        raise ConfigError(f"{place} ranks items; compare is for clicks")
    labels = restored.layout.labels
    column = _place_of(rows.label, labels, place)
    files = rows.files
    if restored.prepared.manifest.encoder != rows.prepared.manifest.encoder:
        files = restored.prepared.files(rows.split)
        remedy = "export that run and compare the artifact, which scores the rows itself"
        if not files:
            raise DataError(f"{restored.prepared.folder} has no {rows.split} rows; {remedy}")
        theirs = set(pl.scan_parquet(files).collect_schema().names())
        columns = {name: name for name in rows.identifying if name in theirs}
        check_same(rows, files, columns=columns, remedy=remedy)
    reader = Reader(files, layout=restored.layout)
    batches = reader.batches(Order(batch_size=EVALUATION_BATCH))
    title, shifts = f"scoring with {place.name}", restored.logit_shifts
    parts = logits_of(restored.model, batches, num_rows=rows.num_rows, title=title, shifts=shifts)
    return np.concatenate([logits[:, column] for _, logits in parts])


def of_artifact(place: Path, rows: Rows) -> Side:
    """What an artifact says of the rows.

    Its features are encoded as in an evaluation: ``when_scoring`` values do not stand for their columns, so that an
    artifact and a run are told the same of each row.

    Raises:
        ConfigError: An artifact that ranks items or lacks the label.
        SchemaError: A raw file lacks what its features read.
        DataError: The raw files no longer hold the rows.
        ArtifactError: It is damaged.
    """
    artifact = Artifact.load(place)
    if artifact.items is not None:
        raise ConfigError(f"{place} ranks items; compare is for clicks")
    column = _place_of(rows.label, artifact.layout.labels, place)
    origin = artifact.manifest.origin
    same = artifact.encoder.hash == rows.prepared.manifest.encoder
    with bar(f"scoring with {origin.run}", total=rows.num_rows) as progress:
        parts = list(_from_encoded(artifact, rows, progress) if same else _from_raw(artifact, rows, progress))
    logits = np.concatenate(parts)[:, column].astype(np.float64)
    if len(logits) != rows.num_rows:
        raise DataError(f"{len(logits):,} rows of {rows.num_rows:,} came out; prepare the data again")
    return Side(
        name=origin.run,
        kind="artifact",
        place=str(place),
        read="encoded rows" if same else "raw rows",
        model=artifact.manifest.model,
        step=origin.step,
        identity=artifact.identity,
        logits=logits,
    )


def _from_encoded(artifact: Artifact, rows: Rows, progress: Bar) -> Iterator[NDArray[np.float32]]:
    reader = Reader(rows.files, layout=artifact.layout)
    for batch in reader.batches(Order(batch_size=EVALUATION_BATCH)):
        yield artifact.logits_of(batch)
        progress.advance(batch.num_rows)


def _from_raw(artifact: Artifact, rows: Rows, progress: Bar) -> Iterator[NDArray[np.float32]]:
    """Batch by batch, each seen to be of the rows that are expected there."""
    expected = pl.scan_parquet(rows.files).select(rows.identifying)
    done = 0
    for encoded in _encoded(artifact, rows):
        ours = expected.slice(done, encoded.height).collect()
        for name in rows.identifying:
            if ours.height != encoded.height or ours[name].ne_missing(encoded[name].cast(ours[name].dtype)).any():
                raise DataError(
                    f"the raw files of {rows.prepared.folder} no longer hold its {rows.split} rows (from row {done} "
                    f"on, column {name}); prepare the data again"
                )
        done += encoded.height
        yield artifact.logits_of(to_batch(encoded, layout=artifact.layout))
        progress.advance(encoded.height)


def _encoded(artifact: Artifact, rows: Rows) -> Iterator[pl.DataFrame]:
    """The rows, read from the raw files as ``prepare`` read them, in the artifact's encoding."""
    features = artifact.encoder.features
    dataset = replace(rows.prepared.dataset, features=features)
    sources = open_sources(dataset)
    check_sources(dataset, sources)
    with TemporaryDirectory(prefix="ctrgate-log-") as scratch:
        built = histories(dataset, sources, scratch=Path(scratch))
        for source, frame, added in zip(sources, assign(dataset, sources), built, strict=True):
            columns = [*role_columns(dataset, source.schema), *added]
            with source.reading():
                held_out = frame.filter(pl.col(SPLIT) == rows.split).with_columns(columns)
                for piece in held_out.collect_batches(chunk_size=_HISTORY_ROWS, maintain_order=True):
                    if piece.height:
                        yield _transformed(artifact, piece, source=source, keep=rows.identifying)


def _transformed(artifact: Artifact, piece: pl.DataFrame, *, source: Source, keep: list[str]) -> pl.DataFrame:
    try:
        return artifact.encoder.transform(piece.lazy(), keep=keep).collect()
    except SchemaError as error:
        raise SchemaError(f"{source.path}: {error}") from error


def _place_of(label: str, labels: tuple[str, ...], place: Path) -> int:
    if label not in labels:
        raise ConfigError(f"{place} predicts {', '.join(labels)}, not {label}; set compare.label to one that both do")
    return labels.index(label)
