"""What an artifact says of itself: where it comes from, and the hash of every part."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import ctrgate
from ctrgate.artifact.forms import Form, RowForm
from ctrgate.artifact.parity import Parity
from ctrgate.config import dump, settings
from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.files import checksum
from ctrgate.folders import MANIFEST, is_prepared
from ctrgate.ranges import Positive

__all__ = ["FORMAT_VERSION", "Manifest", "Origin", "PartFile", "TableSize", "identity"]

FORMAT_VERSION = 5
# 3 has no logit_shifts and no calibration, 4 no other rows than float32 and no forms: they score as they always did.
_READS = (3, 4, FORMAT_VERSION)


@settings
class Origin:
    """Where an exported model comes from."""

    run: str
    """The run's name."""
    step: int
    """Of its checkpoint."""
    dataset: Mapping[str, Any]
    """The dataset's settings, by which raw rows are read: joins, text files, keys."""
    negative_sampling_rate: float
    """Share of train's negatives that were kept."""


@settings
class PartFile:
    """One file of an artifact."""

    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> PartFile:
        """As it lies there."""
        return cls(num_bytes=path.stat().st_size, sha256=checksum(path))


@settings
class TableSize:
    """One table, and what rounding and the selection of values and of widths saved of it."""

    rows: int
    """Padding and unknown included; 0 for a table that is left out whole, as all its rows are zero."""
    rows_saved: int
    dim: int
    form: RowForm = "float32"
    """How its rows are stored."""
    num_bytes: int
    bytes_saved: int
    """Against all rows that were trained in float32, in the width that fields have by default."""


@settings
class Manifest:
    """The file ``manifest.json``."""

    format_version: int
    ctrgate_version: str
    model: str
    """The network's name."""
    encoder: str
    """The encoder's content hash."""
    labels: tuple[str, ...]
    """What the columns of the logits mean; none for a network that ranks items."""
    origin: Origin
    logit_shifts: tuple[float, ...] = ()
    """What is added to each label's logits, for the sampling of train's negatives (``features.sampling``)."""
    tolerance: Positive
    """Largest difference of a golden row's logit in fp32, see ``Artifact.golden_difference``."""
    forms: Mapping[Form, Parity] = field(default_factory=dict)
    """How far each form in which the network may be computed lies from the checkpoint."""
    tables: Mapping[str, TableSize]
    """Per table; an extra one is called ``group/table``."""
    parts: Mapping[str, PartFile]
    """Every other file of the folder by its path in it."""

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        model: str,
        encoder: str,
        labels: tuple[str, ...],
        origin: Origin,
        tolerance: float,
        tables: Mapping[str, TableSize],
        logit_shifts: tuple[float, ...] = (),
    ) -> Manifest:
        """The manifest of the parts that lie in a folder."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        parts = {path.relative_to(folder).as_posix(): PartFile.of(path) for path in files}
        return cls(
            format_version=FORMAT_VERSION,
            ctrgate_version=ctrgate.__version__,
            model=model,
            encoder=encoder,
            labels=labels,
            origin=origin,
            logit_shifts=logit_shifts,
            tolerance=tolerance,
            tables=tables,
            parts=parts,
        )

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(dump(self), indent=1, allow_nan=False, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest, and see that every part lies there unchanged and nothing else does.

        Raises:
            ConfigError: Where there is no artifact.
            ArtifactError: Where it is of another format, damaged, or changed; each message names the file.
        """
        return cls.identified(folder)[0]

    @classmethod
    def identified(cls, folder: Path) -> tuple[Manifest, str]:
        """As ``read``, with the identity of the very bytes that were read."""
        path = folder / MANIFEST
        if not path.is_file():
            raise ConfigError(f"{folder} holds no artifact (no {MANIFEST}); run ctrgate export first")
        try:
            data = path.read_bytes()
            values = json.loads(data.decode("utf-8"))
            version = values["format_version"]
            if version in _READS:
                manifest = TypeAdapter(cls).validate_python(values)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise ArtifactError(f"{path} is damaged: {error}; export the run again") from error
        if version not in _READS and is_prepared(folder):
            raise ConfigError(f"{folder} holds prepared rows, no artifact; name the folder that ctrgate export wrote")
        if version not in _READS:
            raise ArtifactError(
                f"{path} has format {version!r}, this version reads {', '.join(map(str, _READS))}; "
                "export the run again, or use the ctrgate that wrote it"
            )
        if manifest.logit_shifts and len(manifest.logit_shifts) != len(manifest.labels):
            raise ArtifactError(
                f"{path} is damaged: {len(manifest.logit_shifts)} logit_shifts for {len(manifest.labels)} labels; "
                "export the run again"
            )
        for name, part in manifest.parts.items():
            _check_part(folder, name, part)
        _check_nothing_else(folder, manifest)
        return manifest, hashlib.sha256(data).hexdigest()


def identity(folder: Path) -> str:
    """The SHA-256 of the manifest, which holds those of all parts: it names one exported model."""
    return checksum(folder / MANIFEST)


def _check_part(folder: Path, name: str, part: PartFile) -> None:
    path = folder / name
    if not _is_inside(path, folder):
        raise ArtifactError(
            f"{folder / MANIFEST} names the part {name[:80]!r}, which is no place inside the artifact; do not use it"
        )
    if not os.path.isfile(path):  # pathlib's own raises for names that are too long
        raise ArtifactError(f"{path} is missing; copy the artifact again or export the run again")
    num_bytes = path.stat().st_size
    if num_bytes != part.num_bytes:
        raise ArtifactError(
            f"{path} has {num_bytes} bytes, the manifest says {part.num_bytes}; copy it again or export again"
        )
    if checksum(path) != part.sha256:
        raise ArtifactError(f"{path} was changed after it was written; copy the artifact again or export the run again")


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a zero byte, links in a circle
        return False


def _check_nothing_else(folder: Path, manifest: Manifest) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if unknown := sorted(there - {MANIFEST, *manifest.parts}):
        raise ArtifactError(f"{folder} holds files that its manifest does not list: {', '.join(unknown)}; remove them")
