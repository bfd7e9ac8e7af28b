"""Losses over items against what torch, a naive form or a hand says."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ctrgate.training import item_losses
from ctrgate.training.item_losses import gbce_loss, sampled_softmax_loss, softmax_loss


def tensors(num_queries: int, *, num_rows: int = 11, dim: int = 4) -> tuple[torch.Tensor, ...]:
    """Queries, rows, targets and weights, some of them zero."""
    torch.manual_seed(0)
    weights = torch.rand(num_queries).masked_fill(torch.arange(num_queries) % 5 == 2, 0.0)
    targets = torch.randint(num_rows, (num_queries,))
    return torch.randn(num_queries, dim).requires_grad_(), torch.randn(num_rows, dim).requires_grad_(), targets, weights


@pytest.mark.parametrize("cells", [1, 22, 35, 1 << 19])
def test_softmax_is_torchs_cross_entropy_with_its_gradients_in_pieces_or_whole(
    monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(item_losses, "_CELLS_AT_ONCE", cells)  # 1, 2 and 3 queries at a time, then all
    queries, rows, targets, weights = tensors(8)
    found = softmax_loss(queries, rows, targets, weights)
    by_query, by_row = torch.autograd.grad(found * 3, (queries, rows))
    exact = [part.detach().double().requires_grad_() for part in (queries, rows)]
    losses = functional.cross_entropy(exact[0] @ exact[1].T, targets, reduction="none")
    expected = (losses * weights.double()).sum() / weights.double().sum()
    expected_by_query, expected_by_row = torch.autograd.grad(expected * 3, exact)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(by_query.double(), expected_by_query, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(by_row.double(), expected_by_row, rtol=1e-5, atol=1e-7)


def test_softmax_with_equal_weights_is_the_mean_whatever_they_are() -> None:
    queries, rows, targets, _ = tensors(8)
    expected = functional.cross_entropy(queries @ rows.T, targets)
    torch.testing.assert_close(softmax_loss(queries, rows, targets, torch.full((8,), 7.0)), expected)


def test_softmax_survives_scores_that_overflow_an_exponential() -> None:
    queries, rows, targets, weights = tensors(8)
    found = softmax_loss(queries * 300, rows, targets, weights)
    by_query, by_row = torch.autograd.grad(found, (queries, rows))
    assert all(part.isfinite().all() for part in (found, by_query, by_row))


def test_softmax_of_no_query_is_zero_with_zero_gradients() -> None:
    queries, rows, targets, weights = tensors(0)
    found = softmax_loss(queries, rows, targets, weights)
    by_query, by_row = torch.autograd.grad(found, (queries, rows))
    assert found.item() == 0
    assert by_query.shape == (0, 4)
    assert torch.equal(by_row, torch.zeros(11, 4))


def test_softmax_takes_queries_of_autocast() -> None:
    queries, rows, targets, weights = tensors(8)
    found = softmax_loss(queries.bfloat16(), rows, targets, weights)
    torch.testing.assert_close(found, softmax_loss(queries.bfloat16().float(), rows, targets, weights))
    assert torch.autograd.grad(found, queries)[0].dtype == torch.float32


def test_sampled_softmax_is_its_formula() -> None:
    positives, negatives = [0.3, -1.0], [[0.5, 2.0, -0.4], [1.5, 0.0, -math.inf]]
    log_q, weights = [[-0.2, 0.1, -3.0], [0.7, -1.1, 0.4]], [1.0, 3.0]
    total = 0.0
    for positive, row, correction, weight in zip(positives, negatives, log_q, weights, strict=True):
        others = sum(math.exp(score - log) for score, log in zip(row, correction, strict=True))
        total -= weight * math.log(math.exp(positive) / (math.exp(positive) + others))
    found = sampled_softmax_loss(
        torch.tensor(positives),
        torch.tensor(negatives),
        negative_log_q=torch.tensor(log_q),
        weights=torch.tensor(weights),
    )
    assert float(found) == pytest.approx(total / 4, rel=1e-6)


@pytest.mark.parametrize("popularity", [0.0, 1.0])
def test_the_corrected_sample_nears_the_full_softmax_and_the_uncorrected_one_does_not(popularity: float) -> None:
    """For a likely, a middling and an unlikely target; samples larger than the catalogue, so that hits are common."""
    torch.manual_seed(0)
    scores = torch.linspace(-2, 2, 12)
    share = torch.linspace(1, 20, 12)[torch.randperm(12)] ** popularity
    share = share / share.sum()

    def gradient(target: int, *, size: int, corrected: bool) -> torch.Tensor:
        """The mean over many samples of the gradient by the scores."""
        drawn = torch.multinomial(share, 2000 * size, replacement=True).view(2000, size)
        leaf = scores.expand(2000, 12).clone().requires_grad_()
        log_q = (share * size).log()[drawn] if corrected else torch.zeros(2000, size)
        loss = sampled_softmax_loss(
            leaf[:, target],
            leaf.gather(1, drawn).masked_fill(drawn == target, -torch.inf),
            negative_log_q=log_q,
            weights=torch.ones(2000),
        )
        return torch.autograd.grad(loss, leaf)[0].sum(0)

    for target in (1, 6, 11):
        full = torch.softmax(scores, 0) - functional.one_hot(torch.tensor(target), 12)
        few, many = (float((gradient(target, size=size, corrected=True) - full).abs().max()) for size in (4, 200))
        assert many < 0.01
        assert many < few / 2
    assert float((gradient(11, size=200, corrected=False) - full).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("calibration", "beta"),
    [(0.0, 1.0), (1.0, 0.25), (0.75, 0.4375)],  # .25 (.75 (1 - 4) + 4) = .4375
)
def test_gbce_is_its_formula_by_hand(calibration: float, beta: float) -> None:
    """Scores of sigmoid 1/2, 3/4 and 1/3: -(beta ln .75 + ln .5 + ln 2/3) / 3."""
    positive, negatives = math.log(3), [0.0, -math.log(2)]
    found = gbce_loss(
        torch.tensor([positive]),
        torch.tensor([negatives]),
        rate=0.25,
        calibration=calibration,
        weights=torch.tensor([5.0]),
    )
    assert float(found) == pytest.approx(-(beta * math.log(0.75) + math.log(0.5) + math.log(2 / 3)) / 3, rel=1e-6)


def test_gbce_without_calibration_is_plain_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    positives, negatives, weights = torch.randn(6), torch.randn(6, 3), torch.rand(6)
    found = gbce_loss(positives, negatives, rate=0.01, calibration=0.0, weights=weights)
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(6, 4)
    logits = torch.cat([positives.unsqueeze(1), negatives], dim=1)
    expected = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    torch.testing.assert_close(found, (expected * weights).sum() / weights.sum())


@pytest.mark.parametrize("name", ["sampled_softmax", "gbce"])
def test_an_accidental_hit_takes_no_part_and_gradients_stay_finite(name: str) -> None:
    torch.manual_seed(0)
    queries, rows = torch.randn(4, 3).requires_grad_(), torch.randn(5, 3).requires_grad_()
    hit = torch.zeros(4, 5, dtype=torch.bool)
    hit[0] = True  # nothing but hits
    hit[1, 2] = True
    positives = queries.sum(dim=1)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        negatives = (queries @ rows.T).masked_fill(hit, -torch.inf)
        if name == "gbce":
            return gbce_loss(positives, negatives, rate=0.1, calibration=0.5, weights=torch.ones(4))
        return sampled_softmax_loss(positives, negatives, negative_log_q=torch.zeros(4, 5), weights=torch.ones(4))

    by_query, by_row = torch.autograd.grad(loss(rows), (queries, rows))
    assert by_query.isfinite().all()
    assert by_row.isfinite().all()
    moved = rows.detach().clone()
    alone = torch.autograd.grad(loss(moved), queries)[0]
    moved[2] = 9.0  # what query 1 has hit; and query 0 sees none of them
    other = torch.autograd.grad(loss(moved), queries)[0]
    assert torch.equal(alone[:2], other[:2])
    assert not torch.equal(alone[2:], other[2:])


@pytest.mark.parametrize("name", ["sampled_softmax", "gbce"])
def test_without_any_weight_a_sampled_loss_is_zero(name: str) -> None:
    positives, negatives, weights = torch.ones(2), torch.ones(2, 3), torch.zeros(2)
    if name == "gbce":
        found = gbce_loss(positives, negatives, rate=0.1, calibration=0.5, weights=weights)
    else:
        found = sampled_softmax_loss(positives, negatives, negative_log_q=torch.zeros(2, 3), weights=weights)
    assert found.item() == 0
