"""Turn raw tables into encoded Parquet: fit the encoder on train, encode every split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from ctrgate.config import settings
from ctrgate.errors import ArtifactError, ConfigError, DataError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder, observe
from ctrgate.features.histories import histories
from ctrgate.features.kinds import columns_read
from ctrgate.features.layout import Layout
from ctrgate.features.leave_one_out import last_train_rows
from ctrgate.features.parts import ROW_GROUP, PartWriter
from ctrgate.features.prepared import (
    FORMAT_VERSION,
    Manifest,
    Part,
    Prepared,
    PrepareSettings,
    SourceFile,
    SplitCount,
    grown_from,
    plain,
)
from ctrgate.features.roles import SPLIT, Count, check_roles, count_rows, role_columns, roles_of
from ctrgate.features.sources import SPLITS, Source, SplitName, check_agreement, expand, open_sources
from ctrgate.features.splits import assign
from ctrgate.files import atomic_folder, checksum, locked, writing
from ctrgate.progress import bar, console

__all__ = ["Config", "run"]

_HISTORY_ROWS = 16_384


@settings
class Config:
    """The sections that ``prepare`` reads."""

    dataset: DatasetConfig
    """The rows and what they mean."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """Where the prepared files go."""


def run(config: Config) -> dict[str, Any]:
    """Prepare a dataset, unless its folder is up to date; the folder appears whole or not at all.

    Returns:
        The folder, whether it was up to date, rows by split, and the encoder's hash.

    Raises:
        SchemaError: Where a file lacks a declared column or holds it in a type that cannot serve.
        DataError: Where rows or files cannot be used, or the disk is full.
    """
    dataset, folder = config.dataset, config.prepare.folder(config.dataset)
    started = time.monotonic()
    sources = open_sources(dataset)
    for source in sources:
        check_columns(dataset.features, source.schema, source=str(source.path), log=True)
        check_roles(dataset, source)
    read = [column for feature in dataset.features for column in columns_read(feature, log=True)]
    check_agreement(sources, [*read, *filter(None, [dataset.roles.group]), *dataset.roles.keys])
    paths = [*(source.path for source in sources), *(path for join in dataset.joins for path in expand(join.files))]
    if config.prepare.dry_run:
        return _dry_run(dataset, folder, paths)
    previous, ancestors = _previous(config)
    files = _checksums(paths)
    manifest = _up_to_date(folder, dataset=dataset, files=files, ancestors=ancestors)
    if manifest is not None:
        console.print(f"{folder} is up to date: same settings, same files")
        return _result(folder, manifest, up_to_date=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with (
        writing(folder, setting="prepare.into"),
        locked(lock, what=f"the folder {folder}"),
        atomic_folder(folder) as temporary,
    ):
        manifest = _prepare(
            dataset, sources=sources, files=files, folder=temporary, previous=previous, ancestors=ancestors
        )
        manifest.write(temporary)
    _summarise(folder, manifest, seconds=time.monotonic() - started)
    return _result(folder, manifest, up_to_date=False)


def _previous(config: Config) -> tuple[Encoder | None, tuple[str, ...]]:
    """The encoder that is to grow, and the hashes of its line."""
    if not config.prepare.previous:
        return None, ()
    folder, into = Path(config.prepare.previous), config.prepare.folder(config.dataset)
    if folder.resolve() == into.resolve():
        raise ConfigError(f"prepare.previous: {folder} is the folder to be written; set prepare.into to another")
    return grown_from(folder)


def _prepare(
    dataset: DatasetConfig,
    *,
    sources: Sequence[Source],
    files: tuple[SourceFile, ...],
    folder: Path,
    previous: Encoder | None,
    ancestors: tuple[str, ...],
) -> Manifest:
    frames = assign(dataset, sources)
    counts = _count(dataset, sources=sources, frames=frames)
    encoder = _fit(dataset, sources=sources, frames=frames, counts=counts, previous=previous)
    encoder.save(folder / "encoder")
    if dataset.train_rows == "last":
        frames = last_train_rows(dataset, sources, frames)
        counts = [count_rows(dataset, source, frame) for source, frame in zip(sources, frames, strict=True)]
    with TemporaryDirectory(dir=folder, prefix=".log-") as scratch:
        built = histories(dataset, sources, scratch=Path(scratch))
        parts = _encode(dataset, encoder, sources=sources, frames=frames, built=built, folder=folder, counts=counts)
    fields, sequences, tables = encoder.layout_parts()
    labels = tuple(label.name for label in dataset.labels)
    return Manifest(
        format_version=FORMAT_VERSION,
        dataset=plain(dataset),
        sources=files,
        encoder=encoder.hash,
        splits={split: _total(split, labels=labels, counts=counts, parts=parts[split]) for split in parts},
        negative_sampling_rate=dataset.negative_sampling_rate,
        layout=Layout(fields=fields, sequences=sequences, tables=tables, labels=labels, roles=roles_of(dataset)),
        ancestors=ancestors,
    )


def _count(
    dataset: DatasetConfig, *, sources: Sequence[Source], frames: Sequence[pl.LazyFrame]
) -> list[dict[SplitName, Count]]:
    """Rows and positives per file and split, every label and role checked."""
    counts = []
    with bar("checking", total=len(sources), unit="files") as progress:
        for source, frame in zip(sources, frames, strict=True):
            with source.reading():
                check_values(dataset.features, source.rows, source=str(source.path), log=True)
            counts.append(count_rows(dataset, source, frame))
            progress.advance(1)
    for split in _wanted(dataset):
        if not any(split in count for count in counts):
            raise DataError(f"{split} has no rows; see dataset.split, and whether the files hold any rows")
    for label in dataset.labels:
        if not any(count["train"].positives[label.name] for count in counts if "train" in count):
            raise DataError(
                f"train has no positive row: label {label.name} is 0 everywhere (column {label.source}, "
                f"{', '.join(str(source.path) for source in sources[:3])}); see its rule and dataset.split"
            )
    return counts


def _wanted(dataset: DatasetConfig) -> list[SplitName]:
    """The splits that must have rows."""
    given = dataset.splits or dataset.split
    return [
        split
        for split in SPLITS
        if split == "train" or getattr(given, split, None) or getattr(given, f"{split}_from", None) is not None
    ]


def _fit(
    dataset: DatasetConfig,
    *,
    sources: Sequence[Source],
    frames: Sequence[pl.LazyFrame],
    counts: Sequence[dict[SplitName, Count]],
    previous: Encoder | None,
) -> Encoder:
    partials = []
    with bar("fitting", total=sum(count["train"].num_rows for count in counts if "train" in count)) as progress:
        for source, frame, count in zip(sources, frames, counts, strict=True):
            if "train" in count:
                with source.reading():
                    partials.append(
                        observe(dataset.features, frame.filter(pl.col(SPLIT) == "train"), source=str(source.path))
                    )
                progress.advance(count["train"].num_rows)
    return Encoder.fit(dataset.features, partials, previous=previous)


def _encode(
    dataset: DatasetConfig,
    encoder: Encoder,
    *,
    sources: Sequence[Source],
    frames: Sequence[pl.LazyFrame],
    built: Sequence[list[pl.Expr]],
    folder: Path,
    counts: Sequence[dict[SplitName, Count]],
) -> dict[SplitName, list[Part]]:
    """Write every split's parts, each raw file read once."""
    parts: dict[SplitName, list[Part]] = {split: [] for split in SPLITS if any(split in count for count in counts)}
    with bar("encoding", total=sum(c.num_rows for count in counts for c in count.values())) as progress:
        for source, frame, added, count in zip(sources, frames, built, counts, strict=True):
            writers = {split: PartWriter(folder, split=split, number=source.number) for split in count}
            for rows in _encoded(dataset, encoder, source=source, frame=frame, added=added):
                for split, writer in writers.items():
                    writer.append(rows.filter(pl.col(SPLIT) == split).drop(SPLIT))
                progress.advance(rows.height)
            for split, writer in writers.items():
                writer.close()
                parts[split] += writer.parts
    return parts


