"""One raw file as a lazy table that is read in small pieces, whatever its format and its row groups."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.dataset import ColumnType, Table

__all__ = ["ROW", "TYPES", "UNREADABLE", "RawFile"]

ROW = "row:index"
"""The column of a row's number in its file, counted from 0."""
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What Polars raises for a damaged file: an error, or, where it did not foresee the damage, a panic (no Exception)."""
TYPES: Mapping[ColumnType, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "datetime": pl.Datetime("us"),
}
_WORDS = {kind: name for name, kind in TYPES.items()}
_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow"}
# Polars keeps some dozens of pieces in flight between the steps of a query: small pieces keep that memory small.
_PIECE_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A Parquet, Arrow or text file.

    Args:
        path: The file.
        table: How it is read.
        types: The columns of a text file that are no text.
        within: The first row that is read, and the one after the last; all rows where it is None.
    """

    path: Path
    table: Table
    types: Mapping[str, pl.DataType]
    within: tuple[int, int] | None = None

    @property
    def format(self) -> str:
        """``parquet``, ``arrow`` or ``csv``."""
        named = self.table.format
        return _FORMATS.get(self.path.suffix.lower(), "csv") if named == "auto" else named

    @cached_property
    def schema(self) -> pl.Schema:
        """Its columns.

        Raises:
            DataError: Where the file is damaged.
        """
        with self.reading():
            schema = self._scan().collect_schema()
            if self.format == "csv":
                self._check_types(schema)
            return schema

    def rows(self) -> pl.LazyFrame:
        """Its rows in their order, with their number in the column ``ROW``; memory holds some row groups at most."""
        schema = pl.Schema({ROW: pl.get_index_type(), **self.schema})
        return register_io_source(self._pieces, schema=schema)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what Polars says of a damaged file into a DataError with the file, and a text's row and column."""
        try:
            yield
        except UNREADABLE as error:
            reason = self._misfit() if self.format == "csv" else None
            reason = reason or str(error).strip().splitlines()[0] + "; is it damaged, cut short, or of another format?"
            raise DataError(f"{self.path} cannot be read: {reason}") from error

    def _pieces(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 a wish of Polars', which may be left unheard
    ) -> Iterator[pl.DataFrame]:
        """The rows piece by piece, as Polars asks for them."""
        columns = None if with_columns is None else [name for name in with_columns if name != ROW]
        offset, start = self.within[0] if self.within else 0, 0
        for piece in self._unnumbered(columns):
            rows = piece.with_row_index(ROW, offset=offset + start)
            start += piece.height
            if n_rows is not None:
                rows = rows.head(max(0, n_rows - start + piece.height))
            if with_columns is not None:
                rows = rows.select(with_columns)
            yield rows if predicate is None else rows.filter(predicate)
            if n_rows is not None and start >= n_rows:
                return

    def _unnumbered(self, columns: list[str] | None) -> Iterator[pl.DataFrame]:
        lazy = self._scan()
        lazy = lazy if columns is None else lazy.select(columns or pl.first())
        if self.format != "parquet":
            lazy = lazy.slice(self.within[0], self.within[1] - self.within[0]) if self.within else lazy
            yield from lazy.collect_batches(chunk_size=_PIECE_ROWS, maintain_order=True, engine="streaming")
            return
        metadata, start = pq.read_metadata(self.path), 0
        for group in range(metadata.num_row_groups):
            stop = start + metadata.row_group(group).num_rows
            first, last = (max(start, self.within[0]), min(stop, self.within[1])) if self.within else (start, stop)
            if first < last:
                yield from lazy.slice(first, last - first).collect().iter_slices(_PIECE_ROWS)
            start = stop

    def _scan(self) -> pl.LazyFrame:
        if self.format == "parquet":
            return pl.scan_parquet(self.path, glob=False, hive_partitioning=False)
        if self.format == "arrow":
            return pl.scan_ipc(self.path, glob=False, hive_partitioning=False)
        csv = self.table.csv
        return pl.scan_csv(
            self.path if csv.encoding == "utf8" else StringIO(self.path.read_text(encoding=csv.encoding)),
            has_header=csv.header,
            separator=csv.separator or ("\t" if self.path.suffix.lower() == ".tsv" else ","),
            quote_char=csv.quote or None,
            null_values=list(csv.null_values) or None,
            schema=None if csv.header else {name: self.types.get(name, pl.String()) for name in csv.columns},
            infer_schema=False,
            schema_overrides=self.types if csv.header else None,
            glob=False,
        )

    def _check_types(self, schema: pl.Schema) -> None:
        """Refuse types of columns that are called otherwise, and dates that Polars would read with the day first.

        Raises:
            SchemaError: Naming the column that was meant.
            DataError: Naming the column, the row and the text.
        """
        for name in (name for name in self.table.csv.types if name not in schema):
            if close := difflib.get_close_matches(name, [known for known in schema if known not in self.types], n=1):
                raise SchemaError(
                    f"{self.path}: dataset.csv.types names {name!r}, which it lacks; did you mean {close[0]!r}?"
                )
        dates = [name for name, kind in self.types.items() if kind == TYPES["datetime"] and name in schema]
        if dates:
            texts = replace(self, types={})._scan().select(dates).head(_PIECE_ROWS).collect()
            for column in texts:
                wrong = (column.is_not_null() & ~column.str.contains(r"^\s*\d{4}")).arg_true()
                if len(wrong):
                    raise DataError(
                        f"{self.path} row {wrong[0]} (counted from 0) holds {column[wrong[0]]!r} as {column.name}, a "
                        "datetime; write the year first, as in 2025-01-31 08:15:00: day and month must not be mixed up"
                    )

    def _misfit(self) -> str | None:
        """The first text that is not of its column's type; None where that is not what is wrong with the file."""
        texts = replace(self, types={})._scan()
        try:
            for name in [name for name in self.types if name in self.schema]:
                kind = self.types[name]
                wrong = pl.col(name).is_not_null() & pl.col(name).cast(kind, strict=False).is_null()
                rows = texts.select(name).with_row_index(ROW).filter(wrong).head(1).collect()
                if rows.height:
                    row, value = rows.row(0)
                    return (
                        f"row {row} (counted from 0) holds {value!r} as {name}, which is read as {_WORDS[kind]}; say "
                        f"what the column holds in dataset.csv.types (string, int, float or datetime), or which texts "
                        "mean that it is missing in dataset.csv.null_values"
                    )
        except UNREADABLE:
            return None
        return None
