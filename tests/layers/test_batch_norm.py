"""Batch norm and ReLU as training computes them, beside torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.batch_norm import BatchNorm, Relu

WIDTH = 40


def eager(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return function


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    torch.compiler.reset()
    return torch.compile(function, dynamic=False, fullgraph=True)


def norms() -> tuple[BatchNorm, nn.BatchNorm1d]:
    """Ours and torch's, with the same weights, somewhere in the middle of training."""
    torch.manual_seed(0)
    ours, theirs = BatchNorm(WIDTH), nn.BatchNorm1d(WIDTH)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(theirs, name).data.copy_(torch.rand(WIDTH))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("way", [eager, compiled])
@pytest.mark.parametrize(("rows", "mean"), [(128, 0.0), (37, 0.0), (96, 100.0)])
def test_a_bias_before_the_norm_moves_the_running_mean_alone(
    way: Callable[[Callable[..., Tensor]], Callable[..., Tensor]], rows: int, mean: float
) -> None:
    ours, theirs = norms()
    inputs = (torch.randn(rows, WIDTH) + mean).requires_grad_()
    bias, pull = torch.randn(WIDTH), torch.randn(rows, WIDTH)
    called = way(ours)
    for _ in range(2):
        found, expected = called(inputs, bias), theirs(inputs + bias)
        tolerance = {"rtol": 1e-4, "atol": 1e-5 if mean == 0 else 1e-3}
        torch.testing.assert_close(found, expected, **tolerance)
        gradients = (
            torch.autograd.grad((output * pull).sum(), [inputs, *norm.parameters()])
            for norm, output in ((ours, found), (theirs, expected))
        )
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 if mean == 0 else 1e-3)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(
            ours.get_buffer(name), buffer, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n} {m}"
        )
    torch.testing.assert_close(ours.eval()(inputs, bias), theirs.eval()(inputs + bias), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(inputs), theirs(inputs), rtol=1e-4, atol=1e-4)


def test_compiled_statistics_of_bf16_are_taken_in_fp32() -> None:
    ours, theirs = norms()
    inputs = (torch.randn(128, WIDTH) + 3).to(torch.bfloat16)
    found = compiled(ours)(inputs)
    assert found.dtype == torch.bfloat16
    expected = theirs(inputs.float())
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=2**-8)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", [eager, compiled])
def test_one_row_is_refused(way: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> None:
    ours, _ = norms()
    with pytest.raises(Exception, match="Expected more than 1 value per channel when training"):
        way(ours)(torch.randn(1, WIDTH))


def test_relu_has_the_gradient_of_torchs_also_at_zero() -> None:
    inputs = torch.tensor([[-1.0, 0.0, 2.0]], requires_grad=True)
    pull = torch.tensor([[3.0, 5.0, 7.0]])
    for way in (eager, compiled):
        found = way(Relu())(inputs)
        assert found.tolist() == [[0.0, 0.0, 2.0]]
        assert torch.autograd.grad(found, inputs, pull)[0].tolist() == [[0.0, 0.0, 7.0]]
