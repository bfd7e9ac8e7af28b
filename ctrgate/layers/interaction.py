"""Products of pairs of fields."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["BilinearInteraction", "pairwise_products"]


def pairwise_products(fields: Tensor) -> Tensor:
    """The sum over all pairs of fields of their inner products, in linear time (FM, ICDM 2010, lemma 3.1).

    Shape:
        - fields: ``(B, F, D)``
        - returns: ``(B, 1)``

    Example:
        >>> pairwise_products(torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])).tolist()
        [[67.0]]
    """
    square_of_sum = fields.sum(dim=1).square()
    sum_of_squares = fields.square().sum(dim=1)
    return 0.5 * (square_of_sum - sum_of_squares).sum(dim=1, keepdim=True)


class BilinearInteraction(nn.Module):
    """``(x_i W) * x_j`` for every pair ``i < j`` of fields (FiBiNET, RecSys 2019, bilinear interaction).

    Args:
        num_fields: F.
        dim: D.
        kind: One W for ``all`` pairs, one for ``each`` left field, or one for each ``pair``. The last field is never on
            the left, so ``each`` has F - 1 (the code behind BARS keeps an unused one). Xavier-normal on the whole
            tensor, as there.

    Shape:
        - fields: ``(B, F, D)``
        - returns: ``(B, F (F - 1) / 2, D)``, pairs in the order (0, 1), (0, 2), ... (1, 2), ...
    """

    left: Tensor
    right: Tensor

    def __init__(self, num_fields: int, dim: int, *, kind: Literal["all", "each", "pair"] = "pair") -> None:
        super().__init__()
        left, right = torch.triu_indices(num_fields, num_fields, offset=1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        shapes = {"all": (dim, dim), "each": (num_fields - 1, dim, dim), "pair": (left.numel(), dim, dim)}
        self.weight = nn.Parameter(torch.empty(shapes[kind]))
        nn.init.xavier_normal_(self.weight)
        self._kind = kind

    def forward(self, fields: Tensor) -> Tensor:
        left = fields[:, self.left]
        if self._kind == "all":
            turned = left @ self.weight
        else:
            weight = self.weight[self.left] if self._kind == "each" else self.weight
            turned = torch.einsum("bpd,pde->bpe", left, weight)
        return turned * fields[:, self.right]
