"""Looked-up rows to ``Fields``: means divided, histories padded; the same for training and serving."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from ctrgate.contracts import Batch, Fields, Ids, Lookup
from ctrgate.contracts import Sequence as Histories
from ctrgate.layers.jagged import mean_divisor, pad, pad_mask

__all__ = ["assemble"]


def assemble(
    batch: Batch, lookups: Sequence[Lookup], *, found: Mapping[str, Tensor], unpooled: Collection[str]
) -> Fields:
    """What a network receives.

    Args:
        batch: The ids that were looked up.
        lookups: How each result is meant.
        found: Per lookup the sums over its bags ``(B, D)``, or the rows ``(n, D)`` of its ids.
        unpooled: The lookups for which ``found`` holds rows.
    """
    rows: dict[str, Tensor] = {}
    members: dict[str, dict[str, Tensor]] = {}
    lengths: dict[str, tuple[Tensor, int]] = {}  # of the histories of a group, with the longest there may be
    for lookup in lookups:
        ids, values = batch.ids[lookup.column], found[lookup.name]
        if lookup.pooling != "none":
            pooled = _sum(values, ids, lookup) if lookup.name in unpooled else values
            rows[lookup.name] = _mean(pooled, ids, lookup) if lookup.pooling == "mean" else pooled
            continue
        if ids.lengths is None:
            raise ValueError(f"lookup {lookup.name} reads a history from {lookup.column}, which has one id per row")
        member = lookup.name.removeprefix(f"{lookup.sequence}/")
        members.setdefault(lookup.sequence, {})[member] = pad(values, ids.lengths, max_length=lookup.max_length)
        lengths[lookup.sequence] = ids.lengths, lookup.max_length
    for column, numbers in batch.sequence_numbers.items():
        group, _, member = column.partition("/")
        if group in lengths:
            of, longest = lengths[group]
            members[group][member] = pad(numbers.unsqueeze(1), of, max_length=longest)
    return Fields(
        rows=rows,
        numbers=batch.numbers,
        vectors=batch.vectors,
        sequences={
            name: Histories(members=parts, mask=pad_mask(lengths[name][0], max_length=lengths[name][1]))
            for name, parts in members.items()
        },
        groups=batch.groups,
    )


def _sum(values: Tensor, ids: Ids, lookup: Lookup) -> Tensor:
    if ids.lengths is None:
        return values
    row = torch.repeat_interleave(torch.arange(ids.lengths.numel(), device=values.device), ids.lengths)
    if lookup.weighted and ids.weights is not None:
        values = values * ids.weights.unsqueeze(1)
    return values.new_zeros(ids.lengths.numel(), values.size(1)).index_add(0, row, values)


def _mean(pooled: Tensor, ids: Ids, lookup: Lookup) -> Tensor:
    if ids.lengths is None:
        return pooled
    return pooled / mean_divisor(ids.lengths, ids.weights if lookup.weighted else None)
