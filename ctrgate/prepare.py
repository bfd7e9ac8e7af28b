"""Turn raw tables into encoded Parquet: fit the encoder on train, encode every split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import settings
from ctrgate.errors import ArtifactError, ConfigError, DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.filework import Each, Encoded, Files, counted, here, observed
from ctrgate.features.histories import histories
from ctrgate.features.kinds.sequence import is_logged
from ctrgate.features.layout import Layout
from ctrgate.features.leave_one_out import last_train_rows
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
from ctrgate.features.roles import Count, check_sources, count_rows, roles_of
from ctrgate.features.sources import SPLITS, SplitName, check_agreement, expand
from ctrgate.files import atomic_folder, checksum, locked, writing
from ctrgate.folders import ENCODER, is_prepared
from ctrgate.progress import bar, console

__all__ = ["Config", "run"]


@settings
class Config:
    """The sections that ``prepare`` reads."""

    dataset: DatasetConfig
    """The rows and what they mean."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """Where the prepared files go."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Where ``prepare.workers`` run."""


def run(config: Config) -> dict[str, Any]:
    """Prepare a dataset, unless its folder is up to date; the folder appears whole or not at all.

    Returns:
        The folder, whether it was up to date, rows by split, and the encoder's hash.

    Raises:
        ConfigError: Where the folder holds something else.
        SchemaError: Where a file lacks a declared column or holds it in a type that cannot serve.
        DataError: Where rows or files cannot be used, or the disk is full.
    """
    dataset, folder = config.dataset, config.prepare.folder(config.dataset)
    started = time.monotonic()
    files = Files.open(dataset)
    sources = files.sources
    check_sources(dataset, sources)
    check_agreement(dataset, sources)
    paths = [*(source.path for source in sources), *(path for join in dataset.joins for path in expand(join.files))]
    if folder.exists() and not is_prepared(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"prepare.into: {folder} holds other files than prepared rows; name another folder")
    if config.prepare.dry_run:
        return _dry_run(dataset, folder, paths)
    previous, ancestors = _previous(config)
    raw = _checksums(paths)
    manifest = _up_to_date(folder, dataset=dataset, files=raw, ancestors=ancestors)
    if manifest is not None:
        console.print(f"{folder} is up to date: same settings, same files")
        return _result(folder, manifest, up_to_date=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with (
        writing(folder, setting="prepare.into"),
        locked(lock, what=f"the folder {folder}"),
        atomic_folder(folder) as temporary,
    ):
        manifest = _prepare(config, files, raw=raw, folder=temporary, previous=previous, ancestors=ancestors)
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
    config: Config,
    files: Files,
    *,
    raw: tuple[SourceFile, ...],
    folder: Path,
    previous: Encoder | None,
    ancestors: tuple[str, ...],
) -> Manifest:
    dataset = config.dataset
    with _each(config, files) as each:
        counts = _count(files, each)
        encoder = _fit(files, each, counts=counts, previous=previous)
        encoder.save(folder / ENCODER)
        if dataset.train_rows == "last":
            files.frames = last_train_rows(dataset, files.sources, files.frames)
            counts = [count_rows(dataset, *of) for of in zip(files.sources, files.frames, strict=True)]
        with TemporaryDirectory(dir=folder, prefix=".log-") as scratch:
            built = histories(dataset, files.sources, scratch=Path(scratch))
            parts = _encode(each, Encoded(folder=str(folder.resolve()), built=built), counts=counts)
    fields, sequences, tables = encoder.layout_parts()
    labels = tuple(label.name for label in dataset.labels)
    return Manifest(
        format_version=FORMAT_VERSION,
        dataset=plain(dataset),
        sources=raw,
        encoder=encoder.hash,
        splits={split: _total(split, labels=labels, counts=counts, parts=parts[split]) for split in parts},
        negative_sampling_rate=dataset.negative_sampling_rate,
        layout=Layout(fields=fields, sequences=sequences, tables=tables, labels=labels, roles=roles_of(dataset)),
        ancestors=ancestors,
    )


@contextmanager
def _each(config: Config, files: Files) -> Iterator[Each]:
    """Work on the files one by one, here or in ``prepare.workers`` processes."""
    if not config.prepare.workers:
        yield here(files)
        return
    dataset = config.dataset
    logged = [each.name for each in filter(is_logged, dataset.features)]
    if logged or dataset.train_rows == "last":
        what = f"the histories of {', '.join(logged)}" if logged else "dataset.train_rows: last"
        raise ConfigError(f"prepare.workers: {what} hangs on all files at once; set prepare.workers to 0")
    from ctrgate.cluster.files import spread  # brings Ray

    with spread(dataset, num_workers=config.prepare.workers, cluster=config.cluster) as each:
        yield each


def _count(files: Files, each: Each) -> list[dict[SplitName, Count]]:
    """Rows and positives per file and split, every label and role checked."""
    dataset, sources = files.dataset, files.sources
    with bar("checking", total=len(sources), unit="files") as progress:
        counts = list(each(counted, range(len(sources)), progress.advance))
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


def _fit(files: Files, each: Each, *, counts: Sequence[dict[SplitName, Count]], previous: Encoder | None) -> Encoder:
    train = [number for number, count in enumerate(counts) if "train" in count]
    with bar("fitting", total=sum(counts[number]["train"].num_rows for number in train)) as progress:
        partials = list(each(observed, train, progress.advance))
    return Encoder.fit(files.dataset.features, partials, previous=previous)


def _encode(each: Each, encoding: Encoded, *, counts: Sequence[dict[SplitName, Count]]) -> dict[SplitName, list[Part]]:
    """Write every split's parts."""
    parts: dict[SplitName, list[Part]] = {split: [] for split in SPLITS if any(split in count for count in counts)}
    with bar("encoding", total=sum(c.num_rows for count in counts for c in count.values())) as progress:
        for written in each(encoding, range(len(counts)), progress.advance):
            for split, of_file in written.items():
                parts[split] += of_file
    return parts


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
