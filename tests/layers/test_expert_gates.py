"""What all gates over experts hold, and the softmax gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ctrgate.layers.comet import Comet
from ctrgate.layers.d_select_k import DSelectK
from ctrgate.layers.dense_to_sparse import DenseToSparse
from ctrgate.layers.experts import ExpertGate, SoftmaxGate
from ctrgate.layers.noisy_top_k import NoisyTopK
from tests.layers.expert_gates import BATCHES, linear, loud
from tests.layers.test_routing import softmax

GATES: list[Callable[..., ExpertGate]] = [SoftmaxGate, NoisyTopK, DenseToSparse, DSelectK, Comet]


# What all of them share


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", GATES)
def test_one_expert_has_the_weight_one(build: Callable[..., ExpertGate], training: bool) -> None:
    gate = build(3, 1).train(training)
    loud(gate)
    torch.testing.assert_close(gate(torch.randn(5, 3))[0], torch.ones(5, 1))


@pytest.mark.parametrize("num_experts", [4, 5])
@pytest.mark.parametrize("build", GATES)
def test_terms_are_finite_in_training_and_gone_in_evaluation(
    build: Callable[..., ExpertGate], num_experts: int
) -> None:
    gate = build(3, num_experts)
    loud(gate)
    terms = gate(torch.randn(5, 3))[1]
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    assert gate.eval()(torch.randn(5, 3))[1] == {}


@pytest.mark.parametrize("num_experts", [4, 5])
@pytest.mark.parametrize("build", GATES)
def test_weights_and_terms_stay_fp32_under_autocast(build: Callable[..., ExpertGate], num_experts: int) -> None:
    gate = build(3, num_experts)
    loud(gate)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights, terms = gate(torch.randn(5, 3))
    assert {weights.dtype, *(term.dtype for term in terms.values())} == {torch.float32}


# SoftmaxGate


@BATCHES
@pytest.mark.parametrize("hidden_dims", [(), (4,)])
def test_a_softmax_gate_is_its_formula(batch_size: int, hidden_dims: tuple[int, ...]) -> None:
    gate = SoftmaxGate(3, 5, hidden_dims=hidden_dims)
    loud(gate)
    context = torch.randn(batch_size, 3)
    expected = []
    for row in context.tolist():
        if hidden_dims:
            row = [max(0.0, value) for value in linear(gate.scores.blocks[0], row)]
        expected.append(softmax(linear(gate.scores.blocks[-1], row)))
    weights, terms = gate(context)
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert terms == {}


def test_a_softmax_gate_without_weights_mixes_all_experts_evenly() -> None:
    gate = SoftmaxGate(3, 5)
    nn.init.zeros_(gate.scores.blocks[-1].weight)
    torch.testing.assert_close(gate(torch.randn(7, 3))[0], torch.full((7, 5), 0.2))
