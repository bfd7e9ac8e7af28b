"""What tests of gates over experts share: naive forms and ways to make a new gate decide."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.experts import ExpertGate

BATCHES = pytest.mark.parametrize("batch_size", [1, 5])


def linear(layer: nn.Linear, row: list[float]) -> list[float]:
    """``W x + b`` of one row, one output at a time."""
    bias = layer.bias.tolist() if layer.bias is not None else [0.0] * layer.out_features
    return [
        sum(w * x for w, x in zip(line, row, strict=True)) + b
        for line, b in zip(layer.weight.tolist(), bias, strict=True)
    ]


def entropy(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def loud(gate: nn.Module, *, seed: int = 0) -> None:
    """Give every parameter a say, those that start at zero too."""
    torch.manual_seed(seed)
    for parameter in gate.parameters():
        nn.init.normal_(parameter)


def saturate(layer: nn.Linear) -> None:
    """Scale a layer up until (nearly) every row is beyond the smooth step."""
    with torch.no_grad():
        layer.weight.mul_(1e9)


def gradients(gate: ExpertGate, context: Tensor) -> dict[str, Tensor]:
    """Of the weights, each row and expert pulled its own way, and of all terms."""
    gate.zero_grad()
    weights, terms = gate(context)
    (weights * torch.randn_like(weights)).sum().add(sum(terms.values())).backward()
    return {name: p.grad for name, p in gate.named_parameters() if p.grad is not None}


def values(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}
