"""Check a day's raw rows against a dataset's expectations: what a pipeline calls before it learns from them."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.partial import features_json
from ctrgate.features.rawfile import UNREADABLE
from ctrgate.features.roles import SPLIT, check_roles, count_rows
from ctrgate.features.sources import Source, check_agreement, named_files, read_raw
from ctrgate.validation.book import Book
from ctrgate.validation.checks import check_profile, check_unseen
from ctrgate.validation.expectations import Expectations
from ctrgate.validation.profile import Profile, Times, profile, repeated_rows
from ctrgate.validation.result import Validation, validation_of
from ctrgate.validation.rules import CheckSettings
from ctrgate.validation.unseen import Unseen, count_unseen
from ctrgate.validation.watched import Watched, type_name, watched_columns

__all__ = ["check_files", "check_opened"]

_SHOWN = 5


def check_files(
    dataset: DatasetConfig,
    files: Sequence[str],
    *,
    expectations: Expectations,
    how: CheckSettings | None = None,
    encoder: Encoder | None = None,
) -> Validation:
    """Check the raw files of one day, read and joined as the dataset's own; nothing is written.

    A file that is damaged or lacks columns is a finding, and the others are checked all the same.

    Args:
        dataset: What the columns mean; its own files are not read.
        files: Paths or globs.
        expectations: Of the dataset.
        how: Severities, and what is known of the day.
        encoder: What training knows, for the share of unseen values; without it that is not checked.

    Raises:
        DataError: Where a place names no file.
        ConfigError: Where expectations or encoder belong to another dataset.
    """
    book = _book(dataset, expectations, how=how, encoder=encoder)
    try:
        sources = read_raw(dataset, files, encoder=encoder)
    except (DataError, SchemaError):
        sources = _readable(dataset, named_files(files), encoder=encoder, book=book)
    return _check(dataset, sources, book=book, encoder=encoder)


def check_opened(
    dataset: DatasetConfig,
    sources: Sequence[Source],
    *,
    expectations: Expectations,
    how: CheckSettings | None = None,
    encoder: Encoder | None = None,
) -> Validation:
    """Check rows that are open already, filtered perhaps; see ``check_files``.

    Args:
        sources: The rows, with the column ``ROW``; labels included.
    """
    book = _book(dataset, expectations, how=how, encoder=encoder)
    return _check(dataset, sources, book=book, encoder=encoder)


def _book(
    dataset: DatasetConfig, expectations: Expectations, *, how: CheckSettings | None, encoder: Encoder | None
) -> Book:
    """An empty book, once it is sure that all parts speak of the same dataset."""
    how = how or CheckSettings()
    if expectations.dataset != dataset.name:
        raise ConfigError(
            f"the expectations are of the dataset {expectations.dataset}, the run's is {dataset.name}; name the right "
            "file in schema.file"
        )
    if encoder is not None and features_json(encoder.features) != features_json(dataset.features):
        raise ConfigError(
            f"the encoder has other features than the dataset {dataset.name}; run `ctrgate prepare` again, or set "
            "validate.unseen=false"
        )
    for one in watched_columns(dataset):
        expected = expectations.columns.get(one.column)
        is_number = one.content in ("number", "numbers")
        if expected is not None and ((expected.bins and not is_number) or (expected.top is not None and is_number)):
            words = "numbers" if expected.bins else "categories"
            raise ConfigError(
                f"columns.{one.column} of the expectations holds {words}, but dataset.features reads it otherwise; "
                "infer the expectations anew by `ctrgate schema`"
            )
    if (how.since is not None or how.until is not None or how.features_at) and not dataset.roles.timestamp:
        raise ConfigError("validate.since, until and features_at need roles.timestamp, which tells a row's time")
    return Book(expectations, how)


def _check(dataset: DatasetConfig, sources: Sequence[Source], *, book: Book, encoder: Encoder | None) -> Validation:
    watched = watched_columns(dataset)
    _check_covered(watched, book)
    _check_schemas(dataset, sources, watched=watched, book=book)
    readable = _check_values(dataset, sources, book=book)
    try:
        seen = _profile(dataset, readable, watched=watched, book=book)
    except DataError:  # of a part of a file that the check of values had no need to read
        readable = [source for source in readable if _reads(source, book)]
        seen = _profile(dataset, readable, watched=watched, book=book)
    measures = check_profile(seen, book)
    _check_repeated(seen, readable, book)
    unseen: Mapping[str, Unseen] | None = None
    if encoder is not None:
        unseen = count_unseen(encoder, readable)
        check_unseen(unseen, book)
    return validation_of(dataset, seen=seen, findings=book.findings, measures=measures, unseen=unseen)


def _profile(dataset: DatasetConfig, sources: Sequence[Source], *, watched: Sequence[Watched], book: Book) -> Profile:
    since, until = book.how.seconds
    return profile(
        dataset,
        sources,
        watched=watched,
        expected=book.expectations.columns,
        period=book.expectations.reference.period,
        times=Times(since=since, until=until) if dataset.roles.timestamp else None,
        features_at=book.how.features_at,
    )


def _readable(dataset: DatasetConfig, paths: Sequence[Path], *, encoder: Encoder | None, book: Book) -> list[Source]:
    """The files that can be opened; a finding for each of the others."""
    sources: list[Source] = []
    told: set[str] = set()
    for path in paths:
        try:
            (source,) = read_raw(dataset, [glob.escape(str(path))], encoder=encoder)
            sources.append(dataclasses.replace(source, number=len(sources)))
        except (DataError, SchemaError) as error:
            if str(error) not in told:  # a fault of a joined table is every file's
                _write_error(error, path, book)
            told.add(str(error))
    return sources


def _write_error(error: DataError | SchemaError, path: Path, book: Book) -> None:
    if isinstance(error, SchemaError):
        expected, remedy = "the columns that the dataset declares", "mend the file, or the dataset's settings"
        book.write("schema", expected=expected, found=str(error), remedy=remedy, file=str(path))
    else:
        expected, remedy = "a whole file", "write it again, or take it out"
        book.write("readable", expected=expected, found=str(error), remedy=remedy, file=str(path))


def _check_covered(watched: Sequence[Watched], book: Book) -> None:
    known = {one.column: ", ".join(one.features) for one in watched}
    for column in [*known, *book.expectations.columns]:
        if (column in known) != (column in book.expectations.columns):
            here = column in known
            book.write(
                "uncovered",
                expected="the same columns in dataset and expectations",
                found="it is in the dataset alone" if here else "it is in the expectations alone",
                remedy="infer the expectations anew, or edit them",
                column=column,
                feature=known.get(column, ""),
            )


def _check_schemas(
    dataset: DatasetConfig, sources: Sequence[Source], *, watched: Sequence[Watched], book: Book
) -> None:
    for source in sources:
        for fault in _schema_faults(dataset, source):
            _write_error(fault, source.path, book)
    readers = {one.column: ", ".join(one.features) for one in watched}
    for column, expected in book.expectations.columns.items():
        others = [(source, type_name(source.schema[column])) for source in sources if column in source.schema]
        others = [(source, kind) for source, kind in others if kind and expected.type and kind != expected.type]
        if others and column in readers:
            source, kind = others[0]
            book.write(
                "types",
                expected=f"{expected.type}",
                found=f"{kind} in {len(others)} of {len(sources)} files",
                remedy=f"write the column as before, or change columns.{column}.type in the expectations",
                column=column,
                feature=readers[column],
                file=str(source.path),
            )
    try:
        check_agreement(dataset, sources)
    except SchemaError as error:
        _write_error(error, sources[0].path, book)


def _schema_faults(dataset: DatasetConfig, source: Source) -> list[SchemaError]:
    """What features and roles cannot read in a file."""
    faults = []
    try:
        check_columns(dataset.features, source.schema, source=str(source.path), log=True)
    except SchemaError as error:
        faults.append(error)
    try:
        check_roles(dataset, source)
    except SchemaError as error:
        faults.append(error)
    return faults


def _check_values(dataset: DatasetConfig, sources: Sequence[Source], *, book: Book) -> list[Source]:
    """Tell what ``prepare`` would refuse; gives the files that can be read."""
    readable = []
    for source in sources:
        whole = True
        for error in [] if _schema_faults(dataset, source) else _value_faults(dataset, source):
            if isinstance(error.__cause__, UNREADABLE):
                whole = False
                _write_error(error, source.path, book)
                break
            remedy = "mend or take out these rows: `ctrgate prepare` would refuse the file"
            expected = "values that the features can read"
            book.write("values", expected=expected, found=str(error), remedy=remedy, file=str(source.path))
        if whole:
            readable.append(source)
    return readable


def _value_faults(dataset: DatasetConfig, source: Source) -> list[DataError]:
    """The first wrong value of a feature, and the first of a role."""
    faults = []
    try:
        with source.reading():
            check_values(dataset.features, source.rows, source=str(source.path), log=True)
    except DataError as error:
        faults.append(error)
    try:
        count_rows(dataset, source, source.rows.with_columns(pl.lit("day").alias(SPLIT)))
    except DataError as error:
        faults.append(error)
    return faults


def _reads(source: Source, book: Book) -> bool:
    """Whether every column of a file can be read to its end."""
    try:
        with source.reading():
            source.rows.select(pl.all().null_count()).collect(engine="streaming")
    except DataError as error:
        _write_error(error, source.path, book)
        return False
    return True


def _check_repeated(seen: Profile, sources: Sequence[Source], book: Book) -> None:
    share, limit = seen.hashes.repeated_share, book.expectations.duplicates
    if not book.exceeds(round(share * seen.num_rows), seen.num_rows, limit=limit):
        return
    hashes, met = seen.hashes.repeated, set[int]()
    file, rows = "", list[int]()
    for source in sources:
        rows = repeated_rows(source, hashes, known=met, count=_SHOWN)
        if rows:
            file = str(source.path)
            break
    book.write(
        "duplicates",
        expected=f"at most {limit:.2%} of rows that repeat an earlier one in every column",
        found=f"{share:.2%}",
        remedy="see whether a part was written twice, or raise duplicates in the expectations",
        file=file,
        rows=tuple(rows),
    )
