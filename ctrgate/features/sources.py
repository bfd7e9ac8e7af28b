"""Raw tables: the files a dataset names, read lazily, with its joins applied."""

from __future__ import annotations

import dataclasses
import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.column_types import held_type, is_text
from ctrgate.features.dataset import Csv, DatasetConfig, Join
from ctrgate.features.encoder import Encoder
from ctrgate.features.rawfile import TYPES, RawFile

__all__ = [
    "SPLITS",
    "RawReader",
    "Source",
    "SplitName",
    "check_agreement",
    "expand",
    "named_files",
    "open_sources",
    "read_raw",
]

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One raw file with its joins.

    Args:
        file: The file.
        number: Its place among the dataset's files.
        split: The split it belongs to, where splits are given as files.
        rows: Its rows in their order, joined columns included, numbered by the column ``ROW``.
        schema: The columns of ``rows`` but ``ROW``.
    """

    file: RawFile
    number: int
    split: SplitName | None
    rows: pl.LazyFrame
    schema: pl.Schema

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.file.path

    def reading(self) -> AbstractContextManager[None]:
        """A block that reads the rows: what Polars says of a damaged file becomes a DataError that names it."""
        return self.file.reading()


def expand(places: Iterable[str]) -> list[Path]:
    """The files that paths and globs name: as listed, each glob's matches in name order.

    Raises:
        DataError: Where a place names no file, or a file is empty.
    """
    files = named_files(places)
    for path in files:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)")
    return files


def named_files(places: Iterable[str]) -> list[Path]:
    """As ``expand``, empty files included.

    Raises:
        DataError: Where a place names no file.
    """
    files: list[Path] = []
    for place in places:
        found = sorted(glob.glob(place, recursive=True)) if glob.has_magic(place) else [place]
        paths = [Path(name) for name in found if Path(name).is_file()]
        if not paths:
            raise DataError(f"{place}: no such file; relative paths start at the working folder")
        files += paths
    return files


def open_sources(dataset: DatasetConfig) -> list[Source]:
    """The files of a dataset, those of train first, with joins applied; only their schemas are read.

    Raises:
        DataError: Where a file is missing, empty, damaged, or named twice, or a join's key is not unique.
        SchemaError: Where a join's key is missing or its columns are there already.
    """
    if dataset.splits is None:
        named: list[tuple[Path, SplitName | None]] = [(path, None) for path in expand(dataset.files)]
    else:
        named = [(path, split) for split in SPLITS for path in expand(getattr(dataset.splits, split))]
    for path, count in Counter(path.resolve() for path, _ in named).items():
        if count > 1:
            raise DataError(f"{path} is named {count} times; a row belongs to one split, once")
    joins = _read_joins(dataset)
    types = _types(dataset, csv=dataset.csv)
    return [
        _open(RawFile(path=path, table=dataset, types=types), joins=joins, number=number, split=split)
        for number, (path, split) in enumerate(named)
    ]


def read_raw(dataset: DatasetConfig, files: Sequence[str], *, encoder: Encoder | None = None) -> list[Source]:
    """Rows to be scored: the files named, read and joined as the dataset's own, without labels, row order kept.

    A join is left out for a file that has all of its columns already.

    Args:
        dataset: The dataset that the model was trained on.
        files: Paths or globs.
        encoder: Columns of text files are read as integers where it learnt integers.
    """
    reader = RawReader(dataset, encoder=encoder)
    return [reader.open(path, number=number) for number, path in enumerate(expand(files))]


class RawReader:
    """Opens files of rows to be scored, one by one; joined tables are read once.

    Args:
        dataset: As in ``read_raw``.
        encoder: As in ``read_raw``.
    """

    def __init__(self, dataset: DatasetConfig, *, encoder: Encoder | None = None) -> None:
        self._dataset, self._joins = dataset, _read_joins(dataset)
        integers = dict.fromkeys(_integers(encoder) if encoder else (), pl.Int64())
        self._types = integers | _types(dataset, csv=dataset.csv)

    def open(self, path: Path, *, number: int = 0, within: tuple[int, int] | None = None) -> Source:
        """One file, or its rows from the first of ``within`` to before the second."""
        file = RawFile(path=path, table=self._dataset, types=self._types, within=within)
        return _open(file, joins=self._joins, number=number, skip_present=True)


def check_agreement(dataset: DatasetConfig, sources: Sequence[Source]) -> None:
    """See that no column of a feature, the group or a key is text in one file and numbers in another.

    Raises:
        SchemaError: Naming the column and two files that differ.
    """
    read = [column for feature in dataset.features for column in feature.columns_read(log=True)]
    for column in dict.fromkeys([*read, *filter(None, [dataset.roles.group]), *dataset.roles.keys]):
        first: Source | None = None
        for source in sources:
            kind = held_type(source.schema.get(column, pl.Null()))
            if kind == pl.Null:
                continue
            first = first or source
            if is_text(kind) != is_text(held_type(first.schema[column])):
                raise SchemaError(
                    f"{source.path}: column {column} holds {source.schema[column]}, but {first.path} holds "
                    f"{first.schema[column]} there; one column must be text everywhere or numbers everywhere"
                )


def _open(
    file: RawFile,
    *,
    joins: list[tuple[Join, pl.DataFrame]],
    number: int,
    split: SplitName | None = None,
    skip_present: bool = False,
) -> Source:
    source = Source(file=file, number=number, split=split, rows=file.rows(), schema=file.schema)
    for join, frame in joins:
        added = [name for name in frame.columns if name not in join.on]
        present = [name for name in added if name in source.schema]
        if present and not (skip_present and present == added):
            raise SchemaError(f"{file.path} has columns {present} already that a join adds; give the join a prefix")
        if not present:
            source = _joined(source, join=join, frame=frame)
    return source


def _joined(source: Source, *, join: Join, frame: pl.DataFrame) -> Source:
    """Add a table's columns by its key, which is read in the type that the rows have it in."""
    missing = [name for name in join.on if name not in source.schema]
    if missing:
        raise SchemaError(_lacks(source.path, missing, "the join with " + ", ".join(join.files), source.schema))
    try:
        frame = frame.with_columns(pl.col(name).cast(source.schema[name]) for name in join.on)
    except pl.exceptions.PolarsError as error:
        types = {name: (str(source.schema[name]), str(frame.schema[name])) for name in join.on}
        raise SchemaError(
            f"{source.path} cannot be joined with {', '.join(join.files)}: the key has types {types} there and here"
        ) from error
    rows = source.rows.join(frame.lazy(), on=list(join.on), how="left", maintain_order="left")
    added = {name: kind for name, kind in frame.schema.items() if name not in join.on}
    return dataclasses.replace(source, rows=rows, schema=pl.Schema({**source.schema, **added}))


