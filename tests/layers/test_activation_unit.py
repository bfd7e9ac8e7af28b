"""DIN's activation unit against its formula, one event at a time."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.activation_unit import ActivationUnit

FORMS = ["none", "softmax", "scaled_softmax"]


def naive(unit: ActivationUnit, query: torch.Tensor, keys: torch.Tensor, length: int, form: str) -> torch.Tensor:
    """One row: the numbers of its real events, then their mix."""
    scores = [unit.scores(torch.cat([query, key, query - key, query * key])[None])[0, 0] for key in keys[:length]]
    if not scores:
        return torch.zeros_like(query)
    weights = torch.stack(scores)
    if form != "none":
        weights = torch.softmax(weights / (query.numel() ** 0.5 if form == "scaled_softmax" else 1.0), dim=0)
    return sum(weight * key for weight, key in zip(weights, keys, strict=False))


@pytest.mark.parametrize("form", FORMS)
def test_an_activation_unit_is_its_formula_and_an_empty_history_gives_zero(form: str) -> None:
    torch.manual_seed(0)
    unit = ActivationUnit(3, hidden_dims=(5,), activation="relu", normalisation=form)
    query, keys, lengths = torch.randn(4, 3), torch.randn(4, 6, 3), [6, 1, 0, 4]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = unit(query, keys, mask)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row], naive(unit, query[row], keys[row], length, form))
    assert not found[2].any()


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_in_the_padding_is_of_no_consequence(form: str) -> None:
    unit = ActivationUnit(3, hidden_dims=(5,), normalisation=form)
    query, keys = torch.randn(2, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    other = torch.where(mask.unsqueeze(2), keys, torch.full_like(keys, 1e6))
    torch.testing.assert_close(unit(query, keys, mask), unit(query, other, mask))


def test_softmax_weights_sum_to_one_over_real_events() -> None:
    unit = ActivationUnit(3, normalisation="softmax")
    mask = torch.tensor([[True, True, True, False]])
    weights = unit.weights(torch.randn(1, 3), torch.randn(1, 4, 3), mask)
    assert float(weights.sum().detach()) == pytest.approx(1.0)
    assert float(weights[0, 3].detach()) == 0.0
