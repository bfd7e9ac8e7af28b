"""All lookups of a network: grouped by kind, each group one operator, assembled into ``Fields``."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.contracts import Batch, Fields, Ids, Lookup, TableSpec
from ctrgate.layers.fields import assemble
from ctrgate.lookups.groups import FusedOptions, Group, PooledDense, PooledFused, UnpooledDense, UnpooledFused
from ctrgate.lookups.sharded import ShardedPooled, ShardedUnpooled, whole
from ctrgate.lookups.shards import TableShard

__all__ = ["Lookups"]


class Lookups(nn.Module):
    """Ids to rows, under both table rules, for training.

    A table that any sequence reads lives in an unpooled group, and its pooled uses are pooled here. Row 0 of every
    table is zero; ``zero_padding`` restores that after a step.

    Args:
        tables: Every table.
        lookups: Every read of one.
        fused: ``lr`` and ``eps`` of row-wise Adagrad, where a table has the fused rule.
        seed: Decides the tables' start, table by table, so that a new table moves no other.
        dropout: Share of looked-up coordinates zeroed in training.
        device: Where the tables live.
        gated: Whether batches bring factors for their ids.
        sharded: Whether fused tables are to be spread over processes: they have no rows yet, ``distribute`` and then
            ``start`` give them theirs.
    """

    def __init__(
        self,
        tables: Sequence[TableSpec],
        lookups: Sequence[Lookup],
        *,
        fused: FusedOptions,
        seed: int,
        dropout: float = 0.0,
        device: torch.device | None = None,
        gated: bool = False,
        sharded: bool = False,
    ) -> None:
        super().__init__()
        self.lookups = tuple(lookups)
        self.specs = tuple(tables)
        self.dropout = dropout
        self.device = device or torch.device("cpu")
        self._sharded = sharded
        self._dims = {spec.name: spec.dim for spec in tables}
        self.groups = nn.ModuleList(
            _groups(tables, lookups, fused=fused, device=self.device, gated=gated, sharded=sharded)
        )
        if not sharded:
            self.start(seed=seed)

    @torch.no_grad()
    def start(self, *, seed: int) -> None:
        """Put every table to its start: normal, but for the row of padding; the same however tables are spread."""
        for shard in self.shards():
            spec = shard.spec
            start = torch.randn(spec.num_rows, spec.dim, generator=_generator(seed, spec.name)) * spec.init_std
            start[0] = 0.0
            shard.weight.zero_()
            shard.seen.copy_(start[shard.rows, shard.columns])

    def forward(self, batch: Batch) -> Fields:
        """The looked-up fields and sequences, with the batch's numbers and vectors as they are."""
        dims = self._dims
        found: dict[str, Tensor] = {}
        blocks: dict[tuple[str, ...], Tensor] = {}
        unpooled: set[str] = set()
        complete = self._with_empty(batch)
        for group in self._each_group():
            if batch.num_rows or isinstance(group, ShardedPooled | ShardedUnpooled):
                read = group(complete)
                found |= read
                blocks |= self._block(group, read)
            else:  # TorchRec takes no batch without rows
                found |= {lookup.name: batch.numbers.new_zeros(0, dims[lookup.table]) for lookup in group.lookups}
            if isinstance(group, UnpooledDense | UnpooledFused):
                unpooled |= {lookup.name for lookup in group.lookups}
        lookups = [lookup for lookup in self.lookups if not lookup.for_loss or lookup.column in batch.ids]
        found = {lookup.name: found[lookup.name][:, : dims[lookup.table]] for lookup in lookups}
        if self.training and self.dropout:
            kept = {lookup.name for lookup in lookups if lookup.for_loss}
            found = {
                name: rows if name in kept else functional.dropout(rows, self.dropout) for name, rows in found.items()
            }
        return replace(assemble(batch, lookups, found=found, unpooled=unpooled), blocks=blocks)

    def _block(self, group: Group, read: Mapping[str, Tensor]) -> dict[tuple[str, ...], Tensor]:
        """What a pooled group has found as the one tensor that it lies in, where the network is to see just that.

        Sharded groups have none: TorchRec orders what they find by where tables lie.
        """
        whole = next(iter(read.values()))._base
        if whole is None or isinstance(group, ShardedPooled) or not isinstance(group, PooledDense | PooledFused):
            return {}
        as_it_is = all(lookup.pooling == "sum" for lookup in group.lookups) and not (self.training and self.dropout)
        width = sum(self._dims[lookup.table] for lookup in group.lookups)
        return {tuple(read): whole} if as_it_is and whole.size(1) == width else {}

    def _with_empty(self, batch: Batch) -> Batch:
        """The batch with no ids in the columns that it may lack: TorchRec's collections take all of theirs or none."""
        absent = {lookup.column for lookup in self.lookups if lookup.for_loss} - set(batch.ids)
        if not absent:
            return batch
        lengths = torch.zeros(batch.num_rows, dtype=torch.int64, device=batch.numbers.device)
        none = Ids(values=lengths[:0], lengths=lengths)
        return replace(batch, ids={**batch.ids, **dict.fromkeys(absent, none)})

    def tables(self) -> Iterator[tuple[TableSpec, Tensor]]:
        """Every table with its rows, ``(V, D)``, to be read; sharded ones are put together, which all processes do."""
        if not self._sharded:
            yield from ((shard.spec, shard.seen) for shard in self.shards())
            return
        held: dict[str, list[TableShard]] = {}
        for shard in self.shards():
            held.setdefault(shard.spec.name, []).append(shard)
        for group in self._each_group():
            for spec in group.specs:
                if spec.rule == "dense":
                    (shard,) = held[spec.name]
                    yield spec, shard.seen
                else:
                    yield spec, whole(spec, held.get(spec.name, []), device=self.device)

    def shards(self) -> Iterator[TableShard]:
        """What this process holds of every table, with the fused optimizer's state; to be read and written in place."""
        for group in self._each_group():
            yield from group.shards()

    def set_learning_rate(self, learning_rate: float) -> None:
        """The fused tables' step size from now on."""
        for group in self._each_group():
            group.set_learning_rate(learning_rate)

    def dense_tables(self) -> dict[str, Tensor]:
        """The parameters of the tables under the dense rule, for the dense optimizer."""
        return {
            spec.name: weight
            for group in self._each_group()
            if isinstance(group, PooledDense | UnpooledDense)
            for spec, weight in zip(group.specs, group.weights(), strict=True)
        }

    @torch.no_grad()
    def zero_padding(self) -> None:
        """Put row 0 of every table back to zero: a step moves it where a batch has looked it up."""
        if rows := [row for group in self._each_group() for row in group.padding()]:
            torch._foreach_zero_(rows)  # in one go: a GPU waits for the processor at each start

    def _each_group(self) -> Iterator[Group]:
        for group in self.groups:
            assert isinstance(group, Group)
            yield group


