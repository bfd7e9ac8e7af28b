"""What the observer says of a gate's factors, against plain loops over rows and coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ctrgate.layers.attention import AttentionGate
from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear, SpatialGate
from ctrgate.layers.gates import InstanceMask, LinearFieldGate, PersonalGate, SqueezeExcitation
from ctrgate.layers.residual import Highway, ReZero
from ctrgate.models.auto_int import AutoIntConfig
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.dnn import DNNConfig
from ctrgate.models.fibinet import FiBiNETConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.final_net import FinalNetConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.gmlp import GMLPConfig
from ctrgate.models.mask_net import MaskNetConfig
from ctrgate.models.network import NetworkConfig
from ctrgate.models.ppnet import PPNetConfig
from ctrgate.training.observer import observe
from tests.training.observed import (
    DIMS,
    NAMES,
    SMALL,
    STARTS,
    biases,
    build,
    by_name,
    cut,
    flat,
    sigmoid,
    some_fields,
    weights,
)


def check_coordinates(lines: list[tuple[dict[str, Any], NDArray[np.float64]]], *, top: float, neutral: float) -> None:
    """Each summary against a loop over the rows and coordinates it stands for; ``top`` is the upper bound."""
    for found, factor in lines:
        columns = [factor[:, place].tolist() for place in range(factor.shape[1])]
        means = [sum(column) / len(column) for column in columns]
        variances = [
            sum((value - mean) ** 2 for value in column) / len(column)
            for column, mean in zip(columns, means, strict=True)
        ]
        cells = [value / top for column in columns for value in column]
        low = sum(cell < 0.018 for cell in cells) / len(cells)
        high = sum(cell > 0.982 for cell in cells) / len(cells)
        assert found["num_coordinates"] == len(columns)
        assert found["mean"] == pytest.approx(sum(means) / len(means), abs=1e-6)
        assert found["std"] == pytest.approx(math.sqrt(sum(variances) / len(variances)), abs=1e-6)
        assert found["between"] == pytest.approx(float(np.std(means)), abs=1e-6)
        assert (found["low"], found["high"]) == pytest.approx((low, high))
        assert found["saturated"] == pytest.approx(low + high)
        assert found["near_zero"] is None
        assert found["dead"] == sum(max(map(abs, column)) < 0.01 * neutral for column in columns)


def test_the_gates_of_gdcn_are_those_of_a_loop() -> None:
    network, inputs = build(GDCNConfig(num_cross_layers=2))
    fields = some_fields(inputs, 50)
    layers = list(network.body.cross.layers)
    with torch.no_grad():
        layers[1].gate.weight.weight.mul_(4)  # so that it saturates
        with observe(network, inputs=inputs) as observer:
            network(fields)
    summary = observer.summary()
    assert (summary["num_rows"], summary["fields"]) == (50, list(NAMES))
    x = current = flat(network, fields)
    for number, layer in enumerate(layers):
        factor = sigmoid(current @ weights(layer.gate.weight).T)
        found = by_name(summary)[f"body.cross.layers.{number}.gate"]
        assert (found["kind"], found["slot"], found["bounds"]) == ("InformationGate", "interaction", (0.0, 1.0))
        parts = [(found, factor)]
        for line in found["fields"]:
            start = STARTS[line["field"]]
            parts.append((line, factor[:, start : start + DIMS[line["field"]]]))
        assert [line["field"] for line in found["fields"]] == list(NAMES)
        check_coordinates(parts, top=1.0, neutral=0.5)
        seen = observer.factors[found["name"]]
        np.testing.assert_allclose(seen.mean, factor.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(seen.std, factor.std(axis=0), atol=1e-6)
        np.testing.assert_allclose(seen.largest, factor.max(axis=0), atol=1e-6)
        current = x * (current @ weights(layer.weight).T + biases(layer)) * factor + current
    assert by_name(summary)["body.cross.layers.1.gate"]["saturated"] > 0.1


def test_a_gate_without_context_has_one_factor_for_all_rows_and_may_be_dead() -> None:
    network, inputs = build(FinalMLPConfig(mlp1=SMALL, mlp2=SMALL, gate1_context=("user",), gate_hidden=5))
    fields = some_fields(inputs, 40)
    gates = network.body.gates
    with torch.no_grad():
        gates["gate2"].output.weight.zero_()
        gates["gate2"].output.bias.copy_(torch.tensor([-9.0, -9.0, 0, 0, 1, 2, 3, 6, -9]))
        with observe(network, inputs=inputs) as observer:
            network(cut(fields, 0, 30))
            network(cut(fields, 30, 40))
    found = by_name(observer.summary())
    bias = np.array([-9.0, -9, 0, 0, 1, 2, 3, 6, -9])
    still = np.repeat(2 * sigmoid(bias)[None], 40, axis=0)
    hidden = fields.lookup("gate1", "user").double().numpy() @ weights(gates["gate1"].hidden).T
    hidden = np.maximum(hidden + gates["gate1"].hidden.bias.detach().double().numpy(), 0)
    moving = 2 * sigmoid(
        hidden @ weights(gates["gate1"].output).T + gates["gate1"].output.bias.detach().double().numpy()
    )
    for name, factor in (("body.gates.gate1", moving), ("body.gates.gate2", still)):
        parts = [(found[name], factor)]
        parts += [
            (line, factor[:, STARTS[line["field"]] : STARTS[line["field"]] + DIMS[line["field"]]])
            for line in found[name]["fields"]
        ]
        check_coordinates(parts, top=2.0, neutral=1.0)
        assert (found[name]["bounds"], found[name]["num_rows"]) == ((0.0, 2.0), 40)
    assert found["body.gates.gate2"]["std"] == pytest.approx(0.0, abs=1e-9)
    assert [line["dead"] for line in found["body.gates.gate2"]["fields"]] == [2, 0, 1]


@contextmanager
def calls(gate: nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """What a gate's forward is called with."""
    found: list[tuple[Any, ...]] = []
    handle = gate.register_forward_pre_hook(lambda _, arguments: found.append(arguments))
    try:
        yield found
    finally:
        handle.remove()


