"""What a model is trained for: the examples of a step, their loss, and what is measured on valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ctrgate.contracts import Batch, Output
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import DataError
from ctrgate.metrics.auc import auc_of
from ctrgate.metrics.calibration import log_loss
from ctrgate.metrics.grouped import grouped_auc
from ctrgate.metrics.pooled import pool
from ctrgate.training.model import CtrModel
from ctrgate.training.objective import ClickObjective
from ctrgate.training.predict import EVALUATION_BATCH, outputs
from ctrgate.training.workers import ALONE, Workers

__all__ = ["ClickTask", "Task", "logits_of"]


class Task(Protocol):
    """What ``Fit`` needs to know of a task."""

    @property
    def larger_is_better(self) -> Mapping[str, bool]:
        """The metrics that can be monitored, the one that is by default first."""
        ...

    @property
    def shown(self) -> Mapping[str, str]:
        """The metrics that are printed after an epoch, and how they are called."""
        ...

    def example(self, batch: Batch) -> Batch:
        """What a step is made of, from a batch of the train rows; draws from torch's generator."""
        ...

    def mass(self, batch: Batch) -> Tensor:
        """What each part of the loss is a mean over, ``(K,)``: sums of weights."""
        ...

    def loss(self, output: Output, batch: Batch, scale: Tensor | None = None) -> Tensor:
        """The loss of such a batch, the network's own terms included.

        Args:
            output: Of the network.
            batch: What it has seen.
            scale: What each part is multiplied by, ``(K,)``; None for ones.
        """
        ...

    def measure(self, model: CtrModel, reader: Reader, *, title: str) -> dict[str, float]:
        """The metrics on every row of a split, those that can be monitored among them; the same in every worker."""
        ...


class ClickTask:
    """Clicks: every row is an example.

    Args:
        objective: The loss.
        workers: The processes that train; each measures its slice of the rows.
        shifts: What is added to each label's logits before they are measured, as valid is not sampled.
    """

    larger_is_better: Mapping[str, bool] = {"auc": True, "gauc": True, "auc_minus_log_loss": True, "log_loss": False}
    shown: Mapping[str, str] = {"auc": "AUC", "log_loss": "log loss"}

    def __init__(self, objective: ClickObjective, workers: Workers = ALONE, *, shifts: Sequence[float] = ()) -> None:
        self._objective, self._workers, self._shifts = objective, workers, shifts

    def example(self, batch: Batch) -> Batch:
        return batch

    def mass(self, batch: Batch) -> Tensor:
        return self._objective.mass(batch)

    def loss(self, output: Output, batch: Batch, scale: Tensor | None = None) -> Tensor:
        return self._objective(output, batch, scale)

    def measure(self, model: CtrModel, reader: Reader, *, title: str) -> dict[str, float]:
        """AUC, log loss, their difference and, with users, grouped AUC of the first label."""
        workers = self._workers
        order = Order(batch_size=EVALUATION_BATCH, worker=workers.rank, num_workers=workers.count)
        logits, labels, weights, groups = [], [], [], []
        mine = reader.num_rows_of(order)
        batches = reader.batches(order)
        for batch, part in logits_of(model, batches, num_rows=mine, title=title, shifts=self._shifts):
            logits.append(part[:, 0])
            labels.append(_array(batch.labels[:, 0] if batch.labels is not None else None))
            weights.append(_array(batch.weights))
            groups.append(_array(batch.groups))
        y, s = self._joined(labels), workers.joined(np.concatenate(logits))
        if y is None:
            raise DataError(f"{title} has no labels")
        w, g, known = self._joined(weights), self._joined(groups), ~np.isnan(y)
        w, g = (None if part is None else part[known] for part in (w, g))
        pooled = pool(y[known], s[known], weights=w)
        if pooled.one_class:
            raise DataError(
                f"the first label of {title} has one class only, so AUC does not exist; choose another split"
            )
        measured = {"auc": auc_of(pooled), "log_loss": log_loss(pooled)}
        measured["auc_minus_log_loss"] = measured["auc"] - measured["log_loss"]
        if g is not None:
            measured["gauc"] = grouped_auc(y[known], s[known], g, weights=w).value
        return measured

    def _joined(self, parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
        present = [part for part in parts if part is not None]
        return self._workers.joined(np.concatenate(present)) if present else None


def logits_of(
    model: CtrModel, batches: Iterator[Batch], *, num_rows: int, title: str, shifts: Sequence[float] = ()
) -> Iterator[tuple[Batch, NDArray[np.float64]]]:
    """Each batch with its logits ``(B, L)`` in float64; all rows, or an error.

    Args:
        model: Trained.
        batches: Of any split.
        num_rows: All of them.
        title: For the bar.
        shifts: What is added to each label's logits (``features.sampling``); none leaves them as they are.

    Raises:
        DataError: Where the batches hold another number of rows than ``num_rows``.
    """
    for batch, output in outputs(model, batches, num_rows=num_rows, title=title):
        if output.logits is None:
            raise ValueError("the network gives no logits")
        logits: NDArray[np.float64] = output.logits.double().cpu().numpy()
        yield batch, logits + np.asarray(shifts) if any(shifts) else logits


def _array(tensor: Tensor | None) -> NDArray[np.float64] | None:
    return None if tensor is None else tensor.numpy()
