"""Observing changes nothing, needs no rows at once, and names what it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from ctrgate.errors import DataError
from ctrgate.models.dnn import DNNConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.final_net import FinalNetConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.gmlp import GMLPConfig
from ctrgate.models.mixture_of_experts import MixtureOfExpertsConfig
from ctrgate.models.network import NetworkConfig
from ctrgate.training.observer import has_gates, observe
from tests.training.observed import NAMES, SMALL, build, cut, everything, some_fields

CONFIGS: dict[str, NetworkConfig] = {
    "gdcn": GDCNConfig(num_cross_layers=2, parallel_mlp=replace(SMALL, activation="glu")),
    "final_mlp": FinalMLPConfig(mlp1=SMALL, mlp2=SMALL, gate1_context=("user",), gate_hidden=5),
    "mixture": MixtureOfExpertsConfig(num_experts=3, mlp=SMALL),
    "gmlp": GMLPConfig(num_blocks=1, hidden_dim=5, residual="rezero"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_observing_changes_no_answer_and_leaves_nothing_behind(name: str) -> None:
    network, inputs = build(CONFIGS[name])
    fields = some_fields(inputs, 13)
    before = {path: set(vars(module)) for path, module in network.named_modules()}

    def untouched() -> bool:
        hooks = [module for module in network.modules() if module._forward_hooks or module._forward_pre_hooks]
        return not hooks and before == {path: set(vars(module)) for path, module in network.named_modules()}

    with torch.no_grad():
        plain = network(fields).logits
        with observe(network, inputs=inputs) as observer:
            watched = network(fields).logits
            assert not untouched()
        assert observer.summary()["gates"]
        assert torch.equal(plain, watched)
        assert untouched()
        with pytest.raises(ZeroDivisionError), observe(network, inputs=inputs):
            1 / 0  # noqa: B018
        assert untouched()
        with observe(network, inputs=inputs) as outer:
            with observe(network, inputs=inputs) as inner:
                network(fields)
            network(fields)
        assert (outer.num_rows, inner.num_rows) == (26, 13)
        assert {gate["num_rows"] for gate in outer.summary()["gates"]} == {26}
        assert {gate["num_rows"] for gate in inner.summary()["gates"]} == {13}
        assert untouched()


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_in_pieces_give_what_one_pass_gives(name: str) -> None:
    network, inputs = build(CONFIGS[name])
    num_rows = 4_100  # more than are taken up at once
    fields = some_fields(inputs, num_rows)
    segments = {"device": np.arange(num_rows) % 3}
    summaries = []
    with torch.no_grad():
        for bounds in ([0, num_rows], [0, 1, 2, 9, 1000, num_rows]):
            with observe(network, inputs=inputs, segments=segments) as observer:
                for start, end in pairwise(bounds):
                    network(cut(fields, start, end))
            summaries.append(observer.summary())
    assert_close(summaries[1], summaries[0])


def assert_close(one: Any, other: Any) -> None:
    """Plain values that are equal but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_close(left, right)
    else:
        assert one == (pytest.approx(other, rel=1e-5, abs=1e-6) if isinstance(one, float) else other)


def test_large_means_do_not_swallow_the_spread() -> None:
    """A sum of squares in float32, or less the square of the mean, would lose it."""
    network, inputs = build(FinalNetConfig(block1=SMALL, block2=None), equal=True)
    fields = some_fields(inputs, 500)
    with torch.no_grad():
        network.body.gate.mix.weight.mul_(1e-2)
        network.body.gate.mix.bias.fill_(1e4)
        with observe(network, inputs=inputs) as observer:
            for start in range(0, 500, 50):
                network(cut(fields, start, start + 50))
        stacked = network.body.equal(replace(fields, rows=everything(network, fields), order=NAMES))
        factor = type(network.body.gate).factor(network.body.gate, stacked).double().numpy().reshape(500, -1)
    np.testing.assert_allclose(observer.factors["body.gate"].std, factor.std(axis=0), rtol=1e-6)


def test_factors_that_are_not_finite_are_named() -> None:
    network, inputs = build(GDCNConfig(num_cross_layers=1))
    fields = some_fields(inputs, 6)
    fields.rows["user"][2, 0] = torch.nan
    with torch.no_grad(), observe(network, inputs=inputs) as observer:
        network(fields)
    with pytest.raises(DataError, match=r"body\.cross\.layers\.0\.gate gives values that are not finite"):
        observer.summary()


def test_what_has_no_gate_has_nothing_to_tell() -> None:
    network, inputs = build(DNNConfig(mlp=SMALL))
    assert not has_gates(network)
    with torch.no_grad(), observe(network, inputs=inputs) as observer:
        network(some_fields(inputs, 6))
    assert observer.summary() == {"num_rows": 6, "fields": list(NAMES), "gates": [], "cross": []}
