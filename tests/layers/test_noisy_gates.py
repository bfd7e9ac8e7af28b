"""Noisy top-k and dense-to-sparse gates against their formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ctrgate.layers.dense_to_sparse import DenseToSparse
from ctrgate.layers.noisy_top_k import NoisyTopK
from tests.layers.expert_gates import BATCHES, gradients, linear, loud, values
from tests.layers.test_routing import best, variation

# NoisyTopK


@BATCHES
@pytest.mark.parametrize("num_chosen", [1, 2, 3])
def test_a_noisy_gate_is_its_formula_with_the_noise_redrawn(batch_size: int, num_chosen: int) -> None:
    gate = NoisyTopK(3, 4, num_chosen=num_chosen, importance=0.3, load=0.7)
    loud(gate)
    context = torch.randn(batch_size, 3)
    torch.manual_seed(1)
    weights, terms = gate(context)
    torch.manual_seed(1)
    noise = torch.randn(batch_size, 4).tolist()

    chosen, chances = [], []
    for row, drawn in zip(context.tolist(), noise, strict=True):
        clean = linear(gate.scores, row)
        spread = [math.log1p(math.exp(value)) for value in linear(gate.noise, row)]
        noisy = [c + e * s for c, e, s in zip(clean, drawn, spread, strict=True)]
        chosen.append(best(noisy, num_chosen))
        chances.append([])
        for i in range(4):
            others = sorted((noisy[j] for j in range(4) if j != i), reverse=True)
            z = (clean[i] - others[num_chosen - 1]) / spread[i]
            chances[-1].append((1 + math.erf(z / math.sqrt(2))) / 2)
    torch.testing.assert_close(weights, torch.tensor(chosen))
    importance = variation([sum(column) for column in zip(*chosen, strict=True)])
    load = variation([sum(column) for column in zip(*chances, strict=True)])
    assert values(terms) == pytest.approx({"importance": 0.3 * importance, "load": 0.7 * load}, rel=1e-4)


@BATCHES
@pytest.mark.parametrize("num_chosen", [1, 2, 4])
def test_a_noisy_gate_draws_no_noise_in_evaluation(batch_size: int, num_chosen: int) -> None:
    gate = NoisyTopK(3, 4, num_chosen=num_chosen).eval()
    loud(gate)
    context = torch.randn(batch_size, 3)
    expected = torch.tensor([best(linear(gate.scores, row), num_chosen) for row in context.tolist()])
    torch.testing.assert_close(gate(context)[0], expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("num_chosen", "left"), [(1, 1), (2, 2), (5, 5), (9, 5)])
def test_a_noisy_gate_leaves_exactly_k_experts(num_chosen: int, left: int, training: bool) -> None:
    gate = NoisyTopK(3, 5, num_chosen=num_chosen).train(training)
    loud(gate)
    weights = gate(torch.randn(50, 3))[0]
    assert (weights.count_nonzero(dim=1) == left).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50))


def test_a_new_noisy_gate_routes_by_chance_alone() -> None:
    gate = NoisyTopK(3, 4)
    assert not any(parameter.any() for parameter in gate.parameters())
    torch.manual_seed(0)
    share = (gate(torch.randn(4000, 3))[0] > 0).float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((4,), 0.5), rtol=0, atol=0.04)


@pytest.mark.parametrize(("num_experts", "num_chosen"), [(4, 4), (4, 7), (1, 1), (1, 2)])
def test_the_load_has_no_term_where_all_experts_are_chosen(num_experts: int, num_chosen: int) -> None:
    gate = NoisyTopK(3, num_experts, num_chosen=num_chosen)
    loud(gate)
    terms = gate(torch.randn(5, 3))[1]
    assert set(terms) == {"importance"}
    assert (values(terms)["importance"] == 0) is (num_experts == 1)


def test_both_matrices_of_a_new_noisy_gate_learn() -> None:
    torch.manual_seed(0)
    found = gradients(NoisyTopK(3, 4), torch.randn(20, 3))
    assert all(found[name].any() for name in ("scores.weight", "noise.weight"))


@pytest.mark.parametrize("logit", [-1e4, -200.0, -60.0, 1e4])
def test_noise_that_vanishes_leaves_finite_gradients(logit: float) -> None:
    gate = NoisyTopK(3, 4)
    loud(gate)
    nn.init.constant_(gate.noise.weight, logit / 3)
    for context in (torch.ones(5, 3), torch.zeros(5, 3)):
        assert all(value.isfinite() for value in gate(context)[1].values())
        assert all(gradient.isfinite().all() for gradient in gradients(gate, context).values())


# DenseToSparse


def naive_dense_to_sparse(gate: DenseToSparse, row: list[float], *, temperature: float, count: int) -> list[float]:
    first, last = gate.scores.blocks[0], gate.scores.blocks[-1]
    scores = linear(last, [max(0.0, value) for value in linear(first, row)])
    return best([score / temperature for score in scores], count)


@BATCHES
@pytest.mark.parametrize("training", [True, False])
def test_a_dense_to_sparse_gate_is_its_formula_at_every_step(batch_size: int, training: bool) -> None:
    gate = DenseToSparse(3, 5, num_chosen=2, hidden_dim=4, hottest=2.0, coldest=0.5, anneal_steps=4)
    loud(gate)
    context = torch.randn(batch_size, 3)
    # the temperature halves twice, in four equal steps of its logarithm
    for temperature, count in [(2.0, 5), (2**0.5, 5), (1.0, 5), (0.5**0.5, 5), (0.5, 2), (0.5, 2)]:
        expected = [naive_dense_to_sparse(gate, row, temperature=temperature, count=count) for row in context.tolist()]
        torch.testing.assert_close(gate.train(training)(context)[0], torch.tensor(expected))
        if not training:
            gate.train()(context)


def test_all_experts_take_part_until_the_temperature_has_fallen_and_exactly_k_afterwards() -> None:
    torch.manual_seed(0)
    gate = DenseToSparse(3, 5, num_chosen=2, anneal_steps=3)
    counts = [gate(torch.randn(7, 3))[0].count_nonzero(dim=1).unique().tolist() for _ in range(5)]
    assert counts == [[5], [5], [5], [2], [2]]


def test_the_temperature_falls_by_equal_factors_and_stays_at_its_coldest() -> None:
    gate, found = DenseToSparse(3, 5, hottest=2.0, coldest=0.3, anneal_steps=10), []
    for _ in range(13):
        found.append(float(gate.temperature()))
        gate(torch.randn(2, 3))
    assert found[0] == pytest.approx(2.0)
    assert found[10:] == pytest.approx([0.3] * 3)
    factors = [after / before for before, after in pairwise(found[:11])]
    assert factors == pytest.approx([0.15**0.1] * 10, rel=1e-5)


def test_only_training_counts_as_a_step() -> None:
    gate = DenseToSparse(3, 5, hottest=2.0, anneal_steps=4)
    for _ in range(9):
        gate.eval()(torch.randn(2, 3))
    assert float(gate.temperature()) == 2.0
    gate.train()(torch.randn(2, 3))
    assert float(gate.temperature()) < 2.0


def test_the_steps_of_a_dense_to_sparse_gate_survive_a_checkpoint() -> None:
    torch.manual_seed(0)
    gate, again = (DenseToSparse(3, 5, num_chosen=2, anneal_steps=4) for _ in range(2))
    context = torch.randn(7, 3)
    for _ in range(3):
        gate(context)
    again.load_state_dict(gate.state_dict())
    for count in (5, 2):
        weights = gate(context)[0]
        assert torch.equal(again(context)[0], weights)
        assert (weights.count_nonzero(dim=1) == count).all()


def test_a_dense_to_sparse_gate_may_choose_all() -> None:
    gate = DenseToSparse(3, 2, num_chosen=5, anneal_steps=1)
    assert [int(gate(torch.randn(1, 3))[0].count_nonzero()) for _ in range(3)] == [2, 2, 2]
