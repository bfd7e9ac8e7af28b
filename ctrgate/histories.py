"""Give rows that are to be scored their users' histories, from the log that the dataset's files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import polars as pl
import pyarrow.parquet as pq
from pydantic import Field

from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.dataset import DatasetConfig, Places
from ctrgate.features.histories import histories
from ctrgate.features.kinds.sequence import SequenceFeature, is_logged
from ctrgate.features.rawfile import ROW
from ctrgate.features.roles import check_sources, check_user_and_time
from ctrgate.features.sources import Source, check_agreement, open_sources, read_raw
from ctrgate.features.timeline import num_rows
from ctrgate.files import atomic_folder, write_json, writing
from ctrgate.progress import Bar, bar, console

__all__ = ["Config", "HistoriesSettings", "run"]

_ROWS = 1 << 17  # of a row group
_MADE = "histories.json"


@settings
class HistoriesSettings:
    """Which rows get histories."""

    files: Annotated[Places, Field(min_length=1)]
    """Paths or globs of raw files, written as the dataset's were: any rows with the column of ``roles.group``. Where
    they have that of the time (``roles.timestamp``, else ``roles.order``), what is earlier is listed; else the last."""
    into: Place = ""
    """The folder of the files with histories, for ``score.files``; ``histories/NAME`` by default, with the dataset's
    name. An earlier one is replaced."""


@settings
class Config:
    """The sections that ``histories`` reads."""

    dataset: DatasetConfig
    """The log: all rows that may be events, those of every split and of days since; and what is listed of them."""
    histories: HistoriesSettings
    """Which rows get histories."""


def run(config: Config) -> dict[str, Any]:
    """Write each file anew as Parquet, with the columns ``GROUP/MEMBER`` that a model of this dataset reads.

    Histories are as ``prepare`` makes them, and rows that get them are no events themselves. All files appear or none.

    Returns:
        The folder, rows and files, and the share of rows whose user has no event.

    Raises:
        ConfigError: Where no feature is built from the log, or the folder holds something else.
        SchemaError: Naming file and columns that are missing, there already, or of another type.
        DataError: Where a place names no file, or two files have one name.
    """
    dataset = config.dataset
    groups = list(filter(is_logged, dataset.features))
    if not groups:
        raise ConfigError("dataset.features: no sequence has a log; the rows to be scored bring its lists themselves")
    into = Path(config.histories.into or f"histories/{dataset.name}")
    if into.is_dir() and any(into.iterdir()) and not (into / _MADE).is_file():
        raise ConfigError(f"histories.into: {into} holds other files than histories; name another folder")
    log, asked = open_sources(dataset), _asked(config, groups)
    check_sources(dataset, log)
    check_agreement(dataset, [*log, *asked])
    total = empty = 0
    with (
        TemporaryDirectory(prefix="ctrgate-log-") as scratch,
        writing(into, setting="histories.into"),
        atomic_folder(into) as folder,
    ):
        console.print(f"reading the log: {len(log)} files", markup=False)
        built = histories(dataset, log, asked=asked, scratch=Path(scratch))[len(log) :]
        with bar("histories", total=sum(num_rows(asked))) as progress:
            for source, columns in zip(asked, built, strict=True):
                rows, without = _write(source, columns, folder / f"{source.path.stem}.parquet", progress)
                total, empty = total + rows, empty + without
        summary = {"rows": total, "files": len(asked), "without_events": empty / max(1, total)}
        write_json(folder / _MADE, summary)
    console.print(f"{into}: {total:,} rows, {empty / max(1, total):.1%} of them without events", markup=False)
    return {"folder": str(into), **summary}


def _asked(config: Config, groups: Sequence[SequenceFeature]) -> list[Source]:
    sources = read_raw(config.dataset, config.histories.files)
    names = Counter(source.path.stem for source in sources)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise DataError(f"histories.files: several files are called {repeated[0]}; give each a name of its own")
    lists = [group.list_column(member) for group in groups for member in group.members]
    for source in sources:
        check_user_and_time(config.dataset, source)
        if there := [name for name in lists if name in source.schema]:
            raise SchemaError(f"{source.path} has {there} already; score it as it is, or leave these columns out")
    return sources


def _write(source: Source, columns: list[pl.Expr], place: Path, progress: Bar) -> tuple[int, int]:
    """Write a file; returns its rows and how many of them have empty histories alone."""
    frame = source.file.rows().with_columns(columns).drop(ROW)
    lists = [column.meta.output_name() for column in columns]
    rows = empty = 0
    with source.reading():
        schema = frame.clear().collect().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        with pq.ParquetWriter(place, schema, compression="zstd") as writer:
            for piece in frame.collect_batches(chunk_size=_ROWS, maintain_order=True):
                writer.write_table(piece.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
                rows += piece.height
                empty += int(piece.select(pl.all_horizontal(pl.col(lists).list.len() == 0).sum()).item())
                progress.advance(piece.height)
    return rows, empty
