"""The arithmetic of gates that choose among experts, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from ctrgate.layers.routing import chance_of_choice, sinkhorn, smooth_step, squared_variation, top_k_softmax

GAMMAS = [0.01, 0.1, 0.3, 0.7, 1.0, 5.0, 10.0]

Rows = list[list[float]]


def softmax(scores: list[float]) -> list[float]:
    """With minus infinity for those that get nothing."""
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def best(scores: list[float], count: int) -> list[float]:
    """A softmax over the ``count`` highest scores alone."""
    lowest = sorted(scores, reverse=True)[count - 1]
    return softmax([score if score >= lowest else -math.inf for score in scores])


def variation(values: list[float]) -> float:
    """``variance / mean^2``."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2


def step(z: float, gamma: float) -> float:
    """The smooth step by its three pieces."""
    if z <= -gamma / 2:
        return 0.0
    if z >= gamma / 2:
        return 1.0
    return -2 * z**3 / gamma**3 + 3 * z / (2 * gamma) + 0.5


def naive_sinkhorn(scores: Rows, *, iterations: int) -> Rows:
    size = range(len(scores))
    matrix = [[math.exp(score - max(row)) for score in row] for row in scores]
    for _ in range(iterations):
        matrix = [[value / sum(row) for value in row] for row in matrix]
        sums = [sum(matrix[i][j] for i in size) for j in size]
        matrix = [[matrix[i][j] / sums[j] for j in size] for i in size]
    return matrix


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_smooth_step_is_its_three_pieces(gamma: float) -> None:
    z = torch.linspace(-gamma, gamma, 101)
    expected = torch.tensor([step(value, gamma) for value in z.tolist()])
    torch.testing.assert_close(smooth_step(z, gamma=gamma), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_smooth_step_is_exactly_zero_and_one_from_half_its_width_on(gamma: float) -> None:
    below, above = torch.tensor([-gamma / 2, -gamma, -1e6]), torch.tensor([gamma / 2, gamma, 1e6])
    assert smooth_step(below, gamma=gamma).tolist() == [0.0, 0.0, 0.0]
    assert smooth_step(above, gamma=gamma).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_smooth_step_is_flat_at_its_ends_and_steepest_in_the_middle(gamma: float) -> None:
    z = torch.tensor([-gamma, -gamma / 2, 0.0, gamma / 2, gamma], requires_grad=True)
    smooth_step(z, gamma=gamma).sum().backward()
    torch.testing.assert_close(z.grad * gamma, torch.tensor([0.0, 0.0, 1.5, 0.0, 0.0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_smooth_step_has_no_jump_and_never_falls(gamma: float) -> None:
    steps = smooth_step(torch.linspace(-gamma, gamma, 2001, dtype=torch.float64), gamma=gamma).diff()
    assert float(steps.min()) > -1e-9
    assert float(steps.max()) < 1.5 / gamma * (2 * gamma / 2000) * 1.001  # steepest slope times the grid's width


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_a_softmax_over_the_best_is_its_formula(count: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(6, 4)
    expected = torch.tensor([best(row, min(count, 4)) for row in scores.tolist()])
    torch.testing.assert_close(top_k_softmax(scores, count), expected)


@pytest.mark.parametrize("num_experts", [3, 5, 16, 100])
def test_of_equal_scores_the_first_stay(num_experts: int) -> None:
    weights = top_k_softmax(torch.zeros(2, num_experts), 2)
    assert weights.tolist() == [[0.5, 0.5] + [0.0] * (num_experts - 2)] * 2


@pytest.mark.parametrize("loads", [[1.0, 2.0, 6.0], [0.0, 0.0, 3.0], [0.5, 0.25]])
def test_the_squared_variation_is_its_formula(loads: list[float]) -> None:
    assert float(squared_variation(torch.tensor(loads))) == pytest.approx(variation(loads))


@pytest.mark.parametrize("loads", [[3.0, 3.0, 3.0], [7.0], [0.0, 0.0]])
def test_equal_loads_and_the_load_of_one_expert_do_not_vary(loads: list[float]) -> None:
    assert float(squared_variation(torch.tensor(loads))) == 0


@pytest.mark.parametrize("num_chosen", [1, 2, 3])
def test_the_chance_of_choice_is_the_share_of_redraws_that_choose(num_chosen: int) -> None:
    torch.manual_seed(0)
    clean, spread, draws = torch.randn(3, 4), torch.rand(3, 4) + 0.2, 100_000
    noisy = clean + torch.randn(3, 4) * spread
    chance = chance_of_choice(clean, noisy, spread, num_chosen=num_chosen)
    for row in range(3):
        for expert in range(4):
            again = noisy[row].repeat(draws, 1)
            again[:, expert] = clean[row, expert] + torch.randn(draws) * spread[row, expert]
            better = (again > again[:, expert : expert + 1]).sum(dim=1)
            share = float((better < num_chosen).float().mean())
            assert float(chance[row, expert]) == pytest.approx(share, abs=0.008)  # five standard errors


def test_sinkhorn_divides_rows_and_columns_by_their_sums_in_turn() -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, 4) * 3
    for iterations in (1, 3):
        expected = naive_sinkhorn(scores.tolist(), iterations=iterations)
        torch.testing.assert_close(sinkhorn(scores, iterations=iterations), torch.tensor(expected))


def test_sinkhorn_ends_in_a_doubly_stochastic_matrix() -> None:
    torch.manual_seed(0)
    matrix = sinkhorn(torch.randn(5, 5), iterations=50)
    assert (matrix > 0).all()
    torch.testing.assert_close(matrix.sum(dim=0), torch.ones(5))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(5))
