"""Logistic regression: one weight per feature value."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.models.inputs import Embedding, Inputs, every_field


@settings
class LogisticRegressionConfig:
    """``logit = b + sum of the fields' weights``; tables of width 1 (one per label)."""

    name: Literal["logistic_regression"] = "logistic_regression"

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One weight per value and label, and no other table."""
        return every_field(layout, dim=len(layout.labels))

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return LogisticRegression(num_outputs=inputs.num_labels)


class LogisticRegression(nn.Module):
    """The sum of the fields' weights and a bias."""

    def __init__(self, *, num_outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, fields: Fields) -> Output:
        return Output(logits=fields.stacked.sum(dim=1) + self.bias)
