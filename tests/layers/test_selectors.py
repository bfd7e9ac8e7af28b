"""DSelect-k against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ctrgate.layers.comet import Comet
from ctrgate.layers.d_select_k import DSelectK
from tests.layers.expert_gates import BATCHES, entropy, gradients, linear, loud, saturate, values
from tests.layers.test_routing import GAMMAS, Rows, softmax, step

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