def _read_joins(dataset: DatasetConfig) -> list[tuple[Join, pl.DataFrame]]:
    return [(join, _read_join(join, types=_types(dataset, csv=join.csv, prefix=join.prefix))) for join in dataset.joins]


def _read_join(join: Join, *, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A joined table in memory: its key and the columns taken, under their new names."""
    frames = []
    for path in expand(join.files):
        file = RawFile(path=path, table=join, types=types)
        taken = list(join.take) or [name for name in file.schema if name not in join.on]
        missing = [name for name in (*join.on, *taken) if name not in file.schema]
        if missing:
            raise SchemaError(_lacks(path, missing, "the join", file.schema))
        with file.reading():
            frames.append(file.rows().select(*join.on, pl.col(taken).name.prefix(join.prefix)).collect())
    frame = pl.concat(frames).drop_nulls(join.on)
    repeated = frame.filter(pl.struct(join.on).is_duplicated())
    if repeated.height:
        key = ", ".join(f"{name}={value!r}" for name, value in zip(join.on, repeated.row(0), strict=False))
        raise DataError(
            f"{', '.join(join.files)} has several rows for the key {key}; a joined table must have one row per key"
        )
    return frame


def _lacks(path: Path, missing: Iterable[str], who: str, schema: Iterable[str]) -> str:
    return f"{path} lacks columns {list(missing)} that {who} declares; it has {list(schema)}"


def _types(dataset: DatasetConfig, *, csv: Csv, prefix: str = "") -> dict[str, pl.DataType]:
    """The columns of text files that are no text: those used as numbers, and what ``csv.types`` says."""
    roles = dataset.roles
    floats = {roles.weight} | {label.source for label in dataset.labels if not isinstance(label.equals, str)}
    integers = {roles.timestamp, roles.order}
    texts: set[str] = set()
    for feature in dataset.features:
        for raw in feature.raw_columns(log=True):
            is_text = raw.is_list or (raw.holds == "category" and not raw.identity)
            read_as = texts if is_text else floats if raw.holds == "number" else integers
            read_as.add(raw.column)
    types: dict[str, pl.DataType] = dict.fromkeys(floats, pl.Float64())
    types |= dict.fromkeys((floats & texts) | integers, pl.Int64())
    types.pop("", None)
    used = {name.removeprefix(prefix): kind for name, kind in types.items() if name.startswith(prefix)}
    return used | {name: TYPES[kind] for name, kind in csv.types.items()}


def _integers(encoder: Encoder) -> list[str]:
    """The columns of categories that were integers when the encoder was fitted."""
    read = [raw for feature in encoder.features for raw in feature.raw_columns()]
    return [raw.column for raw in read if raw.table and not raw.is_list and encoder.tables[raw.table].type == "int"]
