"""TorchRec imported without its deprecation notices, which are not ours to act on."""

from __future__ import annotations

import logging
import warnings


def _is_news(record: logging.LogRecord) -> bool:
    """False for the notice that every first lookup logs about TorchRec's use of a torch.fx function."""
    return not record.getMessage().startswith("is_fx_tracing will return true")


logging.getLogger("torch.fx._symbolic_trace").addFilter(_is_news)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchrec.optim
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.fused_embeddingbag import FusedEmbeddingBagCollectionSharder
    from torchrec.distributed.model_parallel import DefaultDataParallelWrapper, DistributedModelParallel
    from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
    from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
    from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
    from torchrec.distributed.types import ShardingEnv
    from torchrec.modules.embedding_configs import EmbeddingBagConfig, EmbeddingConfig
    from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

RowWiseAdagrad = torchrec.optim.RowWiseAdagrad

__all__ = [
    "BoundsCheckMode",
    "ComputeDevice",
    "DefaultDataParallelWrapper",
    "DistributedModelParallel",
    "EmbOptimType",
    "EmbeddingBagCollection",
    "EmbeddingBagConfig",
    "EmbeddingCollection",
    "EmbeddingCollectionSharder",
    "EmbeddingConfig",
    "EmbeddingLocation",
    "EmbeddingShardingPlanner",
    "FixedPercentageStorageReservation",
    "FusedEmbeddingBagCollection",
    "FusedEmbeddingBagCollectionSharder",
    "KeyedJaggedTensor",
    "ParameterConstraints",
    "PlannerError",
    "PoolingMode",
    "RowWiseAdagrad",
    "ShardingEnv",
    "SplitTableBatchedEmbeddingBagsCodegen",
    "Topology",
]
