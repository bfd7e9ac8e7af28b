"""What the observer says of gates by segment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctrgate.models.experts import SoftmaxGateConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.mixture_of_experts import MixtureOfExpertsConfig
from ctrgate.training.observer import observe
from tests.training.observed import DIMS, NAMES, SMALL, STARTS, build, cut, flat, sigmoid, some_fields, weights


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
