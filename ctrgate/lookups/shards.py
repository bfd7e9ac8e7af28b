"""The part of a table that one process holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ctrgate.contracts import TableSpec

__all__ = ["TableShard"]


@dataclass(frozen=True, kw_only=True)
class TableShard:
    """Rows and columns of a table, as this process holds them; all of them where nothing is sharded.

    Args:
        spec: The table.
        weight: The rows as stored, ``(rows, stored columns)``; writing to them moves the table.
        state: The fused optimizer's state of these rows, ``(rows,)`` each, to be read and written in place.
        first_row: Where the rows begin in the table.
        first_column: Where the columns begin in the table.
    """

    spec: TableSpec
    weight: Tensor
    state: Mapping[str, Tensor] = field(default_factory=dict)
    first_row: int = 0
    first_column: int = 0

    @property
    def rows(self) -> slice:
        """Its rows in the table."""
        return slice(self.first_row, self.first_row + self.weight.size(0))

    @property
    def columns(self) -> slice:
        """Its columns among those that networks see; a stored width may be rounded up beyond them."""
        return slice(self.first_column, min(self.spec.dim, self.first_column + self.weight.size(1)))

    @property
    def seen(self) -> Tensor:
        """The rows at the width that networks see, a view."""
        return self.weight[:, : self.columns.stop - self.columns.start]
