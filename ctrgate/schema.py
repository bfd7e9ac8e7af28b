"""Infer from train's rows what a day's rows should look like, as YAML to be edited and kept in git."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import polars as pl

from ctrgate.config import settings
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.partial import features_json
from ctrgate.features.prepared import Prepared, PrepareSettings
from ctrgate.features.roles import SPLIT, check_sources
from ctrgate.features.sources import Source, open_sources
from ctrgate.features.splits import assign
from ctrgate.files import writing
from ctrgate.progress import console
from ctrgate.validation.expectations import save
from ctrgate.validation.infer import SchemaSettings, infer
from ctrgate.validation.unseen import Unseen, count_unseen

__all__ = ["Config", "run"]


@settings
class Config:
    """The sections that ``schema`` reads."""

    dataset: DatasetConfig
    """The rows and what they mean."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """Where the prepared folder lies; its encoder, where there is one, tells the usual share of unseen values."""
    schema: SchemaSettings = field(default_factory=SchemaSettings)
    """Where the expectations go, and how they are inferred."""


def run(config: Config) -> dict[str, Any]:
    """Infer the expectations of a dataset and write them; a file that differs stays, unless it may be overwritten.

    Returns:
        The file, whether it was up to date, the rows, and how many periods and columns they had.

    Raises:
        ConfigError: Where the file holds something else, and ``schema.overwrite`` is not set.
        SchemaError: Where a file lacks a declared column or holds it in a type that cannot serve.
        DataError: Where files cannot be read, or train has no rows.
    """
    # negatives that training leaves out are rows of a day all the same
    dataset = dataclasses.replace(config.dataset, negative_sampling_rate=1.0)
    sources = open_sources(dataset)
    check_sources(dataset, sources)
    frames = assign(dataset, sources)
    train = _rows_of("train", sources, frames)
    unseen = _unseen(config, _rows_of("valid", sources, frames))
    expectations = infer(dataset, train, how=config.schema, unseen=unseen)
    place = config.schema.place(dataset)
    with writing(place, setting="schema.file"):
        written = save(expectations, place, overwrite=config.schema.overwrite)
    for name, column in expectations.columns.items():
        if column.auc is not None and column.auc >= 0.98:
            console.print(f"{name} ranks a label almost alone; see whether it is known before the label is")
    console.print(f"{place}: {'written' if written else 'up to date'}", markup=False)
    reference = expectations.reference
    return {
        "expectations": place,
        "up_to_date": not written,
        "rows": reference.num_rows,
        "periods": reference.num_periods,
        "columns": len(expectations.columns),
    }


def _rows_of(split: str, sources: Sequence[Source], frames: Sequence[pl.LazyFrame]) -> list[Source]:
    """The files with the rows of one split."""
    return [
        dataclasses.replace(source, rows=frame.filter(pl.col(SPLIT) == split))
        for source, frame in zip(sources, frames, strict=True)
        if source.split in (None, split)
    ]


def _unseen(config: Config, valid: Sequence[Source]) -> dict[str, Unseen]:
    """What the prepared folder's encoder had not seen of the rows of valid; nothing where there is no such folder."""
    folder = config.prepare.folder(config.dataset)
    if not folder.is_dir():
        console.print(f"{folder} does not exist: the share of unseen values is not inferred", markup=False)
        return {}
    encoder = Encoder.load(Prepared.open(folder).encoder_folder)
    if features_json(encoder.features) != features_json(config.dataset.features):
        console.print(f"{folder} is of other features: the share of unseen values is not inferred", markup=False)
        return {}
    return count_unseen(encoder, valid)
