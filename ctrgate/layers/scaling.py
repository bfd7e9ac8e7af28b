"""Scaling by a gate's factors, and by nothing else that torch would take."""

from __future__ import annotations

from torch import Tensor

__all__ = ["scale"]


def scale(features: Tensor, factor: Tensor) -> Tensor:
    """``features * factor``; features of one column are not stretched to as many as there are factors.

    Args:
        features: ``(..., D)``.
        factor: ``(..., D)``, or ``(..., 1)`` for one factor for all columns.

    Raises:
        ValueError: Where the factors are for features of another width.

    Example:
        >>> import torch
        >>> scale(torch.ones(2, 3), torch.full((2, 1), 0.5)).shape
        torch.Size([2, 3])
    """
    if factor.size(-1) not in (1, features.size(-1)):
        raise ValueError(f"{factor.size(-1)} factors cannot scale features of {features.size(-1)} columns")
    return features * factor
