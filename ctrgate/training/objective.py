"""Losses: the only place that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Discriminator, Field
from torch import Tensor
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.contracts import Batch, Output
from ctrgate.ranges import Count, Fraction, Positive
from ctrgate.training.selection import ValueGates

__all__ = [
    "ClickConfig",
    "ClickObjective",
    "GbceConfig",
    "NextItemConfig",
    "ObjectiveConfig",
    "SampledSoftmaxConfig",
    "SoftmaxConfig",
    "click_loss",
    "selection_loss",
]


@settings
class ClickConfig:
    """Binary cross-entropy on the labels."""

    name: Literal["click"] = "click"
    label_weights: Mapping[str, Positive] = Field(default_factory=dict)
    """Weights of single labels in the sum over labels; 1 where not given."""


@settings
class SoftmaxConfig:
    """Softmax over all items; for tables under the dense rule."""

    name: Literal["softmax"] = "softmax"


@settings
class SampledSoftmaxConfig:
    """Softmax over the target and a sample of items, corrected by how often each is drawn."""

    name: Literal["sampled_softmax"] = "sampled_softmax"
    negatives: Count = 256
    """Items drawn per history, for all of its positions."""
    popularity: Fraction = 0.0
    """Items are drawn in proportion to their train events to this power: 0 evenly, 1 as often as they happen."""


@settings
class GbceConfig:
    """Binary cross-entropy on the target and a sample of items drawn evenly, calibrated (gSASRec)."""

    name: Literal["gbce"] = "gbce"
    negatives: Count = 256
    """Items drawn per history, for all of its positions."""
    calibration: Fraction = 0.75
    """0 is plain binary cross-entropy."""


@settings
class NextItemConfig:
    """The item that follows a history, among all items that train has seen."""

    name: Literal["next_item"] = "next_item"
    loss: Annotated[SoftmaxConfig | SampledSoftmaxConfig | GbceConfig, Discriminator("name")] = SoftmaxConfig()
    """What the target competes with: all items, or a sample of them."""
    positions: Literal["all", "last"] = "all"
    """Whether each item of a history is predicted from those before it in one pass (causal networks only), or one item
    per pass from what comes before it."""
    prefixes: Count | None = None
    """Of ``positions: last``: how many beginnings of each row's history are drawn per epoch; null takes them all."""
    seen: Literal["keep", "mask"] = "keep"
    """Whether items seen before are candidates in evaluation and scoring."""
    seen_from: str = ""
    """The sequence ``GROUP/MEMBER`` or the bag that holds what was seen; by default the history read."""
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] = (10,)
    """Each K of the metrics; train monitors the first."""

    def __post_init__(self) -> None:
        if self.prefixes is not None and self.positions == "all":
            raise ValueError("prefixes belongs to positions: last")
        if self.seen_from and self.seen == "keep":
            raise ValueError("seen_from tells what seen: mask leaves out; set seen: mask")


ObjectiveConfig = Annotated[ClickConfig | NextItemConfig, Discriminator("name")]


class ClickObjective:
    """Binary cross-entropy on logits, summed over labels, averaged over rows.

    Args:
        label_weights: ``(L,)``, one weight per label.
    """

    def __init__(self, label_weights: Tensor) -> None:
        self.label_weights = label_weights

    def mass(self, batch: Batch) -> Tensor:
        """What each label's loss is a mean over: the weights of the rows that have it, ``(L,)``."""
        if batch.labels is None:
            raise ValueError("a click objective needs a batch with labels")
        known = ~batch.labels.isnan()
        return known.sum(dim=0) if batch.weights is None else (known * batch.weights.unsqueeze(1)).sum(dim=0)

    def __call__(self, output: Output, batch: Batch, scale: Tensor | None = None) -> Tensor:
        """The loss of a batch, each label's multiplied by ``scale (L,)``, with the network's own terms added."""
        if output.logits is None or batch.labels is None:
            raise ValueError("a click objective needs a network with logits and a batch with labels")
        own = self.label_weights.to(output.logits.device)
        weights = own if scale is None else own * scale
        loss = click_loss(output.logits, batch.labels, row_weights=batch.weights, label_weights=weights)
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
