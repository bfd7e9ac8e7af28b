"""A trained network over many batches, without gradients and with a bar."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ctrgate.contracts import Batch, Output
from ctrgate.data.prefetch import prefetch
from ctrgate.data.transfer import transfer_to
from ctrgate.errors import DataError
from ctrgate.progress import bar
from ctrgate.training.model import CtrModel

__all__ = ["EVALUATION_BATCH", "outputs"]

EVALUATION_BATCH = 16_384


def outputs(model: CtrModel, batches: Iterator[Batch], *, num_rows: int, title: str) -> Iterator[tuple[Batch, Output]]:
    """Each batch with what the network says of it, where the network is; all rows, or an error.

    Raises:
        DataError: Where the batches hold another number of rows than ``num_rows``.
    """
    was_training, transfer = model.training, transfer_to(model.device)
    model.eval()
    done = 0
    try:
        with bar(title, total=num_rows) as shown:
            for batch in prefetch(batches):
                with torch.no_grad():  # FBGEMM does not know inference mode
                    output, _ = model(transfer(batch))
                done += batch.num_rows
                shown.advance(batch.num_rows)
                yield batch, output
    finally:
        model.train(was_training)
    if done != num_rows:
        raise DataError(f"{title}: {done} rows were scored, but the split has {num_rows}")
