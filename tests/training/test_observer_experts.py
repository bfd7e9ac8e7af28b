"""What the observer says of gates that choose experts, against a plain loop over rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctrgate.layers.noisy_top_k import NoisyTopK
from ctrgate.models.experts import NoisyTopKConfig, SoftmaxGateConfig
from ctrgate.models.mixture_of_experts import MixtureOfExpertsConfig
from ctrgate.training.observer import observe
from tests.training.observed import SMALL, build, cut, flat, some_fields, weights


def test_experts_are_those_of_a_loop() -> None:
    config = MixtureOfExpertsConfig(num_experts=5, mlp=SMALL, gate=NoisyTopKConfig(num_chosen=2))
    network, inputs = build(config)
    fields = some_fields(inputs, 60)
    fields.rows["user"][:, 0] = 1.0
    gate = network.body.gate
    assert isinstance(gate, NoisyTopK)
    with torch.no_grad():
        gate.scores.weight[3, 0] = -200.0  # no row ever chooses the fourth expert
        with observe(network, inputs=inputs) as observer:
            for start in (0, 25):
                network(cut(fields, start, start + 25 if start == 0 else 60))
    (found,) = observer.summary()["gates"]
    assert (found["name"], found["kind"], found["slot"]) == ("body.gate", "NoisyTopK", "expert")
    scores = flat(network, fields) @ weights(gate.scores).T
    load, first, nonzero, entropy = np.zeros(5), np.zeros(5), np.zeros(5), 0.0
    for row in scores:
        best = sorted(range(5), key=lambda expert: -row[expert])[:2]
        parts = {expert: math.exp(row[expert] - row[best[0]]) for expert in best}
        for expert, part in parts.items():
            share = part / sum(parts.values())
            load[expert] += share / 60
            nonzero[expert] += 1 / 60
            entropy -= share * math.log(share) / 60 / math.log(5)
        first[best[0]] += 1 / 60
    np.testing.assert_allclose(found["load"], load, atol=1e-6)
    np.testing.assert_allclose(found["first"], first)
    np.testing.assert_allclose(found["nonzero"], nonzero)
    assert found["entropy"] == pytest.approx(entropy, abs=1e-6)
    assert found["unused"] == [3]
    assert (found["num_rows"], found["num_experts"]) == (60, 5)


def test_the_entropy_of_equal_weights_is_one_and_one_expert_has_none() -> None:
    for num_experts, expected in ((4, 1.0), (1, None)):
        config = MixtureOfExpertsConfig(num_experts=num_experts, mlp=SMALL, gate=SoftmaxGateConfig())
        network, inputs = build(config)
        with torch.no_grad():
            for weight in network.body.gate.parameters():
                weight.zero_()
            with observe(network, inputs=inputs) as observer:
                network(some_fields(inputs, 9))
        (found,) = observer.summary()["gates"]
        assert found["entropy"] == (expected if expected is None else pytest.approx(expected))
        assert found["load"] == pytest.approx([1 / num_experts] * num_experts)


@pytest.mark.parametrize(("weight", "unused"), [(0.006, []), (0.004, [1])])
def test_an_expert_is_unused_below_a_hundredth_of_an_equal_share(weight: float, unused: list[int]) -> None:
    network, inputs = build(MixtureOfExpertsConfig(num_experts=2, mlp=SMALL, gate=SoftmaxGateConfig()))
    last = network.body.gate.scores.blocks[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([math.log(1 - weight), math.log(weight)]))
        with observe(network, inputs=inputs) as observer:
            network(some_fields(inputs, 9))
    (found,) = observer.summary()["gates"]
    assert found["load"] == pytest.approx([1 - weight, weight], abs=1e-6)
    assert found["unused"] == unused