# By network: a gate, its class, how its factor follows from what its forward is given, its axis of fields, its bounds.
SHAPES: list[tuple[NetworkConfig, str, type[nn.Module], Callable[..., tuple[Any, ...]], int | None, Any]] = [
    (AutoIntConfig(num_layers=1, attention_dim=6, gate="element"), "body.attention.0.gate", AttentionGate,
     lambda _, fields: (fields,), 2, (0.0, 1.0)),
    (AutoIntConfig(num_layers=1, attention_dim=6, gate="head"), "body.attention.0.gate", AttentionGate,
     lambda _, fields: (fields,), 2, (0.0, 1.0)),
    (FiBiNETConfig(mlp=SMALL, excitation="sigmoid"), "body.gate", SqueezeExcitation, lambda fields: (fields,), 1,
     (0.0, 1.0)),
    (FiBiNETConfig(mlp=SMALL, reduction=1.0), "body.gate", SqueezeExcitation, lambda fields: (fields,), 1, None),
    (FinalNetConfig(block1=SMALL, block2=None), "body.gate", LinearFieldGate, lambda fields: (fields,), 1, None),
    (GMLPConfig(num_blocks=1, hidden_dim=5), "body.blocks.0.gate", SpatialGate, lambda fields: (fields,), 1, None),
    (GMLPConfig(num_blocks=1, residual="highway"), "body.blocks.0.residual", Highway, lambda x, _: (x,), 1,
     (0.0, 1.0)),
    (MaskNetConfig(structure="parallel", blocks=(5, 6), mlp=None), "body.blocks.1.mask", InstanceMask,
     lambda _, context: (context,), 1, None),
    (MaskNetConfig(structure="serial", blocks=(12, 12), mlp=None), "body.blocks.0.mask", InstanceMask,
     lambda _, context: (context,), 1, None),
    (MaskNetConfig(structure="serial", blocks=(12, 12), mlp=None), "body.blocks.1.mask", InstanceMask,
     lambda _, context: (context,), None, None),
    (PPNetConfig(mlp=MlpConfig(hidden=(12, 5))), "body.gates.0", PersonalGate, lambda hidden, c: (hidden, c), 1,
     (0.0, 2.0)),
    (PPNetConfig(mlp=MlpConfig(hidden=(12, 5))), "body.gates.1", PersonalGate, lambda hidden, c: (hidden, c), None,
     (0.0, 2.0)),
    (DNNConfig(mlp=MlpConfig(hidden=(12,), activation="glu")), "body.mlp.blocks.0", GatedLinear,
     lambda inputs: (inputs,), None, (0.0, 1.0)),
    (DNNConfig(mlp=MlpConfig(hidden=(12,), activation="swiglu")), "body.mlp.blocks.0", GatedLinear,
     lambda inputs: (inputs,), None, None),
]  # fmt: skip


