"""Losses: the only place that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.contracts import Batch, Output
from ctrgate.training.selection import ValueGates

__all__ = ["ClickObjective", "ObjectiveConfig", "click_loss", "selection_loss"]


@settings
class ObjectiveConfig:
    """What is minimised."""

    name: Literal["click"] = "click"
    label_weights: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Weights of single labels in the sum over labels; 1 where not given."""


class ClickObjective:
    """Binary cross-entropy on logits, summed over labels, averaged over rows.

    Args:
        label_weights: ``(L,)``, one weight per label.
    """

    def __init__(self, label_weights: Tensor) -> None:
        self.label_weights = label_weights

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """The loss of a batch, with the network's own terms added."""
        if output.logits is None or batch.labels is None:
            raise ValueError("a click objective needs a network with logits and a batch with labels")
        loss = click_loss(output.logits, batch.labels, row_weights=batch.weights, label_weights=self.label_weights)
        return loss + sum(output.aux.values(), start=torch.zeros((), device=loss.device))


def click_loss(logits: Tensor, labels: Tensor, *, row_weights: Tensor | None, label_weights: Tensor) -> Tensor:
    """``sum_l w_l * mean over rows with label l of v * BCE(logit, label)``; a NaN label takes no part.

    Shape:
        - logits, labels: ``(B, L)``
        - row_weights: ``(B,)`` or None for ones; the mean divides by their sum
        - label_weights: ``(L,)``
        - returns: scalar
    """
    known = ~labels.isnan()
    losses = functional.binary_cross_entropy_with_logits(logits.float(), labels.nan_to_num(0.0), reduction="none")
    weights = known.float() if row_weights is None else known * row_weights.unsqueeze(1)
    return ((losses * weights).sum(0) / weights.sum(0).clamp(min=torch.finfo(torch.float32).tiny) * label_weights).sum()


def selection_loss(gates: ValueGates, *, penalty: float) -> Tensor:
    """``penalty * sum over all values of how far their gates are open`` (OptFS, WWW 2023), whatever the batch holds."""
    return penalty * gates.penalty()
