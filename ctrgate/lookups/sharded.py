"""Fused tables spread over the processes of a run by TorchRec; what is not fused stays whole in every process."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ctrgate.contracts import Batch, Lookup, TableSpec
from ctrgate.errors import ConfigError
from ctrgate.lookups.groups import PooledFused, UnpooledFused
from ctrgate.lookups.kinds import ShardingKind
from ctrgate.lookups.quiet import (
    DefaultDataParallelWrapper,
    DistributedModelParallel,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingCollectionSharder,
    EmbeddingConfig,
    EmbeddingShardingPlanner,
    EmbOptimType,
    FixedPercentageStorageReservation,
    FusedEmbeddingBagCollection,
    FusedEmbeddingBagCollectionSharder,
    ParameterConstraints,
    PlannerError,
    RowWiseAdagrad,
    ShardingEnv,
    Topology,
)
from ctrgate.lookups.shards import TableShard

__all__ = [
    "PlacedShard",
    "ShardedPooled",
    "ShardedUnpooled",
    "distribute",
    "on_paper",
    "whole",
]

_RESERVED = 0.15
"""Share of a process's memory that the planner leaves for what is not a table."""


class ShardedPooled(PooledFused):
    """Sums over bags of fused tables that lie in several processes, once ``distribute`` has spread them."""

    @cached_property
    def _held(self) -> list[TableShard]:
        return _shards(self, prefix="embedding_bags")

    def shards(self) -> list[TableShard]:
        return self._held

    def padding(self) -> list[Tensor]:
        return _padding(self._held)

    def set_learning_rate(self, learning_rate: float) -> None:
        _set_learning_rate(self.collection, learning_rate)

    def _build(self, device: torch.device) -> None:
        self.collection = FusedEmbeddingBagCollection(
            self._configs(EmbeddingBagConfig),
            optimizer_type=RowWiseAdagrad,
            optimizer_kwargs=dict(self.options),  # a copy: TorchRec writes into what it is given
            is_weighted=self.weighted,
            device=device,
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        keyed = _waited(self.collection(self._keyed(_not_empty(batch), weighted=self.weighted)))
        values = keyed.to_dict()  # TorchRec orders them by where their tables lie
        return {lookup.name: values[self._features[lookup.name]][: batch.num_rows] for lookup in self.lookups}


class _FusedEmbeddingCollection(EmbeddingCollection):  # type: ignore[misc]
    """An embedding collection of fused tables, told from one of ordinary parameters by its class."""


class _FusedEmbeddingCollectionSharder(EmbeddingCollectionSharder):  # type: ignore[misc]
    @property
    def module_type(self) -> type[nn.Module]:
        return _FusedEmbeddingCollection


class ShardedUnpooled(UnpooledFused):
    """Row by row lookups of fused tables that lie in several processes, once ``distribute`` has spread them."""

    @cached_property
    def _held(self) -> list[TableShard]:
        return _shards(self, prefix="embeddings")

    def shards(self) -> list[TableShard]:
        return self._held

    def padding(self) -> list[Tensor]:
        return _padding(self._held)

    def set_learning_rate(self, learning_rate: float) -> None:
        _set_learning_rate(self.collection, learning_rate)

    def _build(self, device: torch.device) -> None:
        self.collection = _FusedEmbeddingCollection(self._configs(EmbeddingConfig), device=device)

    def _rows(self, batch: Batch) -> list[Tensor]:
        found = _waited(self.collection(self._keyed(_not_empty(batch), weighted=False)))
        rows = [found[self._features[lookup.name]].values() for lookup in self.lookups]
        return [part if batch.num_rows else part[:0] for part in rows]


def _padding(shards: Sequence[TableShard]) -> list[Tensor]:
    return [shard.weight[0] for shard in shards if shard.first_row == 0 and len(shard.weight)]


def distribute(
    model: nn.Module, *, kinds: Sequence[ShardingKind], device: torch.device, memory_bytes: int | None = None
) -> tuple[nn.Module, dict[str, str]]:
    """Spread a model over the processes of the default group: fused tables by TorchRec's planner, the rest under DDP.

    Every process calls this with the same model. A table is never put under data parallelism by the planner, whose
    optimizer would then be another than the run's rule.

    Args:
        model: With groups of this module, their tables on the meta device.
        kinds: The ways in which the planner may spread a table.
        device: Of this process.
        memory_bytes: What a process may use for tables; None for the planner's own assumption.

    Returns:
        What is called in training (the model itself stays as it is, but for its sharded tables), and for each fused
        table how it was spread: ``table_wise over 1``.

    Raises:
        ConfigError: Where no plan fits.
    """
    groups = [module for module in model.modules() if isinstance(module, ShardedPooled | ShardedUnpooled)]
    sharders: list[Any] = [FusedEmbeddingBagCollectionSharder()]
    for group in groups:
        if isinstance(group, ShardedUnpooled):  # TorchRec knows no fused collection without pooling on a CPU
            sharders.append(_FusedEmbeddingCollectionSharder(fused_params=_fused(group)))
            break
    world = dist.group.WORLD
    options: dict[str, Any] = {"world_size": dist.get_world_size(), "compute_device": device.type}
    if memory_bytes is not None:
        options["hbm_cap" if device.type == "cuda" else "ddr_cap"] = memory_bytes
    num_tables = max((len(group.specs) for group in groups), default=0)
    with _quiet():
        try:
            plan = _planner(Topology(**options), kinds, num_tables=num_tables).collective_plan(model, sharders, world)
        except PlannerError as error:
            raise _no_plan(kinds, error) from error
        wrapped = DistributedModelParallel(
            model,
            env=ShardingEnv.from_process_group(world),
            device=device,
            plan=plan,
            sharders=sharders,
            data_parallel_wrapper=DefaultDataParallelWrapper(static_graph=False, find_unused_parameters=True),
        )
    return wrapped, _placements(model, groups, plan.plan)


@dataclass(frozen=True, kw_only=True)
class PlacedShard:
    """A part of a table on paper: how the table is spread, and what one process gets of it."""

    table: str
    kind: str
    rank: int
    num_rows: int
    num_columns: int


def on_paper(
    tables: Sequence[TableSpec],
    lookups: Sequence[Lookup],
    *,
    num_workers: int,
    kinds: Sequence[ShardingKind],
    memory_bytes: int,
    batch_size: int,
) -> list[PlacedShard]:
    """Where the planner would put pooled fused tables on so many GPUs; nothing is built, and no GPU needed.

    Args:
        tables: Fused ones.
        lookups: What reads them, one id for each row.
        num_workers: GPUs, eight to a machine.
        kinds: The ways in which a table may be spread.
        memory_bytes: Of one GPU.
        batch_size: Rows of a step on one GPU.

    Raises:
        ConfigError: Where no plan fits.
    """
    group = ShardedPooled(tables, lookups, options={"lr": 0.05, "eps": 1e-8}, device=torch.device("meta"), gated=False)
    with _quiet():
        topology = Topology(
            world_size=num_workers, local_world_size=min(8, num_workers), compute_device="cuda", hbm_cap=memory_bytes
        )
        planner = _planner(topology, kinds, num_tables=len(tables), batch_size=batch_size)
        try:
            plan = planner.plan(group, [FusedEmbeddingBagCollectionSharder()]).plan["collection"]
        except PlannerError as error:
            raise _no_plan(kinds, error) from error
    found = []
    for number, spec in enumerate(group.specs):
        placed = plan[f"t{number}"]
        for shard in placed.sharding_spec.shards:
            rows, columns = shard.shard_sizes
            found.append(
                PlacedShard(
                    table=spec.name,
                    kind=placed.sharding_type,
                    rank=shard.placement.rank(),
                    num_rows=rows,
                    num_columns=columns,
                )
            )
    return found


def _planner(
    topology: Topology, kinds: Sequence[ShardingKind], *, num_tables: int, batch_size: int | None = None
) -> EmbeddingShardingPlanner:
    """A planner that may use these kinds only, and fused kernels only: no table under data parallelism."""
    constraints = {
        f"t{number}": ParameterConstraints(sharding_types=list(kinds), compute_kernels=["fused"], min_partition=4)
        for number in range(num_tables)
    }
    return EmbeddingShardingPlanner(
        topology=topology,
        batch_size=batch_size,
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(percentage=_RESERVED),
    )


def _no_plan(kinds: Sequence[ShardingKind], error: PlannerError) -> ConfigError:
    return ConfigError(
        f"cluster.sharding: TorchRec's planner finds no plan for {', '.join(kinds)} ({error}); allow other kinds, more "
        "workers or more memory"
    )


def _placements(model: nn.Module, groups: Sequence[ShardedPooled | ShardedUnpooled], plan: Any) -> dict[str, str]:
    names = {id(module): name for name, module in model.named_modules()}
    found = {}
    for group in groups:
        for number, spec in enumerate(group.specs):
            placed = plan[f"{names[id(group)]}.collection"][f"t{number}"]
            found[spec.name] = f"{placed.sharding_type} over {', '.join(map(str, placed.ranks))}"
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """TorchRec's notices about its own classes kept from the user, who cannot act on them."""
    logger = logging.getLogger("torchrec")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _fused(group: ShardedUnpooled) -> dict[str, Any]:
    return {
        "optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        "learning_rate": group.options["lr"],
        "eps": group.options["eps"],
    }


def _shards(group: ShardedPooled | ShardedUnpooled, *, prefix: str) -> list[TableShard]:
    """The local parts of a group's tables with the state of their optimizer, once they are spread.

    Every step wants them, and they stay where they are: TorchRec is asked once.
    """
    weights = group.collection.state_dict()
    states = group.collection.fused_optimizer.state_dict()["state"]
    found = []
    for number, spec in enumerate(group.specs):
        key = f"{prefix}.t{number}.weight"
        sums = [shard.tensor for shard in _local(next(iter(states[key].values())))] if key in states else []
        for place, shard in enumerate(_local(weights[key])):
            row, column = shard.metadata.shard_offsets
            found.append(
                TableShard(
                    spec=spec,
                    weight=shard.tensor.detach(),
                    state={"sum": sums[place]},
                    first_row=row,
                    first_column=column,
                )
            )
    return found


def _local(tensor: Any) -> list[Any]:
    return list(tensor.local_shards())


def _set_learning_rate(collection: Any, learning_rate: float) -> None:
    optimizer = collection.fused_optimizer
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()  # hands the rate to the kernel; the tables move in the backward pass only


def _waited(found: Any) -> Any:
    return found.wait() if hasattr(found, "wait") else found


def _not_empty(batch: Batch) -> Batch:
    """A batch of one row without ids in place of one without rows: every process takes part in every lookup."""
    return batch if batch.num_rows else batch.of_one_empty_row()


def whole(spec: TableSpec, shards: Sequence[TableShard], *, device: torch.device) -> Tensor:
    """A table put together from all processes, at the width that networks see; every process calls this."""
    rows = torch.zeros(spec.num_rows, spec.dim, device=device)
    for shard in shards:
        rows[shard.rows, shard.columns] = shard.seen
    dist.all_reduce(rows)
    return rows
