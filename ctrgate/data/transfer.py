"""Batches on their way to where a model is."""

from __future__ import annotations

import functools
from collections import defaultdict

import torch
from torch import Tensor

from ctrgate.contracts import Batch

__all__ = ["Transfer", "packed", "transfer_to"]

_ALIGNED = 64
"""In elements: parts begin at multiples of at least as many bytes, as kernels that load several at once want it."""


class Transfer:
    """Takes batches to a device.

    To a GPU all tensors of one dtype go as one, from pinned memory, on a stream of their own: the processor goes on,
    and the GPU copies a batch while it still computes with the one before. A copy for each column would cost the
    processor more time than the columns take to copy.

    Args:
        device: Where batches are to be.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Batch:
        """The same batch there."""
        if self.stream is None:
            return batch.to(self.device)
        buffers, pinned = packed(batch, pinned=True)
        with torch.cuda.stream(self.stream):
            moved = {dtype: buffer.to(self.device, non_blocking=True) for dtype, buffer in buffers.items()}
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self.stream)
        for buffer in moved.values():
            buffer.record_stream(computing)

        def there(part: Tensor) -> Tensor:
            return moved[part.dtype].as_strided(part.shape, part.stride(), part.storage_offset())

        return pinned.each(there)


@functools.cache
def transfer_to(device: torch.device) -> Transfer:
    """The one to a device: each has a stream, and memory that is kept for it."""
    return Transfer(device)


def packed(batch: Batch, *, pinned: bool = False) -> tuple[dict[torch.dtype, Tensor], Batch]:
    """One buffer per dtype, and the batch whose tensors are views into them.

    Args:
        batch: On the processor.
        pinned: Whether a GPU is to copy the buffers while the processor goes on.
    """
    parts: defaultdict[torch.dtype, list[Tensor]] = defaultdict(list)

    def gather(part: Tensor) -> Tensor:
        parts[part.dtype].append(part.flatten())
        if missing := -part.numel() % _ALIGNED:
            parts[part.dtype].append(part.new_zeros(missing))
        return part

    batch.each(gather)
    buffers: dict[torch.dtype, Tensor] = {}
    for dtype, of in parts.items():
        whole = torch.empty(sum(map(Tensor.numel, of)), dtype=dtype, pin_memory=pinned)
        buffers[dtype] = torch.cat(of, out=whole)
    starts: defaultdict[torch.dtype, int] = defaultdict(int)

    def place(part: Tensor) -> Tensor:
        start, size = starts[part.dtype], part.numel()
        starts[part.dtype] += size + -size % _ALIGNED
        return buffers[part.dtype][start : start + size].view(part.shape)

    return buffers, batch.each(place)
