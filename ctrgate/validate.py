"""Check a day's rows against a dataset's expectations: schema, nulls, drift, labels, unseen ids, leaks."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Any

import polars as pl

from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.features.dataset import DatasetConfig, Places
from ctrgate.features.encoder import Encoder
from ctrgate.features.prepared import Prepared, PrepareSettings
from ctrgate.features.roles import SPLIT
from ctrgate.features.sources import Source, SplitName, open_sources
from ctrgate.features.splits import assign
from ctrgate.files import atomic_file, checksum, write_json, writing
from ctrgate.progress import console
from ctrgate.validation.day import check_files, check_opened
from ctrgate.validation.expectations import load
from ctrgate.validation.infer import SchemaSettings
from ctrgate.validation.report import validation_page
from ctrgate.validation.rules import SEVERITIES, CheckSettings

__all__ = ["Config", "ValidateSettings", "run"]

_TOLD = 20  # findings on the terminal; the page has all


@settings
class ValidateSettings(CheckSettings):
    """The ``validate`` section of a run file."""

    files: Places = ()
    """Paths or globs of the day's raw rows, labels included."""
    split: SplitName | None = None
    """Instead of ``files``: the dataset's own rows of a split; test where neither is given."""
    into: Place = ""
    """The folder of ``validation.json`` and ``index.html``; ``validation/NAME`` by default, with the dataset's name."""
    unseen: bool = True
    """Whether the prepared folder's encoder, where there is one, tells which values are unseen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.files and self.split is not None:
            raise ValueError("files and split both say which rows are checked; give one")


@settings
class Config:
    """The sections that ``validate`` reads."""

    dataset: DatasetConfig
    """What the columns mean, and how files are read."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """Where the prepared folder lies."""
    schema: SchemaSettings = field(default_factory=SchemaSettings)
    """Where the expectations lie."""
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    """Which rows are checked, by which rules."""


def run(config: Config) -> dict[str, Any]:
    """Check rows and write ``validation.json`` and ``index.html``; nothing else is changed.

    Returns:
        Both files, the gravest severity, the number of findings by severity, and the rows.

    Raises:
        HeldBackError: Where a finding says stop; both files are written first.
        ConfigError: Where there are no expectations, or they belong to another dataset.
        DataError: Where a place names no file.
    """
    dataset, how = config.dataset, config.validate
    place = config.schema.place(dataset)
    expectations = load(place)
    encoder = _encoder(config)
    if how.files:
        checked = check_files(dataset, how.files, expectations=expectations, how=how, encoder=encoder)
    else:
        rows = _rows_of(how.split or "test", dataset)
        checked = check_opened(dataset, rows, expectations=expectations, how=how, encoder=encoder)
    folder = Path(how.into or f"validation/{dataset.name}")
    values = checked.to_json() | {"expectations": {"file": place, "sha256": checksum(place)}}
    with writing(folder, setting="validate.into"):
        write_json(folder / "validation.json", values)
        with atomic_file(folder / "index.html") as temporary:
            text = validation_page(checked, expectations=expectations, title=f"Validation of {dataset.name}")
            temporary.write_text(text, encoding="utf-8")
    for finding in checked.findings[:_TOLD]:
        console.print(str(finding), markup=False)
    console.print(f"validation: {folder / 'index.html'}", markup=False)
    stops = checked.of("stop")
    if stops:
        rules = ", ".join(dict.fromkeys(finding.rule for finding in stops))
        raise HeldBackError(
            f"{len(stops)} finding{'s' if len(stops) > 1 else ''} of severity stop ({rules}); {stops[0]}\n"
            f"All are told in {folder / 'index.html'} and {folder / 'validation.json'}."
        )
    return {
        "validation": str(folder / "validation.json"),
        "report": str(folder / "index.html"),
        "worst": checked.worst,
        "findings": {severity: len(checked.of(severity)) for severity in SEVERITIES},
        "rows": checked.num_rows,
    }


def _encoder(config: Config) -> Encoder | None:
    folder = config.prepare.folder(config.dataset)
    if not config.validate.unseen:
        return None
    if not folder.is_dir():
        console.print(f"{folder} does not exist: unseen values are not checked", markup=False)
        return None
    return Encoder.load(Prepared.open(folder).encoder_folder)


def _rows_of(split: SplitName, dataset: DatasetConfig) -> list[Source]:
    """The dataset's own rows of a split, none left out by sampling.

    Raises:
        ConfigError: Where the dataset has no such split.
    """
    whole = dataclasses.replace(dataset, negative_sampling_rate=1.0)
    sources = [source for source in open_sources(whole) if source.split in (None, split)]
    if not sources:
        raise ConfigError(f"the dataset {dataset.name} has no files of {split}; name the day's in validate.files")
    frames = assign(whole, sources)
    return [
        dataclasses.replace(source, rows=frame.filter(pl.col(SPLIT) == split))
        for source, frame in zip(sources, frames, strict=True)
    ]
