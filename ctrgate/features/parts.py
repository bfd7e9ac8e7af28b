"""Encoded rows to Parquet parts in row groups of one size."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ctrgate.features.prepared import Part

__all__ = ["ROW_GROUP", "PartWriter"]

ROW_GROUP = 65_536
_GROUPS_PER_PART = 16


class PartWriter:
    """Write the rows of one raw file that fall in one split, in their order, a new part every 16 row groups.

    Args:
        folder: The prepared folder; must exist.
        split: The split, a folder inside.
        number: The raw file's number; parts in name order are rows in order.
    """

    def __init__(self, folder: Path, *, split: str, number: int) -> None:
        self._folder, self._split, self._number = folder, split, number
        self._waiting: list[pl.DataFrame] = []
        self._writer: pq.ParquetWriter | None = None
        self._path = folder
        self._rows = 0
        self.parts: list[Part] = []

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows; whole row groups are written at once."""
        self._waiting.append(rows)
        if sum(frame.height for frame in self._waiting) >= ROW_GROUP:
            rows = pl.concat(self._waiting)
            whole = rows.height // ROW_GROUP * ROW_GROUP
            for start in range(0, whole, ROW_GROUP):
                self._write(rows.slice(start, ROW_GROUP))
            self._waiting = [rows.slice(whole)]

    def close(self) -> None:
        """Write what waits and finish the last part."""
        rest = pl.concat(self._waiting) if self._waiting else None
        self._waiting = []
        if rest is not None and rest.height:
            self._write(rest)
        self._finish()

    def _write(self, rows: pl.DataFrame) -> None:
        table: pa.Table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            name = f"{self._split}/part-{self._number:05d}-{len(self.parts):03d}.parquet"
            self._path = self._folder / name
            self._path.parent.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._rows += rows.height
        if self._rows == ROW_GROUP * _GROUPS_PER_PART:
            self._finish()

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            path = self._path.relative_to(self._folder).as_posix()
            self.parts.append(Part(path=path, num_rows=self._rows, num_bytes=self._path.stat().st_size))
            self._writer, self._rows = None, 0
