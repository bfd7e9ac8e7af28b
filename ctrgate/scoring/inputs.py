"""The files of a job: found, hashed, checked against what the model reads, and cut into units; bad ones are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.interface import RANKED, Score, score_columns
from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.checks import check_columns
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.sources import RawReader, Source, expand, named_files
from ctrgate.files import checksum
from ctrgate.scoring.units import Unit, units_of

__all__ = ["Input", "open_inputs", "tables_of"]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file to be scored.

    Args:
        path: As it was named.
        num_bytes: Its size.
        sha256: Of its content; none where it cannot be read at all.
        format: ``parquet``, ``arrow`` or ``csv``.
        units: Of its rows; none for a bad file.
        bad: What is wrong with it, where it is bad and left out.
    """

    path: str
    num_bytes: int
    sha256: str | None
    format: str
    units: tuple[Unit, ...]
    bad: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """What the job records of it."""
        return {"path": self.path, "num_bytes": self.num_bytes, "sha256": self.sha256}


def open_inputs(
    places: Sequence[str], *, artifact: Artifact, dataset: DatasetConfig, unit_rows: int, skip: bool
) -> list[Input]:
    """The files that places name, each with all columns that features and keys read.

    Args:
        places: Paths and globs.
        artifact: The model.
        dataset: How rows are read.
        unit_rows: See ``units_of``.
        skip: Whether a bad file is told in its ``Input``, not raised.

    Raises:
        ConfigError: Where keys are called as scores are.
        DataError: Where a place names no file, a file is named twice or cannot be read.
        SchemaError: Where columns are missing or of another type.
    """
    paths = named_files(places)
    for resolved, count in Counter(path.resolve() for path in paths).items():
        if count > 1:
            raise DataError(f"{resolved} is named {count} times by score.files; its rows would be scored {count} times")
    _check_keys(artifact, dataset)
    reader, found = RawReader(dataset, encoder=artifact.encoder), []
    for number, path in enumerate(paths):
        bad, hashed, kind, units = None, None, "", []
        try:
            hashed = _checksum(path)
            source = reader.open(path, number=number)
            _check_columns(source, artifact=artifact, keys=dataset.roles.keys)
            kind, units = source.file.format, units_of(source, unit_rows=unit_rows)
        except (DataError, SchemaError) as error:
            if not skip:
                raise
            bad = str(error)
        found.append(
            Input(
                path=str(path),
                num_bytes=path.stat().st_size,
                sha256=hashed,
                format=kind,
                units=tuple(units),
                bad=bad,
            )
        )
    return found


def tables_of(dataset: DatasetConfig) -> list[dict[str, Any]]:
    """The files of joined tables, which rows depend on as on their own."""
    paths = [path for join in dataset.joins for path in expand(join.files)]
    return [{"path": str(path), "sha256": _checksum(path)} for path in paths]


def _checksum(path: Path) -> str:
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        return checksum(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _check_columns(source: Source, *, artifact: Artifact, keys: Sequence[str]) -> None:
    check_columns(artifact.encoder.features, source.schema, source=str(source.path), scoring=True)
    try:
        artifact.encoder.transform(source.rows, scoring=True)
    except SchemaError as error:
        raise SchemaError(f"{source.path}: {error}") from error
    if absent := [name for name in keys if name not in source.schema]:
        raise SchemaError(
            f"{source.path} lacks columns {absent} that dataset.roles.keys names; it has {source.schema.names()}"
        )


def _check_keys(artifact: Artifact, dataset: DatasetConfig) -> None:
    labels = artifact.layout.labels
    taken = set(RANKED[1:])
    if artifact.items is None:
        taken = {column for kind in get_args(Score) for column in (kind, *score_columns(kind, labels).values())}
    if clash := sorted(taken & set(dataset.roles.keys)):
        raise ConfigError(f"dataset.roles.keys names {', '.join(clash)}, which scores are called; rename the column")
