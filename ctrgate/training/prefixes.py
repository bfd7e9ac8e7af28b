"""Beginnings of histories as examples of their own: what came before one of a row's items, and that item."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ctrgate.contracts import Batch, Ids
from ctrgate.layers.jagged import bag_offsets, pad_mask

__all__ = ["prefixes"]


def prefixes(batch: Batch, *, columns: Sequence[str], item: str, target: str, count: int | None) -> Batch:
    """For each row up to ``count`` of its items, drawn without repetition, each with the history before it.

    The items of a row are those of its history but the first, and its target. A row without a history gives nothing.

    Args:
        batch: Rows with a history and a target; other columns are left out.
        columns: The ids of the history's group, aligned.
        item: The one of them that holds the items.
        target: The column of the target.
        count: Most examples of a row; None for all.
    """
    history = batch.ids[item]
    if history.lengths is None:
        raise ValueError(f"{item} holds one id per row, which is no history")
    lengths = history.lengths
    longest = int(lengths.max()) if len(lengths) else 0
    draw = torch.rand(len(lengths), longest).masked_fill(~pad_mask(lengths, max_length=longest), 2.0)
    order = draw.argsort(dim=1)[:, : count or longest]  # column c stands for the first c + 1 events
    row, place = (draw.gather(1, order) < 2.0).nonzero(as_tuple=True)
    kept = order[row, place] + 1
    offsets = bag_offsets(kept)
    event = torch.repeat_interleave(bag_offsets(lengths)[:-1][row] - offsets[:-1], kept) + torch.arange(
        int(offsets[-1])
    )
    end = bag_offsets(lengths)[:-1][row] + kept
    is_last = kept == lengths[row]
    following = history.values[end.clamp(max=max(0, history.values.numel() - 1))]
    ids = {column: Ids(values=batch.ids[column].values[event], lengths=kept) for column in columns}
    ids[target] = Ids(values=torch.where(is_last, batch.ids[target].values[row], following))
    return Batch(
        num_rows=len(row),
        ids=ids,
        numbers=batch.numbers[row],
        weights=None if batch.weights is None else batch.weights[row],
        groups=None if batch.groups is None else batch.groups[row],
        rows=None if batch.rows is None else batch.rows[row],
    )