@pytest.mark.parametrize("case", SHAPES, ids=[f"{case[2].__name__}-{number}" for number, case in enumerate(SHAPES)])
def test_factors_of_every_shape_find_their_fields(case: tuple[Any, ...]) -> None:
    """Also: hidden units are no fields, even where they are as many as the embedding is wide (12)."""
    config, name, kind, arguments, axis, bounds = case
    network, inputs = build(config, equal=True)
    assert inputs.flat_dim == 12
    gate = network.get_submodule(name)
    assert type(gate) is kind
    with torch.no_grad(), calls(gate) as seen:
        with observe(network, inputs=inputs) as observer:
            network(some_fields(inputs, 21))
        factor = kind.factor(gate, *arguments(*seen[0])).double().numpy()  # type: ignore[attr-defined]
    found = by_name(observer.summary())[name]
    assert found["bounds"] == bounds
    assert found["num_coordinates"] == factor[0].size
    assert found["mean"] == pytest.approx(factor.mean(), rel=1e-5)
    if bounds is None:
        assert found["saturated"] is None
        assert found["near_zero"] == pytest.approx((np.abs(factor) < 1e-3).mean())
    if axis is None:
        assert "fields" not in found
        return
    if factor.ndim == 2:
        factor = factor.reshape(21, 3, 4)
    assert [line["field"] for line in found["fields"]] == list(NAMES)
    for place, line in enumerate(found["fields"]):
        own = factor.take(place, axis=axis).reshape(21, -1)
        assert line["mean"] == pytest.approx(own.mean(), rel=1e-5)
        assert line["std"] == pytest.approx(math.sqrt(own.var(axis=0).mean()), rel=1e-4, abs=1e-7)
        assert line["num_coordinates"] == own.shape[1]


def test_an_alpha_is_told_and_moves_the_ends_of_an_expanded_activation() -> None:
    network, inputs = build(DNNConfig(mlp=MlpConfig(hidden=(6,), activation="xsilu", batch_norm=False)))
    unit = network.body.mlp.blocks[1]
    assert isinstance(unit, ExpandedActivation)
    with torch.no_grad(), calls(unit) as seen:
        unit.alpha.fill_(0.25)
        network.body.mlp.blocks[0].weight.mul_(5)
        with observe(network, inputs=inputs) as observer:
            network(some_fields(inputs, 200))
    (found,) = observer.summary()["gates"]
    inner = sigmoid(seen[0][0].double().numpy())
    assert (found["alpha"], found["bounds"], found["neutral"]) == (0.25, (-0.25, 1.25), 0.5)
    assert found["mean"] == pytest.approx((inner * 1.5 - 0.25).mean(), rel=1e-5)
    assert found["saturated"] == pytest.approx(((inner < 0.018) | (inner > 0.982)).mean())
    assert found["saturated"] > 0.05


def test_a_single_number_beside_a_block_is_one_coordinate() -> None:
    network, inputs = build(GMLPConfig(num_blocks=2, hidden_dim=5, residual="rezero"), equal=True)
    with torch.no_grad():
        for number, alpha in enumerate((0.3, -0.004)):
            residual = network.body.blocks[number].residual
            assert isinstance(residual, ReZero)
            residual.alpha.fill_(alpha)
        with observe(network, inputs=inputs) as observer:
            network(some_fields(inputs, 8))
    found = by_name(observer.summary())
    first, second = (found[f"body.blocks.{number}.residual"] for number in range(2))
    assert (first["slot"], first["num_coordinates"], first["num_rows"]) == ("residual", 1, 8)
    assert (first["mean"], second["mean"]) == pytest.approx((0.3, -0.004))
    assert (first["dead"], second["dead"]) == (0, 1)
    assert "fields" not in first
