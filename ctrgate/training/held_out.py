"""What a trained click model says of a split, with the labels beside it: what a calibration is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.layout import role_column
from ctrgate.features.sources import SplitName
from ctrgate.metrics.pooled import PooledRows, pool
from ctrgate.training.predict import EVALUATION_BATCH
from ctrgate.training.runs import Restored
from ctrgate.training.task import logits_of

__all__ = ["HeldOutRows", "held_out"]


@dataclass(frozen=True, kw_only=True)
class HeldOutRows:
    """A split's rows.

    Shape:
        - logits: ``(n, L)``, corrected for the sampling of train's negatives
        - labels: ``(n, L)``, NaN where a row has none; weights: ``(n,)`` or None for 1
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.float64]
    weights: NDArray[Any] | None

    def pooled(self, label: int, logits: NDArray[np.float64] | None = None) -> PooledRows:
        """The rows that have a label, by their logits or by others of the same shape.

        Raises:
            DataError: Where none has.
        """
        known = ~np.isnan(self.labels[:, label])
        if not known.any():
            raise DataError("no row of the split has the label; calibrate on another split")
        values = self.logits if logits is None else logits
        weights = None if self.weights is None else self.weights[known]
        return pool(self.labels[known, label], values[known, label], weights=weights)


def held_out(restored: Restored, split: SplitName) -> HeldOutRows:
    """All rows of a split, scored.

    Raises:
        ConfigError: Where the dataset has no such split.
    """
    prepared, layout = restored.prepared, restored.layout
    num_rows = prepared.num_rows(split)
    if not num_rows:
        raise ConfigError(f"{prepared.folder} has no {split} rows, it has {', '.join(prepared.manifest.splits)}")
    files = prepared.files(split)
    batches = Reader(files, layout=layout).batches(Order(batch_size=EVALUATION_BATCH))
    parts = logits_of(restored.model, batches, num_rows=num_rows, title=split, shifts=restored.logit_shifts)
    columns = [role_column("label", name) for name in layout.labels]
    weights = layout.roles.get("weight", ())[:1]
    known = pl.scan_parquet(files).select(list(dict.fromkeys([*columns, *weights]))).collect()
    return HeldOutRows(
        logits=np.concatenate([logits for _, logits in parts]),
        labels=known.select(pl.col(columns).cast(pl.Float64)).to_numpy(),
        weights=known[weights[0]].to_numpy() if weights else None,
    )