def _encoded(
    dataset: DatasetConfig, encoder: Encoder, *, source: Source, frame: pl.LazyFrame, added: Sequence[pl.Expr]
) -> Iterator[pl.DataFrame]:
    """A file's encoded rows with their split, at most a row group at a time."""
    columns = [*role_columns(dataset, source.schema), *added]
    keep = (*(column.meta.output_name() for column in role_columns(dataset, source.schema)), SPLIT)

    def encode(rows: pl.LazyFrame) -> pl.LazyFrame:
        return encoder.transform(rows.with_columns(columns), keep=keep)

    with source.reading():
        if not added:
            yield from encode(frame).collect_batches(chunk_size=ROW_GROUP, maintain_order=True)
            return
        # Polars keeps dozens of pieces between the steps of a query, and histories are wide: one piece at a time.
        for rows in frame.collect_batches(chunk_size=_HISTORY_ROWS, maintain_order=True):
            yield encode(rows.lazy()).collect()


def _total(
    split: SplitName, *, labels: Sequence[str], counts: Sequence[dict[SplitName, Count]], parts: Sequence[Part]
) -> SplitCount:
    there = [count[split] for count in counts if split in count]
    return SplitCount(
        num_rows=sum(count.num_rows for count in there),
        positives={label: sum(count.positives[label] for count in there) for label in labels},
        parts=tuple(parts),
    )


