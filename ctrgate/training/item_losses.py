"""Losses of the next-item task: queries against the rows of items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["gbce_loss", "sampled_softmax_loss", "softmax_loss"]

_CELLS_AT_ONCE = 1 << 19  # two megabytes, which stay in a core's cache


def softmax_loss(queries: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """``sum_i w_i (log sum_v exp(q_i e_v) - q_i e_t(i)) / sum_i w_i`` over every row of a table.

    Forward and gradient are computed together, a piece of the queries at a time: memory does not grow with queries
    times rows.

    Shape:
        - queries: ``(n, D)``; rows: ``(V, D)``; targets: ``(n,)`` int64 places among the rows; weights: ``(n,)``
        - returns: scalar
    """
    loss: Tensor = _Softmax.apply(queries.float(), rows, targets, weights)  # type: ignore[no-untyped-call]
    return loss


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        share = weights / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
        loss = queries.new_zeros(())
        by_query, by_row = torch.empty_like(queries), torch.zeros_like(rows)
        step = max(1, _CELLS_AT_ONCE // len(rows))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            query, target, weight = queries[part], targets[part].unsqueeze(1), share[part].unsqueeze(1)
            scores = query @ rows.T
            total = scores.logsumexp(dim=1, keepdim=True)
            loss += ((total - scores.gather(1, target)) * weight).sum()
            slope = scores.sub_(total).exp_().mul_(weight)
            slope.scatter_add_(1, target, -weight)
            torch.mm(slope, rows, out=by_query[part])
            by_row.addmm_(slope.T, query)
        ctx.save_for_backward(by_query, by_row)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_query, by_row = ctx.saved_tensors
        return by_query * slope, by_row * slope, None, None


def sampled_softmax_loss(positives: Tensor, negatives: Tensor, *, negative_log_q: Tensor, weights: Tensor) -> Tensor:
    """Softmax over a target and its sample, each score less the logarithm of how often its item is expected there.

    The correction makes the sample's gradient that of the full softmax as the sample grows (Bengio and Senecal 2008).
    The target is there once, always, so its own score stays as it is: corrected as if it were drawn (as in Yi et al.,
    RecSys 2019, where it is), its share of the softmax would vanish as the sample grows.

    Shape:
        - positives: ``(n,)``; negatives, negative_log_q: ``(n, K)``, negatives -inf where the sample hit the target;
          weights: ``(n,)``
        - returns: scalar, the weighted mean
    """
    scores = torch.cat([positives.unsqueeze(1), negatives - negative_log_q], dim=1)
    losses = scores.logsumexp(dim=1) - scores[:, 0]
    return _mean(losses, weights)


def gbce_loss(positives: Tensor, negatives: Tensor, *, rate: float, calibration: float, weights: Tensor) -> Tensor:
    """``-(beta log s(p) + sum_k log(1 - s(n_k))) / (K + 1)``, ``beta = a (t (1 - 1/a) + 1/a)`` (Petrov and Macdonald,
    RecSys 2023, arXiv 2308.07192).

    A sample of K items shows negatives too rarely, and plain binary cross-entropy then grows overconfident.

    Args:
        positives: Scores of the targets.
        negatives: Scores of their samples; -inf where the sample hit the target.
        rate: a, the share of all other items that a sample holds.
        calibration: t; 0 is plain binary cross-entropy, 1 calibrates fully.
        weights: Of the targets.

    Shape:
        - positives, weights: ``(n,)``; negatives: ``(n, K)``
        - returns: scalar, the weighted mean
    """
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    losses = beta * functional.softplus(-positives) + functional.softplus(negatives).sum(dim=1)
    return _mean(losses / (negatives.size(1) + 1), weights)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
