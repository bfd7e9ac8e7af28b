"""Ids to rows with torch alone: the twin of ``ctrgate.lookups`` for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ctrgate.artifact.rows import look_up, restored, shape_of, sums
from ctrgate.contracts import Batch, Fields, Ids, Lookup
from ctrgate.layers.fields import assemble
from ctrgate.layers.jagged import bag_offsets

__all__ = ["TableLookup"]


class TableLookup(nn.Module):
    """The fields of a batch, read from tables in memory (or mapped from a file).

    Args:
        tables: Rows by table name, in any form (``artifact.rows``).
        lookups: Every read of one.
    """

    def __init__(self, tables: Mapping[str, Tensor], lookups: Sequence[Lookup]) -> None:
        super().__init__()
        self._tables = dict(tables)
        self.lookups = tuple(lookups)

    def forward(self, batch: Batch) -> Fields:
        """The looked-up fields and sequences, with the batch's numbers and vectors as they are."""
        found = {lookup.name: self._read(batch.ids[lookup.column], lookup) for lookup in self.lookups}
        unpooled = {lookup.name for lookup in self.lookups if lookup.pooling == "none"}
        return assemble(batch, self.lookups, found=found, unpooled=unpooled)

    def dim(self, table: str) -> int:
        """The width of a table's rows."""
        return shape_of(self._tables[table])[1]

    def rows(self, table: str) -> Tensor:
        """A whole table in float32, ``(V, D)``."""
        return restored(self._tables[table])

    def _read(self, ids: Ids, lookup: Lookup) -> Tensor:
        table = self._tables[lookup.table]
        if ids.lengths is None or lookup.pooling == "none":
            rows = look_up(table, ids.values)
            return rows * ids.weights.unsqueeze(1) if lookup.weighted and ids.weights is not None else rows
        weights = ids.weights if lookup.weighted else None
        return sums(table, ids.values, bag_offsets(ids.lengths), weights=weights)
