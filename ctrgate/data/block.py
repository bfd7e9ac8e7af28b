"""Encoded rows in memory: an Arrow table as tensors, rows taken in any order, batches cut from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ctrgate.contracts import Batch, Ids
from ctrgate.errors import DataError
from ctrgate.features.layout import Layout, role_column, weights_column
from ctrgate.layers.jagged import bag_offsets

__all__ = ["Block", "columns_of"]


def columns_of(layout: Layout) -> list[str]:
    """The encoded columns that batches are made of."""
    names = [field.name for field in layout.fields]
    names += [weights_column(field.name) for field in layout.fields if field.kind == "weighted_bag"]
    names += [member.column for group in layout.sequences for member in group.members]
    names += [role_column("label", name) for name in layout.labels]
    names += [column for role in ("weight", "group", "timestamp") for column in layout.roles.get(role, ())]
    return list(dict.fromkeys(names))


@dataclass(frozen=True, kw_only=True)
class _Jagged:
    """A list column: row i holds ``values[offsets[i]:offsets[i + 1]]``."""

    values: Tensor
    offsets: Tensor

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    def take(self, rows: Tensor) -> _Jagged:
        lengths = self.lengths[rows]
        offsets = bag_offsets(lengths)
        shift = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths)
        return _Jagged(values=self.values.index_select(0, torch.arange(shift.numel()) + shift), offsets=offsets)

    def cut(self, start: int, stop: int) -> _Jagged:
        offsets = self.offsets[start : stop + 1]
        return _Jagged(values=self.values[int(offsets[0]) : int(offsets[-1])], offsets=offsets - offsets[0])


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of an encoded table, column by column.

    Shape:
        - rows: ``(n,)``, the rows' numbers in their split
        - flat: per column ``(n,)`` (ids, numbers, roles) or ``(n, W)`` (vectors)
        - jagged: per list column
    """

    layout: Layout
    rows: Tensor
    flat: Mapping[str, Tensor]
    jagged: Mapping[str, _Jagged]

    def __len__(self) -> int:
        return self.rows.numel()

    @classmethod
    def from_arrow(cls, table: pa.Table, *, layout: Layout, first_row: int = 0) -> Block:
        """The columns of ``columns_of`` that the table has; roles may be missing, as when scoring."""
        flat: dict[str, Tensor] = {}
        jagged: dict[str, _Jagged] = {}
        for name in columns_of(layout):
            if name not in table.column_names:
                continue
            column = _whole(table.column(name))
            if pa.types.is_fixed_size_list(column.type):
                flat[name] = _tensor(column.flatten()).view(len(column), column.type.list_size)
            elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                offsets = _tensor(column.offsets).to(torch.int64)
                jagged[name] = _Jagged(values=_tensor(column.flatten()), offsets=offsets - offsets[0])
            else:
                flat[name] = _tensor(column)
        rows = torch.arange(first_row, first_row + table.num_rows)
        return cls(layout=layout, rows=rows, flat=flat, jagged=jagged)

    def check_ids(self, *, source: str) -> None:
        """See that every id is a row of its table: fused kernels would read row 0 for others, with a mere warning.

        Raises:
            DataError: Naming the column, the id and the place.
        """
        for column, table in self.layout.id_tables().items():
            num_rows = self.layout.tables[table]
            flat = column in self.flat
            values = self.flat[column] if flat else self.jagged[column].values
            if not values.numel():
                continue
            least, most = torch.aminmax(values)
            if least >= 0 and most < num_rows:
                continue
            place = int(((values < 0) | (values >= num_rows)).nonzero()[0])
            row = place if flat else int(torch.searchsorted(self.jagged[column].offsets, place, right=True)) - 1
            raise DataError(
                f"{source}: row {row} of column {column} holds the id {int(values[place])}, but its table {table} has "
                f"the rows 0 to {num_rows - 1}; the file is not of this encoder, prepare the data again"
            )

    @classmethod
    def concat(cls, blocks: Sequence[Block]) -> Block:
        """Blocks one below the other."""
        if len(blocks) == 1:
            return blocks[0]
        first = blocks[0]
        jagged = {}
        for name in first.jagged:
            lengths = torch.cat([block.jagged[name].lengths for block in blocks])
            values = torch.cat([block.jagged[name].values for block in blocks])
            jagged[name] = _Jagged(values=values, offsets=bag_offsets(lengths))
        return cls(
            layout=first.layout,
            rows=torch.cat([block.rows for block in blocks]),
            flat={name: torch.cat([block.flat[name] for block in blocks]) for name in first.flat},
            jagged=jagged,
        )

    def take(self, rows: Tensor) -> Block:
        """The rows at some places, in that order."""
        return Block(
            layout=self.layout,
            rows=self.rows.index_select(0, rows),
            flat={name: column.index_select(0, rows) for name, column in self.flat.items()},
            jagged={name: column.take(rows) for name, column in self.jagged.items()},
        )

    def cut(self, start: int, stop: int) -> Block:
        """A run of rows; flat columns are views."""
        return Block(
            layout=self.layout,
            rows=self.rows[start:stop],
            flat={name: column[start:stop] for name, column in self.flat.items()},
            jagged={name: column.cut(start, stop) for name, column in self.jagged.items()},
        )

    def batch(self) -> Batch:
        """All rows as one batch."""
        layout, num_rows = self.layout, len(self)
        ids = {field.name: self._ids(field.name) for field in layout.fields if field.table}
        members = [member for group in layout.sequences for member in group.members]
        ids.update({member.column: self._ids(member.column) for member in members if member.table})
        numbers = [self.flat[name] for name in layout.numbers]
        labels = [self.flat[name] for name in map(_label, layout.labels) if name in self.flat]
        return Batch(
            num_rows=num_rows,
            ids=ids,
            numbers=torch.stack(numbers, dim=1) if numbers else torch.empty(num_rows, 0),
            vectors={field.name: self.flat[field.name] for field in layout.fields if field.kind == "vector"},
            sequence_numbers={
                member.column: self.jagged[member.column].values for member in members if not member.table
            },
            labels=torch.stack(labels, dim=1) if labels else None,
            weights=self._role("weight"),
            groups=self._role("group"),
            timestamps=self._role("timestamp"),
            rows=self.rows,
        )

    def _ids(self, column: str) -> Ids:
        if column in self.flat:
            return Ids(values=self.flat[column])
        weights = self.jagged.get(weights_column(column))
        jagged = self.jagged[column]
        return Ids(values=jagged.values, lengths=jagged.lengths, weights=weights.values if weights else None)

    def _role(self, role: str) -> Tensor | None:
        for column in self.layout.roles.get(role, ()):  # type: ignore[call-overload]
            return self.flat.get(column)
        return None


def _label(name: str) -> str:
    return role_column("label", name)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _tensor(array: pa.Array) -> Tensor:
    """An Arrow array without nulls as a tensor that owns its memory (Arrow's is read-only)."""
    return torch.from_numpy(np.array(array.to_numpy(zero_copy_only=False), copy=True))
