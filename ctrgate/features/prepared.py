"""The folder that ``prepare`` writes: its manifest, its parts, its encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ctrgate.config import Place, settings
from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.additions import without_additions
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.features.sources import SplitName
from ctrgate.files import write_json
from ctrgate.folders import ENCODER, MANIFEST, is_artifact

__all__ = [
    "FORMAT_VERSION",
    "Manifest",
    "Part",
    "PrepareSettings",
    "Prepared",
    "SourceFile",
    "SplitCount",
    "grown_from",
]

FORMAT_VERSION = 1


@settings
class PrepareSettings:
    """The ``prepare`` section of a run file: where the prepared files go."""

    into: Place = ""
    """The folder; ``prepared/NAME`` by default, with the dataset's name."""
    previous: Place = ""
    """An earlier prepared folder of the same features whose encoder grows: new values get new rows, nothing moves. Or
    an artifact, whose encoder gives up the rows of retired values before it grows, as it has of dropped ones: rows
    move, and what was dropped stays so."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that work on the raw files, a file at a time, started by Ray (see ``cluster``); they must see the files
    under the same paths. 0 does without Ray. What comes out is the same to the last byte."""
    dry_run: bool = False
    """Only say what would be read and written."""

    def folder(self, dataset: DatasetConfig) -> Path:
        """The folder of a dataset's prepared files."""
        return Path(self.into or f"prepared/{dataset.name}")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A raw file that was read: rows or a joined table."""

    path: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One encoded file, its path relative to the folder."""

    path: str
    num_rows: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class SplitCount:
    """One split: its rows, its positive rows by label, its parts in the order of the rows."""

    num_rows: int
    positives: Mapping[str, int]
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a prepared folder says of itself.

    Args:
        format_version: Of the folder.
        dataset: The settings it was made by, as plain values.
        sources: The raw files.
        encoder: The content hash of the encoder.
        splits: By name, those that have rows.
        negative_sampling_rate: Share of train's negatives that were kept.
        layout: The encoded columns.
        ancestors: The hashes of the encoders that this one grew from, oldest first.
    """

    format_version: int
    dataset: Mapping[str, Any]
    sources: tuple[SourceFile, ...]
    encoder: str
    splits: Mapping[SplitName, SplitCount]
    negative_sampling_rate: float
    layout: Layout
    ancestors: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        write_json(folder / MANIFEST, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest.

        Raises:
            ArtifactError: Where it is missing, damaged or of another format.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values["format_version"]
            if version != FORMAT_VERSION:
                raise ArtifactError(
                    f"{path} has format {version}, this is format {FORMAT_VERSION}; run ctrgate prepare again"
                )
            values["layout"] = Layout.from_json(values["layout"])
            return TypeAdapter(cls).validate_python(values)
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); run ctrgate prepare again") from error


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened for reading."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path, *, dataset: DatasetConfig | None = None) -> Prepared:
        """Open a folder, and see that its parts are there in full length.

        Args:
            folder: Written by ``ctrgate prepare``.
            dataset: The dataset that a run declares; the folder must have been made by these settings.

        Raises:
            ConfigError: Where there is no such folder, or it was made by other settings.
            ArtifactError: Where it is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} does not exist; run ctrgate prepare with the same run file first, from the same folder"
            )
        manifest = Manifest.read(folder)
        if dataset is not None and manifest.dataset != plain(dataset):
            wanted = plain(dataset)
            named = [name for name in {**wanted, **manifest.dataset} if manifest.dataset.get(name) != wanted.get(name)]
            raise ConfigError(
                f"{folder} was prepared with other dataset settings ({', '.join(named)}); prepare it again"
            )
        for part in (part for split in manifest.splits.values() for part in split.parts):
            path = folder / part.path
            if not path.is_file() or path.stat().st_size != part.num_bytes:
                raise ArtifactError(f"{path} is missing or not as it was written; run ctrgate prepare again")
        return cls(folder=folder, manifest=manifest)

    @property
    def layout(self) -> Layout:
        """The encoded columns."""
        return self.manifest.layout

    @property
    def dataset(self) -> DatasetConfig:
        """The settings it was made by."""
        return TypeAdapter(DatasetConfig).validate_python(self.manifest.dataset)

    @property
    def encoder_folder(self) -> Path:
        """Where the encoder lies."""
        return self.folder / ENCODER

    def files(self, split: SplitName) -> list[Path]:
        """The parts of a split in the order of its rows; none where the dataset has no such split."""
        return [self.folder / part.path for part in self.manifest.splits[split].parts] if self._has(split) else []

    def num_rows(self, split: SplitName) -> int:
        """The rows of a split."""
        return self.manifest.splits[split].num_rows if self._has(split) else 0

    def _has(self, split: SplitName) -> bool:
        return split in self.manifest.splits


def grown_from(folder: Path) -> tuple[Encoder, tuple[str, ...]]:
    """The encoder of a prepared folder or of an artifact, and the hashes of all that grow into one made from it.

    Raises:
        ConfigError: There is no such folder.
        ArtifactError: It is damaged.
    """
    if not folder.is_dir():
        raise ConfigError(f"prepare.previous: {folder} does not exist; name a prepared folder or an artifact")
    encoder = Encoder.load(folder / ENCODER)
    if is_artifact(folder):
        compact, _ = encoder.compact()
        return compact, (compact.hash,)
    manifest = Manifest.read(folder)
    return encoder, (*manifest.ancestors, manifest.encoder)


def plain(dataset: DatasetConfig) -> dict[str, Any]:
    """The settings as JSON has them."""
    values: dict[str, Any] = json.loads(TypeAdapter(DatasetConfig).dump_json(dataset))
    values["features"] = [without_additions(feature) for feature in values["features"]]
    return without_additions(values)
