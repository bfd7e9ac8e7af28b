"""Groups of lookups that one operator serves: a TorchRec collection for dense tables, FBGEMM's for fused ones."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ctrgate.contracts import Batch, Ids, Lookup, TableSpec
from ctrgate.layers.jagged import bag_offsets
from ctrgate.lookups.quiet import (
    ComputeDevice,
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    EmbeddingLocation,
    EmbOptimType,
    KeyedJaggedTensor,
    PoolingMode,
    SplitTableBatchedEmbeddingBagsCodegen,
)
from ctrgate.lookups.shards import TableShard

__all__ = ["FusedOptions", "Group", "PooledDense", "PooledFused", "UnpooledDense", "UnpooledFused"]

_Config = TypeVar("_Config", EmbeddingConfig, EmbeddingBagConfig)

FusedOptions = Mapping[str, float]
"""``lr`` and ``eps`` of row-wise Adagrad."""


class Group(nn.Module, ABC):
    """Tables of one kind, and the lookups that read them.

    TorchRec names its parameters by table; tables and features are numbered for it, since a user's name may hold a dot
    or be that of a module's method.

    Args:
        tables: In order.
        lookups: In the tables' order.
    """

    def __init__(self, tables: Sequence[TableSpec], lookups: Sequence[Lookup]) -> None:
        super().__init__()
        self.specs = tuple(tables)
        place = {spec.name: number for number, spec in enumerate(self.specs)}
        self.lookups = tuple(sorted(lookups, key=lambda lookup: place[lookup.table]))
        self._features = {lookup.name: f"f{number}" for number, lookup in enumerate(self.lookups)}

    @abstractmethod
    def weights(self) -> list[Tensor]:
        """The tables' rows as stored, ``(V, stored D)`` each: parameters under the dense rule."""

    def states(self) -> list[dict[str, Tensor]]:
        """The fused optimizer's state per table, to be read and written in place; empty under the dense rule."""
        return [{} for _ in self.specs]

    def shards(self) -> list[TableShard]:
        """What this process holds of the tables: whole ones here."""
        held = zip(self.specs, self.weights(), self.states(), strict=True)
        return [TableShard(spec=spec, weight=weight.detach(), state=state) for spec, weight, state in held]

    def padding(self) -> list[Tensor]:
        """Row 0 of each table, where this process holds it."""
        return [weight[0] for weight in self.weights() if len(weight)]

    def set_learning_rate(self, learning_rate: float) -> None:
        """The fused optimizer's step size from now on; nothing to do under the dense rule."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Per lookup the pooled sum ``(B, stored D)``, or the rows ``(n, stored D)`` of an unpooled group."""

    def _features_of(self, spec: TableSpec) -> list[str]:
        return [self._features[lookup.name] for lookup in self.lookups if lookup.table == spec.name]

    def _configs(self, kind: type[_Config]) -> list[_Config]:
        """The tables as TorchRec's collections take them."""
        return [
            kind(
                name=f"t{number}",
                embedding_dim=spec.stored_dim,
                num_embeddings=spec.num_rows,
                feature_names=self._features_of(spec),
            )
            for number, spec in enumerate(self.specs)
        ]

    def _by_lookup(self, sums: Tensor) -> dict[str, Tensor]:
        """Sums side by side, ``(B, sum of stored D)``, by lookup."""
        widths = [spec.stored_dim for spec in self.specs for _ in self._features_of(spec)]
        return dict(zip((lookup.name for lookup in self.lookups), sums.split_with_sizes(widths, dim=1), strict=True))

    def _keyed(self, batch: Batch, *, weighted: bool) -> KeyedJaggedTensor:
        """The ids of all lookups one after the other, with what their rows are multiplied by where that is wanted."""
        columns = [batch.ids[lookup.column] for lookup in self.lookups]
        values = torch.cat([ids.values for ids in columns])
        if all(ids.lengths is None for ids in columns):
            lengths, offsets = _one_each(len(values), values.device)
        else:
            lengths = torch.cat([_lengths(ids, batch.num_rows) for ids in columns])
            offsets = bag_offsets(lengths)
        weights = torch.cat(list(map(_weights, self.lookups, columns))) if weighted else None
        keys = list(self._features.values())
        return KeyedJaggedTensor(keys=keys, values=values, lengths=lengths, offsets=offsets, weights=weights)


