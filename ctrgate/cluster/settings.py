"""The ``cluster`` section of a run file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ctrgate.config import settings
from ctrgate.lookups.kinds import EXACT_KINDS, ShardingKind
from ctrgate.ranges import Count, Positive

__all__ = ["STOP_FILE", "ClusterConfig"]

STOP_FILE = ".stop"
"""In the run's folder: once it is there, workers save their state and end."""


@settings
class ClusterConfig:
    """Where ``train.workers`` run, and how fused tables are spread over them."""

    address: str = ""
    """Of a Ray cluster (``auto``, ``ray://HOST:PORT``); by default Ray is started on this machine for the run."""
    cpus_per_worker: Positive = 1.0
    """Cores that Ray sets aside for a worker; torch takes as many threads unless ``train.threads`` says otherwise."""
    sharding: Annotated[tuple[ShardingKind, ...], Field(min_length=1)] = EXACT_KINDS
    """The ways in which TorchRec's planner may spread a fused table. By default those that cut no row: row-wise Adagrad
    is then what it is in one process. Under ``column_wise`` each block of columns has a step of its own."""
    memory_gb: Positive | None = None
    """What a worker may use for tables; by default what the planner assumes."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often training starts again from its last checkpoint after a worker was lost."""
    patience_seconds: Count = 600
    """The longest that workers wait for one another before the run ends with an error."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a worker's process: its threads, and quiet where nobody can act."""
        threads = str(max(1, int(self.cpus_per_worker)))
        return {"OMP_NUM_THREADS": threads, "POLARS_MAX_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR"}
