"""Gates that choose among experts: formulas, starts, sparsity, terms, and what changes with the steps of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise, permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.experts import Comet, DenseToSparse, DSelectK, ExpertGate, NoisyTopK, SoftmaxGate
from tests.layers.test_routing import GAMMAS, Rows, best, naive_sinkhorn, softmax, step, variation

GATES: list[Callable[..., ExpertGate]] = [SoftmaxGate, NoisyTopK, DenseToSparse, DSelectK, Comet]
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


# DSelectK


def naive_selectors(gate: DSelectK, row: list[float], *, num_experts: int, gamma: float) -> Rows:
    """What each selector gives each expert, bit by bit."""
    num_bits = max(1, (num_experts - 1).bit_length())
    z, selectors = linear(gate.bits, row), []
    for selector in range(gate.num_chosen):
        steps = [step(z[selector * num_bits + j], gamma) for j in range(num_bits)]
        selectors.append([])
        for expert in range(num_experts):
            bits = reversed(format(expert, f"0{num_bits}b"))  # the lowest bit first
            selectors[-1].append(math.prod(s if bit == "1" else 1 - s for s, bit in zip(steps, bits, strict=True)))
    return selectors


@BATCHES
@pytest.mark.parametrize(("num_experts", "num_chosen"), [(2, 1), (4, 2), (5, 2), (6, 3), (8, 3)])
def test_selectors_are_their_formula(batch_size: int, num_experts: int, num_chosen: int) -> None:
    gate = DSelectK(3, num_experts, num_chosen=num_chosen, gamma=5.0, entropy=0.3)
    loud(gate)
    context = torch.randn(batch_size, 3)
    expected, entropies, inverses = [], [], []
    for row in context.tolist():
        selectors = naive_selectors(gate, row, num_experts=num_experts, gamma=5.0)
        mix = softmax(linear(gate.mix, row))
        expected.append([sum(m * s[i] for m, s in zip(mix, selectors, strict=True)) for i in range(num_experts)])
        entropies += [entropy(selector) for selector in selectors]
        inverses += [1 / max(sum(selector), 1e-3) for selector in selectors]
    terms = {"entropy": 0.3 * sum(entropies) / len(entropies)}
    if num_experts in (5, 6):
        terms["unused_codes"] = 0.3 * sum(inverses) / len(inverses)
    weights, found = gate(context)
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert values(found) == pytest.approx(terms, rel=1e-4)


@pytest.mark.parametrize(("num_experts", "penalised"), [(1, False), (2, False), (3, True), (4, False), (7, True)])
def test_only_codes_without_an_expert_are_penalised(num_experts: int, penalised: bool) -> None:
    assert ("unused_codes" in DSelectK(3, num_experts)(torch.randn(5, 3))[1]) is penalised


@pytest.mark.parametrize("gamma", GAMMAS)
def test_settled_selectors_leave_the_experts_of_their_codes_with_the_mix(gamma: float) -> None:
    gate = DSelectK(3, 8, num_chosen=3, gamma=gamma)
    nn.init.zeros_(gate.bits.weight)
    half = gamma / 2
    gate.bits.bias.data = torch.tensor([-half, half, half, half, -half, -half, -half, half, half])  # 6, 1 and again 6
    context = torch.randn(7, 3)
    weights, mix = gate(context)[0], gate.mix(context).softmax(dim=1)
    assert (weights.count_nonzero(dim=1) == 2).all()
    torch.testing.assert_close(weights[:, [1, 6]], torch.stack([mix[:, 1], mix[:, 0] + mix[:, 2]], dim=1))


@pytest.mark.parametrize(("num_experts", "gamma"), [(4, 0.01), (4, 0.3), (4, 1.0), (6, 0.7), (6, 10.0)])
def test_at_most_k_experts_are_left_beyond_the_smooth_step(num_experts: int, gamma: float) -> None:
    torch.manual_seed(0)
    gate = DSelectK(3, num_experts, num_chosen=2, gamma=gamma)
    saturate(gate.bits)
    weights = gate(torch.randn(200, 3))[0]
    counts = weights.count_nonzero(dim=1)
    assert (counts <= 2).all()
    assert (counts == 2).any()
    assert (weights >= 0).all()


@pytest.mark.parametrize("num_experts", [2, 4, 8])
def test_the_weights_of_selectors_sum_to_one_where_every_code_has_an_expert(num_experts: int) -> None:
    gate = DSelectK(3, num_experts, gamma=5.0)
    loud(gate)
    torch.testing.assert_close(gate(torch.randn(50, 3))[0].sum(dim=1), torch.ones(50))


@pytest.mark.parametrize("build", [DSelectK, Comet])
@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_decisions_start_well_inside_the_smooth_step(build: type[DSelectK | Comet], gamma: float) -> None:
    torch.manual_seed(0)
    gate = build(200, 64, num_chosen=40, gamma=gamma)
    layer = gate.bits if isinstance(gate, DSelectK) else gate.nodes
    for parameter, width in [(layer.weight.detach(), 0.05), (layer.bias.detach(), gamma / 100)]:
        assert float(parameter.abs().max()) <= width
        assert float(parameter.std()) == pytest.approx(width / math.sqrt(3), rel=0.1)  # uniform


def test_one_selector_or_one_expert_leaves_a_mix_that_nothing_reaches() -> None:
    torch.manual_seed(0)
    for gate in (DSelectK(3, 4, num_chosen=1), DSelectK(3, 1)):
        found = gradients(gate, torch.randn(7, 3))
        assert set(gate.untrained()) == {"mix.weight", "mix.bias"}
        assert all(float(found[name].abs().max()) < 1e-6 for name in gate.untrained())
    assert DSelectK(3, 4).untrained() == {}


# Comet


def naive_reached(gate: Comet, row: list[float], *, gamma: float) -> Rows:
    """The chance of each leaf of each tree: a walk down a heap whose first K - 1 nodes decide, then come leaves."""
    num_nodes, z = gate.num_experts - 1, linear(gate.nodes, row)

    def walk(node: int, chance: float) -> dict[int, float]:
        if node >= num_nodes:
            return {node - num_nodes: chance}
        right = step(decisions[node], gamma)
        return walk(2 * node + 1, chance * (1 - right)) | walk(2 * node + 2, chance * right)

    trees = []
    for tree in range(gate.num_chosen):
        decisions = z[tree * num_nodes : (tree + 1) * num_nodes]
        leaves = walk(0, 1.0)
        trees.append([leaves[expert] for expert in range(gate.num_experts)])
    return trees


def naive_comet(scores: Rows, reached: Rows, *, num_experts: int) -> list[float]:
    """A softmax over all leaves of all trees, those of one number summed."""
    joint = [
        score + math.log(q) if q > 0 else -math.inf
        for line, chances in zip(scores, reached, strict=True)
        for score, q in zip(line, chances, strict=True)
    ]
    leaves = softmax(joint)
    return [sum(leaves[i::num_experts]) for i in range(num_experts)]


@BATCHES
@pytest.mark.parametrize(
    ("num_experts", "num_chosen", "gamma"),
    [(2, 1, 1.0), (4, 2, 10.0), (8, 2, 1.0), (8, 3, 10.0), (3, 1, 10.0), (5, 2, 1.0), (6, 2, 10.0), (9, 3, 10.0)],
)
def test_trees_are_their_formula(batch_size: int, num_experts: int, num_chosen: int, gamma: float) -> None:
    gate = Comet(3, num_experts, num_chosen=num_chosen, gamma=gamma, entropy=0.3)
    loud(gate)
    context = torch.randn(batch_size, 3)
    expected, entropies = [], []
    for row in context.tolist():
        reached = naive_reached(gate, row, gamma=gamma)
        flat = linear(gate.leaves, row)
        scores = [flat[tree * num_experts : (tree + 1) * num_experts] for tree in range(num_chosen)]
        expected.append(naive_comet(scores, reached, num_experts=num_experts))
        entropies += [entropy(chances) for chances in reached]
    weights, terms = gate(context)
    torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert values(terms) == pytest.approx({"entropy": 0.3 * sum(entropies) / len(entropies)}, rel=1e-4, abs=1e-7)


def test_the_leaves_of_a_tree_of_five_experts_lie_at_the_ends_of_its_turns() -> None:
    gate = Comet(3, 5, num_chosen=1)
    nn.init.zeros_(gate.nodes.weight)
    # nodes 0; 1, 2; 3 in heap order: the left child of 1 is the one more node, so that its two leaves come last
    for turns, expert in [("RL", 1), ("RR", 2), ("LR", 0), ("LLL", 3), ("LLR", 4)]:
        node = 0
        for turn in turns:
            gate.nodes.bias.data[node] = 0.5 if turn == "R" else -0.5
            node = 2 * node + (2 if turn == "R" else 1)
        assert gate(torch.randn(2, 3))[0].tolist() == [[float(other == expert) for other in range(5)]] * 2


@pytest.mark.parametrize("num_experts", [2, 3, 5, 8])
def test_settled_trees_reach_every_expert_and_one_at_a_time(num_experts: int) -> None:
    gate, reached = Comet(3, num_experts, num_chosen=1), set()
    nn.init.zeros_(gate.nodes.weight)
    for turns in product((-0.5, 0.5), repeat=num_experts - 1):
        gate.nodes.bias.data = torch.tensor(turns)
        (weights,) = gate(torch.randn(1, 3))[0].tolist()
        assert sorted(weights) == [0.0] * (num_experts - 1) + [1.0]
        reached.add(weights.index(1.0))
    assert reached == set(range(num_experts))


@pytest.mark.parametrize(
    ("num_experts", "num_chosen", "gamma"),
    [(8, 1, 0.3), (8, 2, 0.7), (8, 2, 5.0), (4, 3, 10.0), (5, 1, 1.0), (5, 2, 1.0), (6, 2, 0.01)],
)
def test_at_most_k_experts_are_left_once_the_trees_have_settled(
    num_experts: int, num_chosen: int, gamma: float
) -> None:
    torch.manual_seed(0)
    gate = Comet(3, num_experts, num_chosen=num_chosen, gamma=gamma)
    saturate(gate.nodes)
    weights = gate(torch.randn(200, 3))[0]
    counts = weights.count_nonzero(dim=1)
    assert (counts <= num_chosen).all()
    assert (counts == num_chosen).any()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(200))


@pytest.mark.parametrize("num_experts", [4, 5, 8])
@pytest.mark.parametrize("build", [DSelectK, Comet])
def test_settled_decisions_leave_finite_gradients(build: type[DSelectK | Comet], num_experts: int) -> None:
    torch.manual_seed(0)
    gate = build(3, num_experts)
    context = torch.randn(200, 3)
    saturate(gate.bits if isinstance(gate, DSelectK) else gate.nodes)
    assert all(gradient.isfinite().all() for gradient in gradients(gate, context).values())


@pytest.mark.parametrize("num_experts", [2, 4, 5, 8])
def test_every_parameter_of_the_trees_and_of_their_order_learns(num_experts: int) -> None:
    torch.manual_seed(0)
    gate = Comet(3, num_experts, permutation_steps=5)
    found = gradients(gate, torch.randn(50, 3))
    assert set(found) == {"nodes.weight", "nodes.bias", "leaves.weight", "leaves.bias", "placement"}
    assert all(gradient.any() and gradient.isfinite().all() for gradient in found.values())


def test_the_leaves_start_xavier_normal_and_their_order_with_small_numbers() -> None:
    torch.manual_seed(0)
    gate = Comet(200, 100, num_chosen=4, permutation_steps=1)
    assert float(gate.leaves.weight.detach().std()) == pytest.approx((2 / 600) ** 0.5, rel=0.02)
    assert not gate.leaves.bias.any()
    assert float(gate.placement.detach().std()) == pytest.approx(1e-3, rel=0.03)


def test_without_a_search_experts_stay_at_their_leaves() -> None:
    gate = Comet(3, 4)
    assert gate.placement is None
    for _ in range(3):
        assert "permutation" not in gate(torch.randn(2, 3))[1]
    assert torch.equal(gate.permutation, torch.eye(4))


def test_the_search_cools_from_1e_3_to_1e_7_in_equal_factors_while_its_iterations_grow_from_20_to_150() -> None:
    gate = Comet(3, 2, permutation_steps=11)
    # without support for one of its entries, Sinkhorn nears its end so slowly that every iteration shows
    scores = torch.tensor([[0.0, 0.0], [-60.0, 0.0]])
    for number in range(11):
        gate.placement.data = scores * 10 ** -(3 + 0.4 * number)
        gate(torch.randn(2, 3))
        expected = torch.tensor(naive_sinkhorn(scores.tolist(), iterations=20 + 13 * number))
        torch.testing.assert_close(gate.permutation, expected, rtol=1e-3, atol=1e-6)


def search(gate: Comet, *, num_steps: int, seed: int = 1) -> list[Any]:
    """Some steps of training on rows of their own; what each found."""
    optimizer, found = torch.optim.SGD(gate.parameters(), lr=1e-6), []
    random = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        context, pull = torch.randn(7, 3, generator=random), torch.randn(7, gate.num_experts, generator=random)
        weights, terms = gate(context)
        optimizer.zero_grad()
        ((weights * pull).sum() + sum(terms.values())).backward()
        optimizer.step()
        found.append((weights.detach(), values(terms), gate.permutation.clone()))
    return found


def test_experts_stand_at_the_leaves_as_the_matrix_says_and_the_matrix_has_a_term() -> None:
    torch.manual_seed(0)
    gate, plain = Comet(3, 4, permutation_steps=3, permutation_entropy=0.2), Comet(3, 4)
    plain.load_state_dict(gate.state_dict(), strict=False)
    context = torch.randn(7, 3)
    weights, terms = gate(context)
    matrix = naive_sinkhorn((gate.placement.double() / 1e-3).tolist(), iterations=20)
    expected = [
        [sum(row[leaf] * matrix[leaf][expert] for leaf in range(4)) for expert in range(4)]
        for row in plain(context)[0].tolist()
    ]
    torch.testing.assert_close(weights, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    lines = [*matrix, *zip(*matrix, strict=True)]
    assert values(terms)["permutation"] == pytest.approx(0.2 * sum(entropy(line) for line in lines) / 4, rel=1e-3)


@pytest.mark.parametrize("num_experts", [4, 5])
def test_the_matrix_is_doubly_stochastic_during_the_search(num_experts: int) -> None:
    torch.manual_seed(0)
    gate = Comet(3, num_experts, permutation_steps=5)
    matrices = [matrix for _, _, matrix in search(gate, num_steps=5)]
    assert all((matrix >= 0).all() for matrix in matrices)
    for matrix in matrices:
        torch.testing.assert_close(matrix.sum(dim=0), torch.ones(num_experts))
    torch.testing.assert_close(matrices[0].sum(dim=1), torch.ones(num_experts), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("num_experts", "seed"), [(2, 0), (4, 2), (5, 0), (16, 0)])
def test_the_weights_of_trees_sum_to_one_during_the_search_and_after_it(num_experts: int, seed: int) -> None:
    torch.manual_seed(seed)
    gate = Comet(3, num_experts, permutation_steps=5)
    for weights, terms, _ in search(gate, num_steps=7):
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(7))
        assert all(math.isfinite(value) for value in terms.values())
        evaluated = gate.eval()(torch.randn(7, 3))[0]
        torch.testing.assert_close(evaluated.sum(dim=1), torch.ones(7))
        gate.train()


@pytest.mark.parametrize(("num_experts", "seed"), [(2, 0), (4, 1), (4, 2), (5, 0)])
def test_after_the_search_the_nearest_permutation_stays(num_experts: int, seed: int) -> None:
    torch.manual_seed(seed)
    gate = Comet(3, num_experts, permutation_steps=3)
    *_, (_, _, soft) = search(gate, num_steps=3)
    (_, terms, frozen), *later = search(gate, num_steps=4)
    assert sorted(frozen.flatten().tolist()) == [0.0] * (num_experts**2 - num_experts) + [1.0] * num_experts
    assert (frozen.sum(dim=0) == 1).all()
    assert (frozen.sum(dim=1) == 1).all()
    gains = [
        sum(float(soft[leaf, expert]) for leaf, expert in enumerate(order))
        for order in permutations(range(num_experts))
    ]
    assert float((frozen * soft).sum()) == pytest.approx(max(gains))
    assert "permutation" not in terms
    assert all(torch.equal(matrix, frozen) for _, _, matrix in later)


def test_what_no_longer_searches_leaves_the_matrix_without_a_gradient() -> None:
    torch.manual_seed(0)
    gate = Comet(3, 4, permutation_steps=2)
    context = torch.randn(7, 3)
    assert ["placement" in gradients(gate, context) for _ in range(4)] == [True, True, False, False]


def test_evaluation_places_experts_by_the_stored_permutation() -> None:
    torch.manual_seed(0)
    gate, plain = Comet(3, 4, permutation_steps=3), Comet(3, 4)
    order = torch.tensor([2, 0, 3, 1])
    gate.permutation.copy_(torch.eye(4)[order])  # leaf l leads to expert order[l]
    plain.load_state_dict({**gate.state_dict(), "permutation": torch.eye(4)}, strict=False)
    context = torch.randn(7, 3)
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    torch.testing.assert_close(gate.eval()(context)[0][:, order], plain.eval()(context)[0])
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())


@pytest.mark.parametrize("done", [2, 4, 6])
def test_a_search_goes_on_from_a_checkpoint_as_if_never_stopped(done: int) -> None:
    torch.manual_seed(0)
    gate, again = (Comet(3, 5, permutation_steps=4) for _ in range(2))
    search(gate, num_steps=done)
    again.load_state_dict(gate.state_dict())
    for one, other in zip(search(gate, num_steps=5, seed=2), search(again, num_steps=5, seed=2), strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]
        assert torch.equal(one[2], other[2])
