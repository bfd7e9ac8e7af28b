"""Encoded Parquet to batches, in one global order that seed and epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from ctrgate.contracts import Batch
from ctrgate.data.block import Block, columns_of
from ctrgate.errors import DataError
from ctrgate.features.layout import Layout

__all__ = ["Order", "Reader"]

# A last batch below this share of the batch size joins the one before, so that no worker trains on a single row.
_SMALLEST_LAST_BATCH = 1 / 32


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which rows come when.

    Args:
        batch_size: Rows of a global batch, over all workers.
        seed: Decides the order together with ``epoch``; None keeps the files' order.
        epoch: Each epoch has an order of its own.
        first_batch: Global batch index to begin at, as after a resume.
        worker: This worker's number; it gets the ``worker``-th slice of every global batch.
        num_workers: Number of slices.
        buffer_row_groups: Row groups shuffled together, and in memory at once.
    """

    batch_size: int
    seed: int | None = None
    epoch: int = 0
    first_batch: int = 0
    worker: int = 0
    num_workers: int = 1
    buffer_row_groups: int = 8


@dataclass(frozen=True, kw_only=True)
class _RowGroup:
    path: Path
    index: int
    num_rows: int
    first_row: int


class Reader:
    """The rows of one split.

    Every row comes exactly once per epoch, over all workers together. The order is made of windows: the row groups are
    permuted, every ``buffer_row_groups`` of them form a window whose rows are permuted, and global batches are cut from
    the windows one after the other. So any batch can be reached without reading what comes before its window.

    Args:
        files: Encoded Parquet files, in name order.
        layout: What they hold.

    Raises:
        DataError: Where a file cannot be read, or no file has rows.
    """

    def __init__(self, files: Sequence[Path], *, layout: Layout) -> None:
        self.layout = layout
        self._columns = columns_of(layout)
        self._row_groups: list[_RowGroup] = []
        self.num_rows = 0
        for path in files:
            metadata = _open(path).metadata
            for index in range(metadata.num_row_groups):
                num_rows = metadata.row_group(index).num_rows
                self._row_groups.append(_RowGroup(path=path, index=index, num_rows=num_rows, first_row=self.num_rows))
                self.num_rows += num_rows
        if not self.num_rows:
            raise DataError(
                f"no rows in {', '.join(map(str, files)) or 'an empty list of files'}; prepare the data again"
            )

    def num_batches(self, order: Order) -> int:
        """Global batches of an epoch."""
        return len(self._bounds(order)) - 1

    def num_rows_of(self, order: Order) -> int:
        """Rows of this worker's slices, over a whole epoch."""
        sizes = np.diff(self._bounds(order))
        return int((sizes * (order.worker + 1) // order.num_workers - sizes * order.worker // order.num_workers).sum())

    def smallest_slice(self, order: Order) -> int:
        """Rows of the smallest slice that any worker gets."""
        return int((np.diff(self._bounds(order)) // order.num_workers).min())

    def batches(self, order: Order) -> Iterator[Batch]:
        """This worker's slice of each global batch, from ``first_batch`` on.

        In shuffled order the last batch joins the one before it where it would be tiny (below 1/32 of the batch size),
        as batch norm cannot train on one row.
        """
        bounds = self._bounds(order)
        batch, end = order.first_batch, 0  # the next batch to yield; rows up to the end of the current window
        rest: list[Block] = []  # the head of that batch, where it began in an earlier window
        for number, window in enumerate(self._windows(order)):
            start, end = end, end + sum(group.num_rows for group in window)
            if batch + 1 == len(bounds) or end <= bounds[batch]:
                continue
            block = self._load(window, order, number)
            position = max(bounds[batch], start)
            while batch + 1 < len(bounds) and bounds[batch + 1] <= end:
                piece = block.cut(position - start, bounds[batch + 1] - start)
                yield _slice(Block.concat([*rest, piece]), order).batch()
                batch, rest = batch + 1, []
                position = bounds[batch]
            rest.append(block.cut(position - start, end - start))

    def _bounds(self, order: Order) -> list[int]:
        """Where global batches begin and end in the order of rows."""
        bounds = [*range(0, self.num_rows, order.batch_size), self.num_rows]
        smallest = max(2, order.batch_size * _SMALLEST_LAST_BATCH)
        if order.seed is not None and len(bounds) > 2 and bounds[-1] - bounds[-2] < smallest:
            del bounds[-2]
        return bounds

    def _windows(self, order: Order) -> list[list[_RowGroup]]:
        groups = self._row_groups
        if order.seed is not None:
            permutation = np.random.default_rng([order.seed, order.epoch]).permutation(len(groups))
            groups = [groups[int(place)] for place in permutation]
        size = order.buffer_row_groups if order.seed is not None else 1
        return [groups[start : start + size] for start in range(0, len(groups), size)]

    def _load(self, window: list[_RowGroup], order: Order, number: int) -> Block:
        block = Block.concat([self._read(group) for group in window])
        if order.seed is None:
            return block
        permutation = np.random.default_rng([order.seed, order.epoch, number]).permutation(len(block))
        return block.take(torch.from_numpy(permutation))

    def _read(self, group: _RowGroup) -> Block:
        file = _open(group.path)
        if absent := [name for name in self._columns if name not in file.schema_arrow.names]:
            raise DataError(f"{group.path} lacks the columns {absent}; the file was changed, prepare the data again")
        try:
            table = file.read_row_group(group.index, columns=self._columns)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{group.path}: row group {group.index} is damaged ({error}); prepare the data again"
            ) from error
        block = Block.from_arrow(table, layout=self.layout, first_row=group.first_row)
        block.check_ids(source=f"{group.path}, row group {group.index}")
        return block


def _slice(block: Block, order: Order) -> Block:
    if order.num_workers == 1:
        return block
    start = len(block) * order.worker // order.num_workers
    return block.cut(start, len(block) * (order.worker + 1) // order.num_workers)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); prepare the data again") from error
