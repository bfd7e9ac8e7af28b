"""The other direction of a history, with its end kept: SIGMA's partial flip."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["partial_flip"]


def partial_flip(inputs: Tensor, mask: Tensor, *, num_kept: int) -> Tensor:
    """Reverse the first ``n - r`` of a row's n events; the last r and the padding stay where they are.

    SIGMA (AAAI 2025, arXiv 2408.11451). Each row by its own length: no padding comes before events, and the last event
    stays last. What stands at a position then depends on later ones.

    Args:
        inputs: Padded on the right.
        mask: True where real.
        num_kept: r.

    Shape:
        - inputs: ``(B, T, ...)``
        - mask: ``(B, T)`` bool
        - returns: as the inputs

    Example:
        >>> partial_flip(torch.arange(5)[None], torch.tensor([[True, True, True, True, False]]), num_kept=1)
        tensor([[2, 1, 0, 3, 4]])
    """
    turned = mask.sum(dim=1, keepdim=True) - num_kept
    place = torch.arange(mask.size(1), device=mask.device).expand_as(mask)
    place = torch.where(place < turned, turned - 1 - place, place)
    place = place.view(*place.shape, *(1,) * (inputs.dim() - 2)).expand_as(inputs)
    return inputs.gather(1, place)
