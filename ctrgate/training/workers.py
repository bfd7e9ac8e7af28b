"""One training process among those of its run: who it is, and what they tell one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

__all__ = ["ALONE", "Workers"]


@dataclass(frozen=True)
class Workers:
    """A process and the number of them; with more than one, torch's default process group connects them.

    What is exchanged are tensors, never pickled objects. Every process must make the same calls in the same order.

    Args:
        rank: This process, from 0; the first one writes what all of them share.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes, elementwise."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def joined(self, part: NDArray[Any]) -> NDArray[Any]:
        """The parts of all processes, one behind the other by rank: ``(n_r, ...)`` to ``(sum of n_r, ...)``."""
        if self.count == 1:
            return part
        own = torch.from_numpy(np.array(part))  # a copy that torch may own
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        most = max(int(size) for size in sizes)
        padded = torch.zeros(most, *own.shape[1:], dtype=own.dtype)
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        whole: NDArray[Any] = torch.cat([p[: int(size)] for p, size in zip(parts, sizes, strict=True)]).numpy()
        return whole

    def texts(self, text: str) -> list[str]:
        """What each process has to say, in order of rank."""
        if self.count == 1:
            return [text]
        mine = np.frombuffer(text.encode(), dtype=np.uint8)
        lengths = [int(length) for length in self.joined(np.array([len(mine)]))]
        everything = self.joined(mine).tobytes()
        return [everything[start:end].decode() for start, end in pairwise(np.cumsum([0, *lengths]))]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put each tensor to its mean over processes, in place; integers are left alone."""
        if self.count > 1:
            for tensor in tensors:
                if tensor.is_floating_point():
                    dist.all_reduce(tensor)
                    tensor.div_(self.count)

    def wait(self) -> None:
        """Go on once every process has come here."""
        if self.count > 1:
            dist.barrier()


ALONE = Workers()
"""Training in this process alone."""
