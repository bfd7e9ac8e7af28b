"""The gate of behaviours vote by vote, masking, and the contrastive loss worked by hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from ctrgate.layers.behaviour_gate import BehaviourGate, contrast, drop_events

Normalisation = Literal["none", "softmax", "sigmoid"]
LENGTHS = [6, 1, 0, 4]
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
FORMS: list[Normalisation] = ["none", "softmax", "sigmoid"]


def naive(gate: BehaviourGate, query: Tensor, keys: Tensor, *, scaled: bool, form: Normalisation) -> list[float]:
    """One row: each of its real events votes; then the factors."""
    votes = []
    for key in keys:
        pair = torch.cat([key, query, key * query])[None]
        weight = float(gate.activation_unit(pair))
        votes.append([weight * float(value) for value in gate.gate_unit(pair)[0]])
    sums = [sum(column) for column in zip(*votes, strict=True)] if votes else gate.empty.tolist()
    if scaled and votes:
        sums = [value / math.sqrt(len(votes)) for value in sums]
    if form == "softmax":
        return [math.exp(value) / sum(map(math.exp, sums)) for value in sums]
    return [1 / (1 + math.exp(-value)) for value in sums] if form == "sigmoid" else sums


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scaled", [False, True])
@torch.no_grad()
def test_a_behaviour_gate_is_its_formula(form: Normalisation, scaled: bool) -> None:
    torch.manual_seed(0)
    gate = BehaviourGate(3, 4, hidden_dims=(5,), activation_hidden_dims=(7, 2), normalisation=form, scaled=scaled)
    torch.nn.init.normal_(gate.empty)
    for unit in (gate.gate_unit, gate.activation_unit):
        torch.nn.init.normal_(unit.blocks[-1].bias)  # so that padding would be seen if it counted
    query, keys = torch.randn(4, 3), torch.randn(4, 6, 3)
    factors, terms = gate(query, keys, MASK)
    assert terms == {}
    for row, length in enumerate(LENGTHS):
        expected = naive(gate, query[row], keys[row, :length], scaled=scaled, form=form)
        torch.testing.assert_close(factors[row], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_an_empty_history_takes_the_learned_numbers_and_it_alone_trains_them() -> None:
    gate = BehaviourGate(3, 4)
    query, keys = torch.randn(4, 3), torch.randn(4, 6, 3)
    factors, _ = gate(query, keys, MASK)
    torch.testing.assert_close(factors[2], torch.full((4,), 0.25))
    factors[[0, 1, 3]].sum().backward()
    assert not gate.empty.grad.any()
    gate(query, keys, MASK)[0][2].sum().backward()
    torch.testing.assert_close(gate.empty.grad, torch.ones(4))


@torch.no_grad()
def test_votes_of_nothing_weigh_all_experts_alike() -> None:
    gate = BehaviourGate(3, 4, normalisation="softmax")
    for weight in (*gate.activation_unit.parameters(), gate.empty):
        weight.zero_()
    factors, _ = gate(torch.randn(4, 3), torch.randn(4, 6, 3), MASK)
    torch.testing.assert_close(factors, torch.full((4, 4), 0.25))


@torch.no_grad()
def test_only_shares_are_said_to_be_shares() -> None:
    for form in FORMS:
        gate = BehaviourGate(3, 4, normalisation=form)
        factors, _ = gate(torch.randn(4, 3), torch.randn(4, 6, 3), MASK)
        assert gate.shares == bool(torch.isclose(factors.sum(dim=1), torch.ones(4)).all())


@torch.no_grad()
def test_an_event_votes_the_same_whichever_others_are_there() -> None:
    torch.manual_seed(0)
    gate = BehaviourGate(3, 4)
    query, keys = torch.randn(4, 3), torch.randn(4, 6, 3)
    kept = torch.tensor([True, False, True, True, False, False]).expand(4, 6) & MASK
    found = gate.gather(gate.votes(query, keys), kept)
    shorter = keys[:, [0, 2, 3]]  # the same events, without those that are left out
    expected, _ = gate(query, shorter, kept[:, [0, 2, 3]])
    torch.testing.assert_close(found, expected)


def test_masking_loses_its_share_and_keeps_one_event_of_each_row() -> None:
    torch.manual_seed(0)
    mask = torch.arange(8) < torch.arange(9).repeat(2000)[:, None]
    lengths = mask.sum(dim=1)
    for share in (0.0, 0.2, 0.9):
        kept = drop_events(mask, share=share)
        assert not (kept & ~mask).any()
        left = kept.sum(dim=1)
        assert torch.equal(left == 0, lengths == 0)
        for length in range(1, 9):
            # Of n events each stays with 1 - p, and where all would go, one stays.
            expected = length * (1 - share) + share**length
            assert float(left[lengths == length].float().mean()) == pytest.approx(expected, abs=0.1)
    assert torch.equal(drop_events(mask, share=0.0), mask)


def test_masking_is_what_the_seed_says() -> None:
    mask = torch.ones(50, 6, dtype=torch.bool)
    one, other = (torch.manual_seed(seed) and drop_events(mask, share=0.5) for seed in (3, 3))
    assert torch.equal(one, other)
    torch.manual_seed(4)
    assert not torch.equal(drop_events(mask, share=0.5), one)


FACTORS = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.5, 0.0]])
MASKED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -7.0]])
EVERYONE = torch.tensor([True, True, True])


def test_the_contrast_is_that_of_a_calculation_by_hand() -> None:
    users = torch.tensor([7, 7, 9])
    # Cosines to its masked self: 1, 1, 0. To rows of other users: row 0 to row 2: 1; row 1 to row 2: 0; row 2 to both.
    of_first = -math.log(math.e / (math.e + math.e))
    of_second = -math.log(math.e / (math.e + 1))
    of_third = -math.log(1 / (1 + math.e + 1))
    found = contrast(FACTORS, MASKED, present=EVERYONE, groups=users, temperature=1.0)
    assert float(found) == pytest.approx((of_first + of_second + of_third) / 3, abs=1e-6)


def test_without_users_every_other_row_is_a_negative() -> None:
    of_first = -math.log(math.e / (math.e + 1 + math.e))
    of_second = -math.log(math.e / (math.e + 1 + 1))
    of_third = -math.log(1 / (1 + math.e + 1))
    found = contrast(FACTORS, MASKED, present=EVERYONE, groups=None, temperature=1.0)
    assert float(found) == pytest.approx((of_first + of_second + of_third) / 3, abs=1e-6)


def test_rows_without_events_are_neither_rows_nor_negatives() -> None:
    users = torch.tensor([7, 7, 9, 11])
    more = [torch.cat([part, torch.tensor([[1.0, 1.0]])]) for part in (FACTORS, MASKED)]
    present = torch.tensor([True, True, True, False])
    found = contrast(*more, present=present, groups=users, temperature=0.3)
    expected = contrast(FACTORS, MASKED, present=EVERYONE, groups=users[:3], temperature=0.3)
    torch.testing.assert_close(found, expected)
    assert float(contrast(*more, present=torch.zeros(4, dtype=torch.bool), groups=users, temperature=0.3)) == 0.0


def test_the_contrast_does_not_see_how_large_factors_are() -> None:
    users = torch.tensor([1, 2, 3])
    found = contrast(FACTORS * 100, MASKED / 100, present=EVERYONE, groups=users, temperature=0.5)
    torch.testing.assert_close(found, contrast(FACTORS, MASKED, present=EVERYONE, groups=users, temperature=0.5))


def test_the_contrast_stays_in_fp32_under_autocast() -> None:
    torch.manual_seed(0)
    factors, masked, users = torch.randn(64, 4), torch.randn(64, 4), torch.arange(64)
    present = torch.ones(64, dtype=torch.bool)
    exact = contrast(factors, masked, present=present, groups=users, temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrast(factors, masked, present=present, groups=users, temperature=0.1)
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
