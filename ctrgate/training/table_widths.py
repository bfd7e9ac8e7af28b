"""How wide trained tables need to be, by the variance of their rows (FDO; GDCN, CIKM 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.training.runs import Restored

__all__ = ["choose_widths", "explained_variance", "width"]


def choose_widths(restored: Restored, *, explained: float) -> list[dict[str, Any]]:
    """A line per field with a table: its rows, its widths, and the variance explained.

    Padding and unknown take no part, nor do values that a search has dropped.

    Args:
        restored: The run.
        explained: The share of variance that is to be exceeded.
    """
    own = {lookup.name: lookup for lookup in restored.model.lookups.lookups if lookup.name == lookup.column}
    weights = {spec.name: (spec, rows[:, : spec.dim]) for spec, rows in restored.model.lookups.tables()}
    kept = {} if restored.model.gates is None else restored.model.gates.by_table()
    lines = []
    for item in restored.layout.fields:
        if item.name not in own:
            continue
        spec, rows = weights[own[item.name].table]
        values = rows[FIRST_VALUE_ID:]
        if item.table in kept:
            values = values[kept[item.table].kept()[FIRST_VALUE_ID:]]
        shares = explained_variance(values)
        lines.append(
            {
                "field": item.name,
                "table": spec.name,
                "rows": spec.num_rows,
                "before": spec.dim,
                "after": width(shares, explained=explained),
                "explained": [round(share, 6) for share in shares.tolist()],
            }
        )
    return lines


def explained_variance(rows: Tensor) -> Tensor:
    """The share of a table's variance that its first 1, 2, ... principal components explain together.

    Shape:
        - rows: ``(n, D)``
        - returns: ``(min(n, D),)``, rising to 1; empty where all rows are the same

    Example:
        >>> explained_variance(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist()
        [0.9, 1.0]
    """
    centred = rows.double() - rows.double().mean(dim=0)
    variances: Tensor = torch.linalg.svdvals(centred).square()
    total = variances.sum()
    return variances.cumsum(0) / total if len(rows) > 1 and total > 0 else variances[:0]


def width(shares: Tensor, *, explained: float) -> int:
    """The fewest components that explain more than a share; 1 where nothing varies."""
    return min(int((shares <= explained).sum()) + 1, max(len(shares), 1))
