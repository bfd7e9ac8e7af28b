"""Recurrences over a history cut into chunks that step together: what the scans are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "advance",
    "by_step",
    "cut",
    "in_chunks",
    "out_of_chunks",
    "padded_to_chunks",
    "product",
    "retreat",
    "states_of",
]


def cut(length: int) -> tuple[int, int]:
    """How many chunks a history has, and how many steps each."""
    steps = max(1, round(math.sqrt(2 * length)))
    return -(-length // steps), steps


def by_step(padded: Tensor, length: int) -> tuple[Tensor, ...]:
    """Whole chunks ``(B, K L, ...)`` of a history of some length, as L times ``(B, K, ...)``."""
    return padded.view(padded.size(0), *cut(length), *padded.shape[2:]).unbind(2)


def padded_to_chunks(sequence: Tensor) -> Tensor:
    """With zeros at the end, up to whole chunks."""
    chunks, steps = cut(sequence.size(1))
    lacking = chunks * steps - sequence.size(1)
    return functional.pad(sequence, (0, 0) * (sequence.dim() - 2) + (0, lacking)) if lacking else sequence


def in_chunks(sequence: Tensor) -> Tensor:
    """``(B, T, W)`` as ``(L, B, K, W)``."""
    chunked = padded_to_chunks(sequence).view(sequence.size(0), *cut(sequence.size(1)), sequence.size(2))
    return chunked.permute(2, 0, 1, 3).contiguous()


def out_of_chunks(chunked: Tensor, length: int) -> Tensor:
    """``(L, B, K, W)`` as the ``(B, T, W)`` that it was."""
    return chunked.permute(1, 2, 0, 3).flatten(1, 2)[:, :length]


def product(decays: Sequence[Tensor]) -> Tensor:
    """Of all steps of a chunk."""
    total = decays[0].clone()
    for decay in decays[1:]:
        total.mul_(decay)
    return total


def advance(decays: Sequence[Tensor], values: Sequence[Tensor], *, total: Tensor, before: Tensor) -> None:
    """Turn inputs into states in place, all chunks at once.

    Args:
        decays: By step within a chunk, ``(B, K, ...)`` for K chunks.
        values: The same of what enters.
        total: A chunk's decays multiplied, ``(B, K, ...)``.
        before: Of the same shape: gets the state before each chunk.
    """
    left = values[0]  # what a chunk leaves behind when it starts from zero
    for decay, value in zip(decays[1:], values[1:], strict=True):
        left = torch.addcmul(value, decay, left, out=None if left is values[0] else left)
    before[:, :1].zero_()
    chunks = pairwise(before.unbind(1))
    for (chunk, following), leaves, factor in zip(chunks, left.unbind(1), total.unbind(1), strict=False):
        torch.addcmul(leaves, factor, chunk, out=following)
    state = before
    for decay, value in zip(decays, values, strict=True):
        state = value.addcmul_(decay, state)


def retreat(decays: Sequence[Tensor], values: Sequence[Tensor], *, total: Tensor) -> None:
    """Turn gradients of each state on its own into those through all later ones, in place: ``advance`` backwards."""
    decays, values = decays[::-1], values[::-1]
    left = values[0]
    for decay, value in zip(decays, values[1:], strict=False):
        left = torch.addcmul(value, decay, left, out=None if left is values[0] else left)
    left = left * decays[-1] if left is values[0] else left.mul_(decays[-1])
    after = torch.empty_like(left)
    after[:, -1:].zero_()
    chunks = pairwise(after.unbind(1)[::-1])
    for (chunk, following), leaves, factor in zip(chunks, left.unbind(1)[::-1], total.unbind(1)[::-1], strict=False):
        torch.addcmul(leaves, factor, chunk, out=following)
    state = values[0].add_(after)
    for decay, value in zip(decays, values[1:], strict=False):
        state = value.addcmul_(decay, state)


def states_of(steps: int, of: Callable[[int], tuple[Tensor, Tensor]], *, total: Tensor) -> Iterator[Tensor]:
    """``advance`` with nothing in place, for exports.

    Args:
        steps: L.
        of: Gives the decays and what enters at a step, twice.
        total: As for ``advance``.
    """
    _, left = of(0)
    for step in range(1, steps):
        decay, value = of(step)
        left = torch.addcmul(value, decay, left)
    before = [torch.zeros_like(left[:, 0])]
    for leaves, factor in zip(left.unbind(1)[:-1], total.unbind(1), strict=False):
        before.append(torch.addcmul(leaves, factor, before[-1]))
    state = torch.stack(before, dim=1)
    for step in range(steps):
        decay, value = of(step)
        state = torch.addcmul(value, decay, state)
        yield state
