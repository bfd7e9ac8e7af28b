"""SIGMA in both forms against its formulas, and where they differ."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.contracts import Fields, Sequence
from ctrgate.errors import ConfigError
from ctrgate.layers.convolution import GatedConvolution
from ctrgate.models.network import Network
from ctrgate.models.plan import plan_inputs
from ctrgate.models.sigma import SIGMAConfig
from ctrgate.models.tables import DenseRule, TablesConfig
from tests.models.every_network import LAYOUT

FORMS = ["paper", "released_code"]
LENGTHS = [8, 6, 3, 1, 0]
MASK = torch.arange(8) < torch.tensor(LENGTHS)[:, None]


def network(config: SIGMAConfig, *, dim: int = 4) -> Network:
    torch.manual_seed(0)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=dim, rule=DenseRule()), config.embeddings(LAYOUT))
    return Network(config, inputs=inputs).eval()


def block(variant: Literal["paper", "released_code"]) -> nn.Module:
    """The block alone, away from its start."""
    made = network(SIGMAConfig(variant=variant, num_kept=2)).body.encoder.layers[0].mixer
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def test_a_gated_convolution_may_stand_for_the_gru_in_the_papers_form_alone() -> None:
    mixer = network(SIGMAConfig(recent="gated_convolution")).body.encoder.layers[0].mixer
    assert isinstance(mixer.recent, GatedConvolution)
    seen = []
    mixer.mix.register_forward_pre_hook(lambda _, given: seen.append(given))
    x = torch.randn(5, 8, 4)
    mixer(x, MASK)
    torch.testing.assert_close(seen[0][2], mixer.recent(x, MASK))
    with pytest.raises(ConfigError, match=r"model\.recent: gated_convolution; the released code has a gru"):
        network(SIGMAConfig(variant="released_code", recent="gated_convolution"))


def test_the_papers_form_is_its_formula_by_each_rows_own_length() -> None:
    of, events = block("paper"), torch.randn(5, 8, 4)
    found = of(events, MASK)
    for row, length in enumerate(LENGTHS[:-1]):
        x, real = events[row : row + 1, :length], MASK[row : row + 1, :length]
        turned = max(length - 2, 0)
        flipped = torch.cat([x[:, :turned].flip(1), x[:, turned:]], dim=1)
        straight, other = of.mamba(x, real), of.flipped_mamba(flipped, real)
        straight, other = of.gate(straight, x, real), of.flipped_gate(other, flipped, real)
        shares = of.mix.logits.exp() / of.mix.logits.exp().sum()
        expected = of.output(shares[0] * straight + shares[1] * other + shares[2] * of.recent(x, real))
        torch.testing.assert_close(found[row, :length], expected[0])


def test_the_released_form_is_its_formula_with_padding_counted_as_events() -> None:
    of, x = block("released_code"), torch.randn(5, 8, 4)
    every = torch.ones(5, 8, dtype=torch.bool)
    flipped = torch.cat([x[:, :6].flip(1), x[:, 6:]], dim=1)
    h1, h2 = x + of.project(x), flipped + of.flipped_project(flipped)
    d1 = of.silu_weight(functional.silu(h1)) + of.sigmoid_weight(torch.sigmoid(h1))
    d2 = of.silu_weight(functional.silu(h2)) + of.sigmoid_weight(torch.sigmoid(d1))
    m1, m2 = of.mamba(x, every), of.mamba(flipped, every)
    mixed = of.mixing[2] * (m1 * d1 + m1) + of.mixing[1] * (m2 * d2 + m2) + of.mixing[0] * of.recent(x, every)
    torch.testing.assert_close(of(x, MASK), of.output(mixed))


def queries(of: Network, events: Tensor, mask: Tensor) -> Tensor:
    sequences = {"history": Sequence(members={"item": events * mask.unsqueeze(2)}, mask=mask)}
    return of(Fields(rows={}, numbers=events.new_zeros(len(events), 0), sequences=sequences)).query


def test_more_padding_changes_the_released_form_and_not_the_papers() -> None:
    events = torch.randn(5, 12, 4)
    longer = torch.arange(12) < torch.tensor(LENGTHS)[:, None]
    paper, released = (network(SIGMAConfig(variant=form, num_kept=2)) for form in FORMS)
    torch.testing.assert_close(queries(paper, events, longer), queries(paper, events[:, :8], MASK))
    assert not torch.allclose(queries(released, events, longer)[1:4], queries(released, events[:, :8], MASK)[1:4])


@pytest.mark.parametrize("variant", FORMS)
def test_every_event_of_a_row_bears_on_its_query_and_an_empty_history_gives_zero(
    variant: Literal["paper", "released_code"],
) -> None:
    of, events = network(SIGMAConfig(variant=variant, num_kept=2)), torch.randn(5, 8, 4)
    before = queries(of, events, MASK)
    for place in range(8):
        changed = events.clone()
        changed[:, place, 0] += 1.0  # not all coordinates: a layer norm takes the mean away
        assert torch.equal((queries(of, changed, MASK) != before).any(dim=1), MASK[:, place])
    assert not before[-1].any()


@pytest.mark.parametrize("variant", FORMS)
def test_where_the_mix_and_the_steps_start(variant: Literal["paper", "released_code"]) -> None:
    of = network(SIGMAConfig(variant=variant), dim=32).body.encoder.layers[0].mixer
    steps = functional.softplus(of.mamba.dt_proj.bias.detach())
    if variant == "paper":
        torch.testing.assert_close(of.mix.factor().detach(), torch.tensor([[0.8, 0.1, 0.1]]))
        assert float(steps.max()) <= 0.1001
    else:
        torch.testing.assert_close(of.mixing.detach(), torch.tensor([0.1, 0.1, 0.8]))
        torch.testing.assert_close(steps, torch.full_like(steps, math.log(2)))
        assert float(of.output.weight.std().detach()) == pytest.approx(0.02, rel=0.2)


def test_the_released_form_has_the_published_size() -> None:
    """904,517 on Beauty (RecMamba.ipynb of the authors), with 12,102 rows of 64 and a pair of weights that nothing uses
    and that the code they released has struck out."""
    of = network(SIGMAConfig(variant="released_code"), dim=64)
    assert sum(p.numel() for p in of.parameters()) + 12_102 * 64 + 2 == 904_517