@functools.lru_cache(maxsize=4)
def _one_each(number: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lengths and offsets of bags that hold one id each, made once for batches of one size."""
    return torch.ones(number, dtype=torch.int64, device=device), torch.arange(number + 1, device=device)


def _lengths(ids: Ids, num_rows: int) -> Tensor:
    return torch.ones(num_rows, dtype=torch.int64, device=ids.values.device) if ids.lengths is None else ids.lengths


def _weights(lookup: Lookup, ids: Ids) -> Tensor:
    """What each id's row is multiplied by before it is summed."""
    if lookup.weighted and ids.weights is not None:
        return ids.weights if ids.factors is None else ids.weights * ids.factors
    return torch.ones_like(ids.values, dtype=torch.float32) if ids.factors is None else ids.factors


def _gated(rows: Tensor, ids: Ids) -> Tensor:
    return rows if ids.factors is None else rows * ids.factors.unsqueeze(1)


class _Fused(Group):
    """Tables that row-wise Adagrad moves in the backward pass, by FBGEMM's table-batched operator.

    Not by TorchRec's collections of one process, which copy ids and results once more, and refuse a CPU where nothing
    is pooled; ``sharded`` has TorchRec's of many.
    """

    mode: ClassVar[PoolingMode]

    def __init__(
        self, tables: Sequence[TableSpec], lookups: Sequence[Lookup], *, options: FusedOptions, device: torch.device
    ) -> None:
        super().__init__(tables, lookups)
        self.options = options
        self._build(device)

    def _build(self, device: torch.device) -> None:
        on_cpu = device.type == "cpu"
        location = EmbeddingLocation.HOST if on_cpu else EmbeddingLocation.DEVICE
        compute = ComputeDevice.CPU if on_cpu else ComputeDevice.CUDA
        place = {spec.name: number for number, spec in enumerate(self.specs)}
        self.operator = SplitTableBatchedEmbeddingBagsCodegen(
            [(spec.num_rows, spec.stored_dim, location, compute) for spec in self.specs],
            feature_table_map=[place[lookup.table] for lookup in self.lookups],
            pooling_mode=self.mode,
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=self.options["lr"],
            eps=self.options["eps"],
            device=device,
        )

    def weights(self) -> list[Tensor]:
        return list(self.operator.split_embedding_weights())

    def states(self) -> list[dict[str, Tensor]]:
        return [{"sum": state[0]} for state in self.operator.split_optimizer_states()]

    def set_learning_rate(self, learning_rate: float) -> None:
        self.operator.set_learning_rate(learning_rate)


class PooledDense(Group):
    """Sums over bags of tables that are ordinary parameters; factors of ids come in as weights."""

    def __init__(self, tables: Sequence[TableSpec], lookups: Sequence[Lookup], *, gated: bool) -> None:
        super().__init__(tables, lookups)
        self.weighted = gated or any(lookup.weighted for lookup in lookups)
        self.collection = EmbeddingBagCollection(self._configs(EmbeddingBagConfig), is_weighted=self.weighted)

    def weights(self) -> list[Tensor]:
        return [self.collection.embedding_bags[f"t{number}"].weight for number in range(len(self.specs))]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._by_lookup(self.collection(self._keyed(batch, weighted=self.weighted)).values())


class PooledFused(_Fused):
    """Sums over bags of tables that row-wise Adagrad moves in the backward pass; factors of ids come in as weights."""

    mode = PoolingMode.SUM

    def __init__(
        self,
        tables: Sequence[TableSpec],
        lookups: Sequence[Lookup],
        *,
        options: FusedOptions,
        device: torch.device,
        gated: bool,
    ) -> None:
        self.weighted = gated or any(lookup.weighted for lookup in lookups)  # which building may ask for
        super().__init__(tables, lookups, options=options, device=device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        keyed = self._keyed(batch, weighted=self.weighted)
        return self._by_lookup(self.operator(keyed.values(), keyed.offsets(), keyed.weights_or_none()))


class UnpooledDense(Group):
    """Row by row lookups of tables that are ordinary parameters."""

    def __init__(self, tables: Sequence[TableSpec], lookups: Sequence[Lookup]) -> None:
        super().__init__(tables, lookups)
        self.collection = EmbeddingCollection(self._configs(EmbeddingConfig))

    def weights(self) -> list[Tensor]:
        return [self.collection.embeddings[f"t{number}"].weight for number in range(len(self.specs))]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rows = self.collection(self._keyed(batch, weighted=False))
        return {
            lookup.name: _gated(jagged.values(), batch.ids[lookup.column])
            for lookup, jagged in zip(self.lookups, rows.values(), strict=True)
        }


class UnpooledFused(_Fused):
    """Row by row lookups of tables that row-wise Adagrad moves in the backward pass."""

    mode = PoolingMode.NONE

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        read = zip(self.lookups, self._rows(batch), strict=True)
        return {lookup.name: _gated(rows, batch.ids[lookup.column]) for lookup, rows in read}

    def _rows(self, batch: Batch) -> list[Tensor]:
        """Per lookup its rows ``(n, stored D)``."""
        keyed = self._keyed(batch, weighted=False)
        rows: Tensor = self.operator(keyed.values(), keyed.offsets())
        return list(rows.split_with_sizes([batch.ids[lookup.column].values.numel() for lookup in self.lookups]))
