"""The ``train`` section of a run file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctrgate.config import Place, settings
from ctrgate.ranges import Count, NotNegative, Positive

__all__ = ["Monitor", "TrainSettings", "WarmStart"]


Monitor = Literal["auc", "log_loss", "gauc", "auc_minus_log_loss", "ndcg", "hit_rate", "mrr"]


@settings
class WarmStart:
    """A run that goes on from an earlier one's weights, with its own data."""

    run: Place
    """The earlier run's folder. Where this run's encoder has not grown from its (``prepare.previous``), rows are found
    by the values that they stand for."""
    which: Literal["best", "last"] = "best"
    """The earlier run's checkpoint."""
    optimizer: Literal["keep", "decay", "drop"] = "keep"
    """What the optimizers had gathered: kept, kept with the sums of row-wise Adagrad shrunk, or forgotten."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of ``optimizer: decay``: those sums only grow and so do the steps shrink; each is multiplied by this."""


@settings
class TrainSettings:
    """How a network is fitted; the defaults are the protocol of FuxiCTR and BARS (one Adam, cuts and strikes)."""

    epochs: Count = 100
    """At most; training ends earlier after ``strikes``."""
    batch_size: Annotated[int, Field(ge=2)] = 4096
    """Rows of a step, over all workers."""
    learning_rate: Positive = 1e-3
    """Of Adam, for the network and dense tables; fused tables have their own in ``tables.rule``."""
    eps: Positive = 1e-8
    """Of Adam."""
    network_l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * |w|^2`` over the network's weights (tables have theirs in ``tables.rule``)."""
    clip_norm: Positive | None = 10.0
    """The gradient's largest norm; fused tables are not part of it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; tables, loss and weights stay fp32."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where tables and network are while they are trained; ``cuda`` takes a GPU, FBGEMM's build for it, and one
    process."""
    compile: bool = False
    """Whether training's full batches go through a compiled network (torch.compile): faster steps after some twenty
    seconds at the start, ten in later runs. It needs a C++ compiler; networks of several workers are not compiled. On a
    GPU the network is a CUDA graph, which keeps some of the card's memory for itself."""
    monitor: Monitor | None = None
    """What is to improve on valid: by default AUC for clicks, NDCG at the first cutoff for the next item."""
    min_improvement: NotNegative = 1e-6
    """How much better than the best before an epoch must be to count as improvement."""
    strikes: Count = 2
    """Epochs in a row without improvement that end training."""
    learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Every learning rate is multiplied by this after an epoch without improvement."""
    min_learning_rate: Positive = 1e-6
    """No learning rate falls below this."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints within an epoch; one is always written at its end."""
    buffer_row_groups: Count = 8
    """Row groups (65,536 rows each) that are shuffled together and in memory at once."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that train together, started by Ray (see ``cluster``); 0 trains in this one without Ray."""
    threads: Count | None = None
    """Of torch, in each worker; by default its own choice."""
    warm_start: WarmStart | None = None
    """The earlier run whose weights this one starts from; null for a start from the seed."""
    restart: bool = False
    """Throw away what an earlier run of this name left instead of resuming it. It is no part of the run: its
    config.yaml has ``false``."""