def _groups(
    tables: Sequence[TableSpec],
    lookups: Sequence[Lookup],
    *,
    fused: FusedOptions,
    device: torch.device,
    gated: bool,
    sharded: bool,
) -> Iterator[Group]:
    """Pooled groups by rule and weights; unpooled ones by rule and stored width, as their kernels take one width."""
    by_sequence = {lookup.table for lookup in lookups if lookup.pooling == "none"}
    weighted = {lookup.table for lookup in lookups if lookup.weighted}
    kinds: dict[tuple[str, bool, bool, int], list[TableSpec]] = {}
    for spec in tables:
        unpooled = spec.name in by_sequence
        kind = (spec.rule, unpooled, not unpooled and spec.name in weighted, spec.stored_dim if unpooled else 0)
        kinds.setdefault(kind, []).append(spec)
    for (rule, unpooled, _, _), specs in kinds.items():
        names = {spec.name for spec in specs}
        reads = [lookup for lookup in lookups if lookup.table in names]
        meta = torch.device("meta")  # where a sharded table waits for its place
        if rule == "fused" and unpooled and sharded:
            yield ShardedUnpooled(specs, reads, options=fused, device=meta)
        elif rule == "fused" and unpooled:
            yield UnpooledFused(specs, reads, options=fused, device=device)
        elif rule == "fused" and sharded:
            yield ShardedPooled(specs, reads, options=fused, device=meta, gated=gated)
        elif rule == "fused":
            yield PooledFused(specs, reads, options=fused, device=device, gated=gated)
        elif unpooled:
            yield UnpooledDense(specs, reads).to(device)
        else:
            yield PooledDense(specs, reads, gated=gated).to(device)


def _generator(seed: int, name: str) -> torch.Generator:
    """A generator of the table's own; torch's takes 32 bits of a seed, so both are hashed into them."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
