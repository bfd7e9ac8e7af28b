"""Padded histories in pieces of like length, so that short ones are not computed at the length of the longest."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["encode_by_length"]

_SHORTEST = 8


def encode_by_length(encoder: Callable[[Tensor, Tensor], Tensor], x: Tensor, mask: Tensor) -> Tensor:
    """``encoder(x, mask)`` for an encoder to which padding on the right is of no meaning, computed in fewer steps.

    Rows are cut at 8, 16, 32 ... steps, the least that holds their events, and each such piece is encoded on its own. A
    row's piece depends on its own length alone, so what is computed for a row does not depend on its neighbours. While
    a program is traced all rows go through in one piece.

    Shape:
        - x: ``(B, T, D)``; mask: ``(B, T)``, True where real, padded on the right
        - returns: ``(B, T, D)``, zero at padding beyond a row's piece

    Example:
        >>> mask = torch.tensor([[True] * 2 + [False] * 18, [True] * 20])
        >>> encode_by_length(lambda x, _: x + x.size(1), torch.zeros(2, 20, 1), mask)[:, 0, 0].tolist()
        [8.0, 20.0]
    """
    length = mask.size(1)
    if torch.compiler.is_compiling() or not len(x):
        return encoder(x, mask)
    steps = [_SHORTEST << doubled for doubled in range(length.bit_length()) if _SHORTEST << doubled < length]
    lengths = mask.sum(dim=1)
    places, pieces = [], []
    for shorter, step in pairwise([-1, *steps, length]):
        rows = ((lengths > shorter) & (lengths <= step)).nonzero().squeeze(1)
        if len(rows):
            places.append(rows)
            piece = encoder(x[rows, :step], mask[rows, :step])
            pieces.append(functional.pad(piece, (0, 0, 0, length - step)))
    return torch.cat(pieces)[torch.cat(places).argsort()]
