"""COMET's trees, and the search for the order of their leaves."""

from __future__ import annotations

import math
from itertools import permutations, product
from typing import Any

import pytest
import torch
from torch import nn

from ctrgate.layers.comet import Comet
from ctrgate.layers.d_select_k import DSelectK
from tests.layers.expert_gates import BATCHES, entropy, gradients, linear, loud, saturate, values
from tests.layers.test_routing import Rows, naive_sinkhorn, softmax, step

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
