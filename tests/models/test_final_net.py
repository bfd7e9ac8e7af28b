"""FinalNet's self-distillation and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from ctrgate.contracts import Fields
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.final_net import FinalNet, FinalNetConfig, distillation
from ctrgate.models.inputs import Inputs

INPUTS = Inputs(tables=(), lookups=(), projected=(), order=("a", "b"), dims={"a": 3, "b": 3}, num_labels=1)


def fields() -> Fields:
    torch.manual_seed(0)
    return Fields(rows={"a": torch.randn(5, 3), "b": torch.randn(5, 3)}, numbers=torch.empty(5, 0), order=("a", "b"))


def net(*, gated: bool = True, two: bool = True) -> FinalNet:
    block = MlpConfig(hidden=(4,))
    return FinalNet(FinalNetConfig(gated=gated, block1=block, block2=block if two else None), inputs=INPUTS)


def test_the_distillation_is_worked_by_hand() -> None:
    first, second = torch.tensor([[1.0], [-2.0]]), torch.tensor([[3.0], [0.0]])

    def bce(logit: float, teacher: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -(teacher * math.log(p) + (1 - teacher) * math.log(1 - p))

    up, down = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))  # of the means, 2 and -1
    expected = (bce(1, up) + bce(3, up) + bce(-2, down) + bce(0, down)) / 2
    assert float(distillation([first, second])) == pytest.approx(expected, rel=1e-6)


def test_the_teacher_gets_no_gradient() -> None:
    first, second = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[3.0]])
    distillation([first, second]).backward()
    # d BCE / d logit = sigmoid(logit) - teacher, and nothing through the teacher
    expected = torch.sigmoid(torch.tensor(1.0)) - torch.sigmoid(torch.tensor(2.0))
    assert first.grad is not None
    torch.testing.assert_close(first.grad[0, 0], expected)


def test_only_two_blocks_in_training_distil() -> None:
    assert set(net().train()(fields()).aux) == {"distillation"}
    assert net().eval()(fields()).aux == {}
    assert net(two=False).train()(fields()).aux == {}


def test_two_blocks_give_the_mean_of_their_logits() -> None:
    both, rows = net().eval(), fields()
    plain = torch.stack([rows["a"], rows["b"]], dim=1)
    first = both.outputs[0](both.blocks[0](torch.cat([plain, both.gate(plain)], dim=1).flatten(1)))
    second = both.outputs[1](both.blocks[1](rows.flat))
    torch.testing.assert_close(both(rows).logits, (first + second) / 2)


def test_a_new_gate_only_doubles_the_fields() -> None:
    both, rows = net(two=False).eval(), fields()
    doubled = torch.cat([rows.flat, rows.flat], dim=1)
    torch.testing.assert_close(both(rows).logits, both.outputs[0](both.blocks[0](doubled)))


def test_an_odd_width_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"block1\.hidden 5: the concat residual needs even widths"):
        FinalNetConfig(block1=MlpConfig(hidden=(5,)))
    FinalNetConfig(block1=MlpConfig(hidden=(5,)), residual="sum")