def _checksums(paths: Sequence[Path]) -> tuple[SourceFile, ...]:
    files = []
    with bar("reading checksums", total=sum(path.stat().st_size for path in paths), unit="bytes") as progress:
        for path in paths:
            size = path.stat().st_size
            files.append(SourceFile(path=str(path), num_bytes=size, sha256=checksum(path)))
            progress.advance(size)
    return tuple(files)


def _up_to_date(
    folder: Path, *, dataset: DatasetConfig, files: tuple[SourceFile, ...], ancestors: tuple[str, ...]
) -> Manifest | None:
    """The manifest of a folder that the same settings and files made, or None."""
    if not folder.is_dir():
        return None
    try:
        manifest = Prepared.open(folder).manifest
    except ArtifactError as error:
        console.print(f"{error}: preparing again")
        return None
    same = manifest.dataset == plain(dataset) and manifest.sources == files
    return manifest if same and manifest.ancestors == ancestors else None


def _dry_run(dataset: DatasetConfig, folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    for path in paths:
        console.print(f"would read {path} ({path.stat().st_size:,} bytes)")
    console.print(f"would write {folder}: {', '.join(_wanted(dataset))} with {len(dataset.features)} features")
    return {"dry_run": True, "folder": str(folder), "files": [str(path) for path in paths]}


def _result(folder: Path, manifest: Manifest, *, up_to_date: bool) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "up_to_date": up_to_date,
        "rows": {split: count.num_rows for split, count in manifest.splits.items()},
        "encoder": manifest.encoder,
    }


def _summarise(folder: Path, manifest: Manifest, *, seconds: float) -> None:
    for split, count in manifest.splits.items():
        shares = ", ".join(f"{label} {n / count.num_rows:.2%}" for label, n in count.positives.items())
        console.print(f"{split:>6} {count.num_rows:>12,} rows  {shares}")
    rows = sum(count.num_rows for count in manifest.splits.values())
    ids = sum(manifest.layout.tables.values())
    console.print(
        f"{folder}: {len(manifest.layout.fields)} fields, {len(manifest.layout.tables)} tables of {ids:,} rows in all; "
        f"{rows / seconds:,.0f} rows/s"
    )
