"""Queries against every row of an items' table: ranks of targets, and the best rows, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ctrgate.layers.jagged import bag_offsets

__all__ = ["best_items", "target_ranks"]

_CELLS_AT_ONCE = 1 << 24


def target_ranks(
    queries: Tensor, rows: Tensor, targets: Tensor, *, first: int, seen: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Each target's place among all candidates, best first, from 1; 0 where the target is no candidate.

    An item that scores as high as the target is taken to come before it, so that a model that scores all alike gains
    nothing by it.

    Args:
        queries: What rows are compared with.
        rows: The whole table.
        targets: The row of each query's target.
        first: The first row that is a candidate.
        seen: Ids and lengths of rows that are no candidates for each query, row after row; None for none.

    Shape:
        - queries: ``(B, D)``; rows: ``(V, D)``; targets: ``(B,)`` int64
        - seen: ``(n,)`` and ``(B,)`` int64
        - returns: ``(B,)`` int64

    Example:
        >>> rows = torch.tensor([[0.0], [0.0], [3.0], [1.0], [2.0]])
        >>> target_ranks(torch.ones(2, 1), rows, torch.tensor([4, 1]), first=2).tolist()
        [2, 0]
    """
    places = []
    for start, scores in _scored(queries, rows, first=first, seen=seen):
        target = targets[start : start + len(scores)] - first
        own = scores.gather(1, target.clamp(min=0).unsqueeze(1))
        place = (scores >= own).sum(dim=1)
        places.append(place.masked_fill((target < 0) | own.squeeze(1).isneginf(), 0))
    return torch.cat(places) if places else targets


def best_items(
    queries: Tensor, rows: Tensor, *, first: int, count: int, seen: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The scores and rows of the ``count`` best candidates, best first; equal ones in the table's order.

    Where a query has fewer candidates, the rest has the score -inf.

    Shape:
        - as in ``target_ranks``; returns twice ``(B, min(count, V - first))``
    """
    count = min(count, len(rows) - first)
    values, ids = [queries.new_zeros(0, count)], [torch.zeros(0, count, dtype=torch.int64)]
    for _, scores in _scored(queries, rows, first=first, seen=seen):
        best, order = _first_of(scores, count=count)
        values.append(best)
        ids.append(order + first)
    return torch.cat(values), torch.cat(ids)


def _first_of(scores: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """The greatest scores and their places; equal ones by place, which only a sort of the whole row can tell."""
    best, order = scores.topk(count, dim=1)
    lowest = best[:, -1:] if count else best
    alike = ((scores >= lowest).sum(dim=1) > count) | (best[:, 1:] == best[:, :-1]).any(dim=1)
    if alike.any():
        ordered, places = scores[alike].sort(dim=1, descending=True, stable=True)
        best[alike], order[alike] = ordered[:, :count], places[:, :count]
    return best, order


def _scored(
    queries: Tensor, rows: Tensor, *, first: int, seen: tuple[Tensor, Tensor] | None
) -> Iterator[tuple[int, Tensor]]:
    """Pieces of the queries: where each begins, and its scores ``(b, V - first)`` with -inf for what was seen."""
    candidates = rows[first:].float()
    step = max(1, _CELLS_AT_ONCE // max(1, len(candidates)))
    offsets = bag_offsets(seen[1]) if seen is not None else None
    for start in range(0, len(queries), step):
        scores = queries[start : start + step].float() @ candidates.T
        if seen is not None and offsets is not None:
            stop = start + len(scores)
            ids = seen[0][int(offsets[start]) : int(offsets[stop])]
            row = torch.repeat_interleave(torch.arange(len(scores), device=ids.device), seen[1][start:stop])
            known = ids >= first
            scores[row[known], ids[known] - first] = -torch.inf
        yield start, scores
