"""Histories and bags as jagged rows: pooled to one vector, or padded to a rectangle."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["bag_offsets", "mean_divisor", "pad", "pad_mask"]


def bag_offsets(lengths: Tensor) -> Tensor:
    """Where each row's values begin, with the end of the last: ``(B,)`` to ``(B + 1,)``.

    Example:
        >>> bag_offsets(torch.tensor([2, 0, 1])).tolist()
        [0, 2, 2, 3]
    """
    return functional.pad(lengths.cumsum(0), (1, 0))


def mean_divisor(lengths: Tensor, weights: Tensor | None) -> Tensor:
    """What a sum is divided by to become a mean: the count, or the sum of the weights; 1 for an empty bag.

    Shape:
        - lengths: ``(B,)``
        - weights: ``(n,)`` or None
        - returns: ``(B, 1)``
    """
    if weights is None:
        return lengths.clamp(min=1).to(torch.float32).unsqueeze(1)
    row = torch.repeat_interleave(torch.arange(lengths.numel(), device=lengths.device), lengths)
    total = weights.new_zeros(lengths.numel()).index_add(0, row, weights)
    return torch.where(total == 0, torch.ones_like(total), total).unsqueeze(1)


def pad_mask(lengths: Tensor, *, max_length: int) -> Tensor:
    """True where a padded history holds a real value: ``(B,)`` to ``(B, T)``."""
    return torch.arange(max_length, device=lengths.device) < lengths.unsqueeze(1)


def pad(values: Tensor, lengths: Tensor, *, max_length: int) -> Tensor:
    """Jagged rows as a rectangle, zeros on the right.

    Shape:
        - values: ``(n, D)``, row after row
        - lengths: ``(B,)``, none above ``max_length``
        - returns: ``(B, max_length, D)``

    Example:
        >>> pad(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]), max_length=2)[..., 0].tolist()
        [[1.0, 2.0], [3.0, 0.0]]
    """
    batch_size, start = lengths.numel(), bag_offsets(lengths)[:-1]
    row = torch.repeat_interleave(torch.arange(batch_size, device=lengths.device), lengths)
    position = torch.arange(values.size(0), device=values.device) - start[row]
    flat = values.new_zeros(batch_size * max_length, values.size(1)).index_copy(0, row * max_length + position, values)
    return flat.view(batch_size, max_length, values.size(1))
