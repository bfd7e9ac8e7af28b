"""The rows on which an artifact is compared with its checkpoint, and what the checkpoint says of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ctrgate.contracts import Batch
from ctrgate.data.reader import Order, Reader
from ctrgate.training.runs import Restored

__all__ = ["answers_of", "compared_split", "sample_of"]

_ROWS_AT_ONCE = 4_096


def compared_split(restored: Restored) -> Literal["valid", "train"]:
    """Whose rows are compared: valid's, or train's where valid has none."""
    return "valid" if restored.prepared.num_rows("valid") else "train"


def sample_of(restored: Restored, *, num_rows: int) -> Iterator[Batch]:
    """The first rows of ``compared_split``; in whole batches, so that they may be a few more."""
    reader = Reader(restored.prepared.files(compared_split(restored)), layout=restored.layout)
    order = Order(batch_size=min(num_rows, _ROWS_AT_ONCE))
    return islice(reader.batches(order), -(-num_rows // order.batch_size))


def answers_of(restored: Restored, batch: Batch) -> NDArray[np.float32]:
    """What the checkpoint says, logits (corrected for sampling) or queries, looked up as in training."""
    with torch.no_grad():  # FBGEMM does not know inference mode
        output, _ = restored.model(batch)
    found = output.query if output.logits is None else output.logits
    if found is None:
        raise ValueError("the network gives neither logits nor queries")
    answers: NDArray[np.float32] = found.float().cpu().numpy()
    shifts = restored.logit_shifts
    return answers + np.asarray(shifts, dtype=np.float32) if any(shifts) else answers
