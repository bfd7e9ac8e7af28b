"""The scans against the recurrence, one step at a time: values, gradients, and decays that vanish."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ctrgate.layers import scan
from ctrgate.layers.scan import linear_scan, mamba_kernel, selective_scan, selective_scan_by_chunks

LENGTHS = [1, 2, 3, 7, 18, 50]


def step_by_step(decay: Tensor, inputs: Tensor) -> Tensor:
    state, states = torch.zeros_like(inputs[:, 0]), []
    for step in range(inputs.size(1)):
        state = decay[:, step] * state + inputs[:, step]
        states.append(state)
    return torch.stack(states, dim=1)


def selective_step_by_step(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:  # noqa: N803
    """As the paper writes it, one row and one channel at a time."""
    rows = []
    for row in range(u.size(0)):
        channels = []
        for channel in range(u.size(2)):
            state, found = torch.zeros_like(A[channel]), []
            for step in range(u.size(1)):
                size, now = delta[row, step, channel], u[row, step, channel]
                state = torch.exp(size * A[channel]) * state + size * now * B[row, step]
                found.append((state * C[row, step]).sum() + D[channel] * now)
            channels.append(torch.stack(found))
        rows.append(torch.stack(channels, dim=1))
    return torch.stack(rows)


def selective_inputs(
    num_rows: int, length: int, *, channels: int = 3, width: int = 2, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    random = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=dtype)

    u, delta = normal(num_rows, length, channels), normal(num_rows, length, channels).exp()
    taken, read = normal(num_rows, length, width), normal(num_rows, length, width)
    parts = [u, delta, -normal(channels, width).exp(), taken, read, normal(channels)]
    return [part.requires_grad_() for part in parts]


def assert_the_same(
    one: Callable[..., Tensor], other: Callable[..., Tensor], given: list[Tensor], *, within: float | None = None
) -> None:
    """In values, and in gradients from every value on its own."""
    found, expected = one(*given), other(*given)
    torch.testing.assert_close(found, expected, rtol=within, atol=within)
    pull = torch.randn(expected.shape, dtype=expected.dtype, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad(expected, given, pull)
    torch.testing.assert_close(torch.autograd.grad(found, given, pull), gradients, rtol=within, atol=within)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rest", [(), (3,), (2, 3)])
def test_a_linear_scan_is_its_recurrence(length: int, rest: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    decay, inputs = (torch.randn(4, length, *rest, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert_the_same(linear_scan, step_by_step, [decay, inputs])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("block", [2**20, 100, 1])
def test_a_selective_scan_is_its_recurrence_however_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, length: int, block: int
) -> None:
    monkeypatch.setitem(scan._BLOCK, "cpu", block)
    assert_the_same(selective_scan, selective_step_by_step, selective_inputs(3, length))


def test_blocks_of_several_rows_and_of_some_channels_cover_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    given = selective_inputs(7, 10, channels=5)
    for block in (130, 250, 60):  # a row at a time; two, and one left; two of a row's channels, and one left
        monkeypatch.setitem(scan._BLOCK, "cpu", block)
        assert_the_same(selective_scan, selective_step_by_step, given)


def test_gradients_agree_with_differences() -> None:
    torch.manual_seed(0)
    real = [torch.rand(2, 7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    turning = [torch.randn(2, 7, dtype=torch.complex128, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(linear_scan, real)
    assert torch.autograd.gradcheck(linear_scan, turning)
    assert torch.autograd.gradcheck(selective_scan, selective_inputs(2, 7))


def test_states_that_turn_are_complex() -> None:
    torch.manual_seed(0)
    decay, inputs = (torch.randn(2, 11, 3, dtype=torch.complex128, requires_grad=True) for _ in range(2))
    assert_the_same(linear_scan, step_by_step, [decay, inputs])
    real = torch.randn(2, 11, 3, dtype=torch.float64)
    torch.testing.assert_close(linear_scan(decay, real), step_by_step(decay, real.to(torch.complex128)))


@pytest.mark.parametrize("length", [8, 9])
def test_a_decay_may_stand_for_several_inputs(length: int) -> None:
    decay = torch.rand(2, length, 1, 3, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(2, length, 4, 3, dtype=torch.float64, requires_grad=True)
    assert_the_same(linear_scan, step_by_step, [decay, inputs])


def test_a_decay_of_one_adds_up_and_one_of_zero_forgets() -> None:
    inputs = torch.randn(3, 23, 2, dtype=torch.float64)
    torch.testing.assert_close(linear_scan(torch.ones_like(inputs), inputs), inputs.cumsum(dim=1))
    torch.testing.assert_close(linear_scan(torch.zeros_like(inputs), inputs), inputs)


@pytest.mark.parametrize("length", [8, 50])
def test_decays_that_vanish_leave_numbers_and_gradients_as_they_are(length: int) -> None:
    """In float32, with decays of exp(-100), of 0 and of 1 in one history: products of them underflow at once."""
    torch.manual_seed(0)
    chosen = torch.tensor([0.0, 1.0, 0.5, 3.7e-44, 1e-20])[torch.randint(0, 5, (4, length, 3))]
    inputs = torch.randn(4, length, 3, requires_grad=True)
    assert_the_same(linear_scan, step_by_step, [chosen.requires_grad_(), inputs], within=1e-4)

    given = selective_inputs(3, length, dtype=torch.float32)
    with torch.no_grad():
        given[1][:] = torch.tensor([0.0, 1e-4, 0.1, 1.0, 50.0, 200.0])[torch.randint(0, 6, given[1].shape)]
    assert_the_same(selective_scan, selective_step_by_step, given, within=1e-4)
    found = selective_scan(*given)
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), given))


@pytest.mark.parametrize("length", [1, 8])
def test_no_rows_are_rows_too(length: int) -> None:
    decay, inputs = (torch.ones(0, length, 3, requires_grad=True) for _ in range(2))
    given = selective_inputs(0, length)
    for found, of in ((linear_scan(decay, inputs), [decay, inputs]), (selective_scan(*given), given)):
        assert found.shape == (0, length, 3)
        assert all(not gradient.any() for gradient in torch.autograd.grad(found.sum(), of))


def test_a_step_of_zero_passes_the_state_through() -> None:
    """The steps around it see the same as without it."""
    given = [part.detach() for part in selective_inputs(2, 9)]
    given[1][:, 4] = 0.0
    kept = [step for step in range(9) if step != 4]
    without = selective_scan(*(part[:, kept] if part.dim() == 3 else part for part in given))
    torch.testing.assert_close(selective_scan(*given)[:, kept], without)


def test_what_comes_later_changes_nothing_before_it() -> None:
    u, delta, *rest = (part.detach() for part in selective_inputs(2, 20))
    before = selective_scan(u, delta, *rest)
    u[:, 12] += 1.0
    assert torch.equal(selective_scan(u, delta, *rest)[:, :12], before[:, :12])


def test_16_bit_numbers_are_scanned_in_32() -> None:
    decay, inputs = torch.full((1, 300), 1.0, dtype=torch.bfloat16), torch.ones(1, 300, dtype=torch.bfloat16)
    assert linear_scan(decay, inputs)[0, -1] == 300  # in bfloat16, 256 + 1 = 256
    given = [part.detach().bfloat16() for part in selective_inputs(2, 20)]
    exact = selective_scan(*(part.float() for part in given))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = selective_scan(*given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)


def test_under_autocast_gradients_are_those_of_float32() -> None:
    given = selective_inputs(2, 20, dtype=torch.float32)
    expected = torch.autograd.grad(selective_scan(*given).sum(), given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(selective_scan(*given).sum(), given)
    torch.testing.assert_close(found, expected)


def test_what_the_backward_pass_needs_is_far_less_than_all_states() -> None:
    given, held = selective_inputs(2, 200, channels=16, width=32), []
    with torch.autograd.graph.saved_tensors_hooks(lambda part: held.append(part) or part, lambda part: part):
        selective_scan(*given)
    assert max(part.numel() for part in held) <= 2 * 200 * 16 * 32 / 10


class Both(torch.nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        return selective_scan(*given) + linear_scan(torch.sigmoid(given[0]), given[0])


def test_scans_export_with_a_free_number_of_rows() -> None:
    free, fixed = {0: torch.export.Dim("rows", min=1)}, {}
    given = tuple(part.detach().float() for part in selective_inputs(3, 18))
    shapes = (tuple(free if part.dim() == 3 else fixed for part in given),)
    program = torch.export.export(Both().eval(), given, dynamic_shapes=shapes).module()
    for num_rows in (1, 5):
        other = tuple(part.detach().float() for part in selective_inputs(num_rows, 18))
        torch.testing.assert_close(program(*other), Both()(*other))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_on_a_gpu_it_is_the_recurrence_with_the_package_mamba_ssm_and_without(length: int, kernel: bool) -> None:
    if kernel and mamba_kernel() is None:
        pytest.skip("mamba-ssm is not installed")
    given = selective_inputs(3, length, channels=8, width=16, dtype=torch.float32)

    def on_gpu(*parts: Tensor) -> Tensor:
        return (selective_scan if kernel else selective_scan_by_chunks)(*(part.cuda() for part in parts)).cpu()

    assert_the_same(on_gpu, selective_step_by_step, given, within=1e-3)
