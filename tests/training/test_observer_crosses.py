"""Which field crosses which, as the observer says it, against a plain loop over the blocks of the matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctrgate.models.dcn_v2 import DCNv2Config
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.training.observer import has_gates, observe
from tests.training.observed import DIMS, NAMES, STARTS, build, by_name, some_fields, weights


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
