"""The observer of gates, against plain loops over rows, coordinates and blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctrgate.contracts import Fields
from ctrgate.errors import DataError
from ctrgate.features.layout import Field, Layout
from ctrgate.layers.attention import AttentionGate
from ctrgate.layers.experts import NoisyTopK
from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear, SpatialGate
from ctrgate.layers.gates import InstanceMask, LinearFieldGate, PersonalGate, SqueezeExcitation
from ctrgate.layers.residual import Highway, ReZero
from ctrgate.models.auto_int import AutoIntConfig
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.dcn_v2 import DCNv2Config
from ctrgate.models.dnn import DNNConfig
from ctrgate.models.experts import NoisyTopKConfig, SoftmaxGateConfig
from ctrgate.models.fibinet import FiBiNETConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.final_net import FinalNetConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.gmlp import GMLPConfig
from ctrgate.models.inputs import Inputs, TablesConfig, plan_inputs
from ctrgate.models.mask_net import MaskNetConfig
from ctrgate.models.mixture_of_experts import MixtureOfExpertsConfig
from ctrgate.models.network import Network, NetworkConfig
from ctrgate.models.ppnet import PPNetConfig
from ctrgate.training.observer import has_gates, observe

NAMES = ("user", "item", "price")
DIMS = {"user": 3, "item": 4, "price": 2}
STARTS = {"user": 0, "item": 3, "price": 7}
SMALL = MlpConfig(hidden=(6,), batch_norm=False)
LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="item", kind="id", table="item"),
        Field(name="price", kind="number"),
    ),
    sequences=(),
    tables={"user": 5, "item": 5},
    labels=("click",),
    roles={},
)


def build(config: NetworkConfig, *, equal: bool = False) -> tuple[Network, Inputs]:
    """A network in evaluation mode whose weights are larger than at their start; widths differ unless ``equal``."""
    tables = TablesConfig(dim=4) if equal else TablesConfig(dim=4, dims=DIMS)
    inputs = plan_inputs(LAYOUT, tables, config.embeddings(LAYOUT))
    torch.manual_seed(0)
    network = Network(config, inputs=inputs).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape) * 0.7)
    return network, inputs


def some_fields(inputs: Inputs, num_rows: int) -> Fields:
    generator = torch.Generator().manual_seed(1)
    rows = {of.name: torch.randn(num_rows, inputs.dims[of.name], generator=generator) for of in inputs.lookups}
    return Fields(rows=rows, numbers=torch.randn(num_rows, 1, generator=generator))


def cut(fields: Fields, start: int, end: int) -> Fields:
    rows = {name: values[start:end] for name, values in fields.rows.items()}
    return replace(fields, rows=rows, numbers=fields.numbers[start:end])


def flat(network: Network, fields: Fields) -> NDArray[np.float64]:
    """The embedding as the network sees it, in float64."""
    price = network.projections[0](fields.numbers)
    return torch.cat([fields["user"], fields["item"], price], dim=1).detach().double().numpy()


def weights(module: nn.Module) -> NDArray[np.float64]:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach().double().numpy()


def biases(module: nn.Module) -> NDArray[np.float64]:
    assert isinstance(module.bias, Tensor)
    return module.bias.detach().double().numpy()


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def by_name(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {gate["name"]: gate for gate in summary["gates"]}


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


def everything(network: Network, fields: Fields) -> dict[str, Tensor]:
    return {**fields.rows, "price": network.projections[0](fields.numbers)}


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


def block_norm(matrix: NDArray[np.float64], scaled: str, by: str) -> float:
    total = 0.0
    for row in range(STARTS[scaled], STARTS[scaled] + DIMS[scaled]):
        for column in range(STARTS[by], STARTS[by] + DIMS[by]):
            total += matrix[row, column] ** 2
    return math.sqrt(total)


@pytest.mark.parametrize("rank", [None, 2])
def test_cross_importance_is_the_norm_of_each_block_times_the_fields_mean_gate(rank: int | None) -> None:
    network, inputs = build(GDCNConfig(num_cross_layers=2, rank=rank))
    with torch.no_grad(), observe(network, inputs=inputs) as observer:
        network(some_fields(inputs, 30))
    summary = observer.summary()
    assert [layer["name"] for layer in summary["cross"]] == ["body.cross.layers.0", "body.cross.layers.1"]
    for number, layer in enumerate(summary["cross"]):
        weight = network.body.cross.layers[number].weight
        matrix = weights(weight) if rank is None else weights(weight[1]) @ weights(weight[0])
        gate = by_name(summary)[f"{layer['name']}.gate"]
        means = {line["field"]: line["mean"] for line in gate["fields"]}
        assert layer["gated"]
        for i, scaled in enumerate(NAMES):
            for j, by in enumerate(NAMES):
                expected = block_norm(matrix, scaled, by) * means[scaled]
                assert layer["importance"][i][j] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rank", [None, 2])
def test_cross_layers_without_gates_have_a_map_without_a_row(rank: int | None) -> None:
    network, inputs = build(DCNv2Config(num_cross_layers=1, rank=rank))
    assert not has_gates(network)
    with observe(network, inputs=inputs) as observer:
        pass
    summary = observer.summary()
    assert summary["gates"] == []
    (layer,) = summary["cross"]
    weight = network.body.cross.layers[0].weight
    matrix = weights(weight) if rank is None else weights(weight[1]) @ weights(weight[0])
    assert not layer["gated"]
    assert layer["importance"][1][2] == pytest.approx(block_norm(matrix, "item", "price"))
    assert layer["importance"][2][1] == pytest.approx(block_norm(matrix, "price", "item"))


def test_segments_have_the_means_of_their_rows() -> None:
    network, inputs = build(GDCNConfig(num_cross_layers=1))
    fields = some_fields(inputs, 90)
    device = np.array([["phone", "desk", None][number % 3 if number < 60 else 0] for number in range(90)], dtype=object)
    with torch.no_grad(), observe(network, inputs=inputs, segments={"device": device}) as observer:
        network(cut(fields, 0, 47))
        network(cut(fields, 47, 90))
    (found,) = observer.summary()["gates"]
    factor = sigmoid(flat(network, fields) @ weights(network.body.cross.layers[0].gate.weight).T)
    segment = found["segments"]["device"]
    assert segment["num_values"] == 3
    assert [line["value"] for line in segment["lines"]] == ["phone", "desk", "missing"]
    for line, value in zip(segment["lines"], ("phone", "desk", None), strict=True):
        rows = [number for number in range(90) if device[number] == value]
        assert line["num_rows"] == len(rows)
        expected = [factor[rows][:, STARTS[name] : STARTS[name] + DIMS[name]].mean() for name in NAMES]
        assert line["means"] == pytest.approx(expected, abs=1e-6)


def test_of_many_segments_the_eight_with_most_rows_are_kept() -> None:
    network, inputs = build(MixtureOfExpertsConfig(num_experts=3, mlp=SMALL, gate=SoftmaxGateConfig()))
    fields = some_fields(inputs, 78)
    day = np.concatenate([np.full(count, count) for count in range(1, 13)])  # the value is its number of rows
    with torch.no_grad(), observe(network, inputs=inputs, segments={"day": day}) as observer:
        network(fields)
        scores = network.body.gate.scores(torch.from_numpy(flat(network, fields)).float())
    (found,) = observer.summary()["gates"]
    segment = found["segments"]["day"]
    assert segment["num_values"] == 12
    assert [(line["value"], line["num_rows"]) for line in segment["lines"]] == [(str(n), n) for n in range(12, 4, -1)]
    share = scores.softmax(dim=1)[torch.from_numpy(day == 9)].mean(dim=0)
    assert segment["lines"][3]["means"] == pytest.approx(share.tolist(), abs=1e-6)


def test_more_rows_than_segments_tell_of_are_refused() -> None:
    network, inputs = build(GDCNConfig(num_cross_layers=1))
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="segment 'day' tells of 5 rows; row 6 came"),
        observe(network, inputs=inputs, segments={"day": np.zeros(5)}),
    ):
        network(some_fields(inputs, 6))


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
