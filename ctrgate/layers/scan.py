"""Linear recurrences over a history, without a loop over its steps: one scan for all, and Mamba's selective scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctrgate.layers.chunked import (
    advance,
    by_step,
    in_chunks,
    out_of_chunks,
    padded_to_chunks,
    product,
    retreat,
    states_of,
)

__all__ = ["linear_scan", "mamba_kernel", "selective_scan", "selective_scan_by_chunks"]

# Numbers in one tensor of states: rows are worked on block by block, so that a block's states stay in the CPU's cache.
_BLOCK = {"cpu": 2**20}
_BLOCK_ELSEWHERE = 2**26


def linear_scan(decay: Tensor, inputs: Tensor) -> Tensor:
    """``h_t = decay_t * h_{t-1} + inputs_t`` along axis 1, from ``h_{-1} = 0``: HGRN, LRU, GLA's gates and their like.

    T is cut into about ``sqrt(T / 2)`` chunks of ``sqrt(2 T)`` steps, and all chunks step together: once for what each
    leaves behind when it starts from nothing, once more from what the chunks before it left. Decays are multiplied,
    never divided by: one may be 0, or vanish over a chunk. 16-bit numbers are scanned, and returned, in float32.

    Args:
        decay: Of the state before; may be complex, as in the LRU.
        inputs: What enters.

    Shape:
        - decay: ``(B, T, ...)``, or what broadcasts to the inputs
        - inputs: ``(B, T, ...)``
        - returns: as the inputs

    Example:
        >>> linear_scan(torch.full((1, 4), 0.5), torch.ones(1, 4))
        tensor([[1.0000, 1.5000, 1.7500, 1.8750]])
    """
    dtype = _precise(torch.promote_types(decay.dtype, inputs.dtype))
    decay, inputs = decay.to(dtype).expand_as(inputs), inputs.to(dtype)
    if torch.compiler.is_exporting():
        decays, values = (by_step(padded_to_chunks(part), inputs.size(1)) for part in (decay, inputs))
        states = list(states_of(len(values), lambda step: (decays[step], values[step]), total=product(decays)))
        return torch.stack(states, dim=2).flatten(1, 2)[:, : inputs.size(1)]
    found: Tensor = _LinearScan.apply(decay, inputs)  # type: ignore[no-untyped-call]
    return found


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:  # noqa: N803
    """``h_t = exp(delta_t A) * h_{t-1} + (delta_t u_t) B_t'``, ``y_t = h_t C_t + D * u_t`` (Mamba, arXiv 2312.00752).

    Computed in float32 (float64 stays), chunk by chunk as ``linear_scan`` does. The states, N times as large as u, are
    made for a few rows at a time and made again in the backward pass; between the two there is one per chunk.

    On a GPU the kernel of ``mamba-ssm`` is used where that package is installed.

    Args:
        u: The channels.
        delta: Step sizes, positive.
        A: Rates, negative.
        B: What the state takes in.
        C: What is read from the state.
        D: Of the channel itself in what is returned.

    Shape:
        - u, delta: ``(B, T, M)``
        - A: ``(M, N)``
        - B, C: ``(B, T, N)``
        - D: ``(M,)``
        - returns: ``(B, T, M)``
    """
    dtype = _precise(u.dtype)
    u, delta, A, B, C, D = (part.to(dtype) for part in (u, delta, A, B, C, D))  # noqa: N806
    if torch.compiler.is_exporting():
        return _exported(u, delta, A, B, C) + D * u
    kernel = mamba_kernel() if u.is_cuda and dtype == torch.float32 else None
    if kernel is None:
        return selective_scan_by_chunks(u, delta, A, B, C, D)
    with torch.autocast(u.device.type, enabled=False):
        parts = [part.transpose(1, 2).contiguous() for part in (u, delta, B, C)]
        found: Tensor = kernel(parts[0], parts[1], A.contiguous(), parts[2], parts[3], D=D)
    return found.transpose(1, 2)


def selective_scan_by_chunks(
    u: Tensor,
    delta: Tensor,
    A: Tensor,  # noqa: N803
    B: Tensor,  # noqa: N803
    C: Tensor,  # noqa: N803
    D: Tensor,  # noqa: N803
) -> Tensor:
    """``selective_scan`` of float32 or float64 as it is without ``mamba-ssm``."""
    scanned: Tensor = _SelectiveScan.apply(u, delta, A, B, C)  # type: ignore[no-untyped-call]
    return scanned + D * u


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@cache
def mamba_kernel() -> Callable[..., Tensor] | None:
    """The selective scan of ``mamba-ssm``, where it is installed: ``(B, M, T)`` and ``(B, N, T)``, float32."""
    try:
        found: Callable[..., Tensor] = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except ImportError:
        return None
    return found


def _exported(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:  # noqa: N803
    """The selective scan without ``D * u`` for exports, where the number of rows is a symbol: nothing in blocks."""
    now, step, taken, read = (in_chunks(part) for part in (u, delta, B, C))
    rates, entering = A.t(), step * now

    def of(at: int) -> tuple[Tensor, Tensor]:
        return _exp_outer(step[at], rates), entering[at].unsqueeze(2) * taken[at].unsqueeze(3)

    states = states_of(len(step), of, total=_exp_outer(step.sum(dim=0), rates))
    found = [(state * read[at].unsqueeze(3)).sum(dim=2) for at, state in enumerate(states)]
    return out_of_chunks(torch.stack(found), u.size(1))


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor) -> Tensor:
        length = inputs.size(1)
        states = padded_to_chunks(inputs).clone(memory_format=torch.contiguous_format)
        decays = by_step(padded_to_chunks(decay), length)
        total = product(decays)
        advance(decays, by_step(states, length), total=total, before=torch.empty_like(total))
        states = states[:, :length]
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        length = grad.size(1)
        grads = padded_to_chunks(grad).clone(memory_format=torch.contiguous_format)
        decays = by_step(padded_to_chunks(decay.conj().resolve_conj()), length)
        retreat(decays, by_step(grads, length), total=product(decays))
        grads = grads[:, :length]
        of_decay = torch.zeros_like(states)
        torch.mul(grads[:, 1:], states[:, :-1].conj().resolve_conj(), out=of_decay[:, 1:])
        return of_decay, grads


class _SelectiveScan(torch.autograd.Function):
    """Without ``D * u``. States stand as ``(B, N, M)``: sums over N, the most frequent, then run along whole rows."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:  # noqa: N803
        now, step, taken, read = (in_chunks(part) for part in (u, delta, B, C))
        rates, entering, found = A.t().contiguous(), step * now, torch.empty_like(now)
        total = step.sum(dim=0)
        carried = u.new_empty(*total.shape[:2], *rates.shape)
        for rows, of, (decay, states) in _blocks(step, rates, num_buffers=2):
            rate, before = rates[:, of], carried[rows, :, :, of]
            _exp_outer(step[:, rows, :, of], rate, out=decay)
            torch.mul(entering[:, rows, :, None, of], taken[:, rows, :, :, None], out=states)
            whole = _exp_outer(total[rows, :, of], rate)
            advance(decay.unbind(0), states.unbind(0), total=whole, before=before)
            found[:, rows, :, of] = _sum_over_states(read[:, rows], states)
        ctx.save_for_backward(u, delta, A, B, C, carried)
        return out_of_chunks(found, u.size(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        u, delta, A, B, C, carried = ctx.saved_tensors  # noqa: N806
        now, step, taken, read, given = (in_chunks(part) for part in (u, delta, B, C, grad))
        rates, entering, total = A.t().contiguous(), step * now, step.sum(dim=0)
        of_rates, of_taken, of_read = (torch.zeros_like(part) for part in (rates, taken, read))
        of_entering, of_step = torch.empty_like(step), torch.empty_like(step)
        for rows, of, (decay, states, grads) in _blocks(step, rates, num_buffers=3):
            wide_step, wide_entering, wide_given = (part[:, rows, :, None, of] for part in (step, entering, given))
            rate, left = rates[:, of], carried[rows, :, :, of]
            _exp_outer(step[:, rows, :, of], rate, out=decay)
            torch.mul(wide_entering, taken[:, rows, :, :, None], out=states)
            before = left
            for factor, state in zip(decay.unbind(0), states.unbind(0), strict=True):
                before = state.addcmul_(factor, before)
            of_read[:, rows] += torch.mul(states, wide_given, out=grads).sum(dim=4)
            torch.mul(wide_given, read[:, rows, :, :, None], out=grads)
            retreat(decay.unbind(0), grads.unbind(0), total=_exp_outer(total[rows, :, of], rate))
            # The gradient of delta_t A: the state before, as it went through the decay, times that of the state.
            decay[0].mul_(left)
            decay[1:].mul_(states[:-1])
            decay.mul_(grads)
            of_entering[:, rows, :, of] = _sum_over_states(taken[:, rows], grads)
            of_taken[:, rows] += grads.mul_(wide_entering).sum(dim=4)
            of_step[:, rows, :, of] = torch.mul(decay, rate, out=grads).sum(dim=3)
            of_rates[:, of] += decay.mul_(wide_step).flatten(0, 2).sum(dim=0)
        of_step.addcmul_(of_entering, now)
        of_u = of_entering.mul_(step)
        found = (out_of_chunks(part, u.size(1)) for part in (of_u, of_step, of_taken, of_read))
        of_u, of_delta, of_taken, of_read = found
        return of_u, of_delta, of_rates.t(), of_taken, of_read


def _blocks(step: Tensor, rates: Tensor, *, num_buffers: int) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Rows and channels block by block, with buffers ``(L, rows, K, N, channels)`` that all blocks use in turn."""
    steps, num_rows, chunks, num_channels = step.shape
    most = _BLOCK.get(step.device.type, _BLOCK_ELSEWHERE)
    one_channel = steps * chunks * rates.size(0)
    channels = num_channels // max(1, min(num_channels, round(one_channel * num_channels / most)))
    held = max(1, min(num_rows, most // (one_channel * channels)))
    buffers = [step.new_empty(held * one_channel * channels) for _ in range(num_buffers)]
    for row in range(0, num_rows, held):
        for channel in range(0, num_channels, channels):
            rows, of = slice(row, min(row + held, num_rows)), slice(channel, min(channel + channels, num_channels))
            shape = (steps, rows.stop - row, chunks, rates.size(0), of.stop - channel)
            yield rows, of, [buffer[: math.prod(shape)].view(shape) for buffer in buffers]


def _exp_outer(step: Tensor, rates: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``exp(delta A)``: ``(..., M)`` and ``(N, M)`` to ``(..., N, M)``; a power of 2 takes the CPU half the time."""
    return torch.mul(step.unsqueeze(-2), rates * math.log2(math.e), out=out).exp2_()


def _sum_over_states(weights: Tensor, states: Tensor) -> Tensor:
    """``(L, B, K, N)`` and ``(L, B, K, N, M)`` to ``(L, B, K, M)``."""
    with torch.autocast(states.device.type, enabled=False):
        mixed = torch.bmm(weights.flatten(0, 2).unsqueeze(1), states.flatten(0, 2))
    return mixed.view(*states.shape[:3], states.size(4))
