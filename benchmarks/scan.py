"""Time the selective scan, forward and backward, against a loop over steps; print one Markdown table."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.mamba import Mamba
from ctrgate.layers.post_norm import PostNormEncoder
from ctrgate.layers.scan import mamba_kernel, selective_scan, selective_scan_by_chunks

__all__ = ["Row", "main", "measure", "step_loop", "table"]

DIM, CHANNELS, STATES = 64, 128, 32
NUM_ITEMS = 12_102  # Beauty's
LEAST_SECONDS = 2.0  # of repeats, within the bounds below
REPEATS = (3, 30)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured at one size: seconds of each repeat, in the order in which they took turns."""

    num_rows: int
    length: int
    scan: Sequence[float]
    loop: Sequence[float]
    step: Sequence[float]
    kernel: Sequence[float] = ()
    """Of ``mamba-ssm``, where there is a GPU and the package."""


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.scan [--rows 1 32 256] [--lengths 50 200] [--threads 2] [--device cuda]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32, 256])
    parser.add_argument("--lengths", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(parsed.threads)
    rows = []
    for num_rows in parsed.rows:
        for length in parsed.lengths:
            print(f"B = {num_rows}, T = {length} ...", file=sys.stderr)
            rows.append(measure(num_rows, length, device=parsed.device))
    place = torch.cuda.get_device_name() if parsed.device == "cuda" else f"{parsed.threads} of {os.cpu_count()} CPUs"
    print(f"{place}, torch {torch.__version__}, float32; M = {CHANNELS}, N = {STATES}")
    print(table(rows))
    return 0


def step_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:  # noqa: N803
    """The recurrence as one writes it in eager torch; unbound, as an index has a gradient as large as its source."""
    state, found = u.new_zeros(u.size(0), *A.shape), []
    for now, step, taken, read in zip(u.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        state = torch.exp(step.unsqueeze(2) * A) * state + (step * now).unsqueeze(2) * taken.unsqueeze(1)
        found.append((state * read.unsqueeze(1)).sum(dim=2))
    return torch.stack(found, dim=1) + D * u


def measure(num_rows: int, length: int, *, device: str) -> Row:
    """The scan, the loop, and a whole training step of Mamba4Rec with one layer, each in its turn."""
    with torch.device(device):  # not while measuring: it costs each call of torch some microseconds
        given = _inputs(num_rows, length)
        pull = torch.randn(num_rows, length, CHANNELS)
        step = _training_step(num_rows, length)

    def scan() -> None:
        torch.autograd.grad(selective_scan_by_chunks(*given), given, pull)

    def loop() -> None:
        torch.autograd.grad(step_loop(*given), given, pull)

    def kernel() -> None:
        torch.autograd.grad(selective_scan(*given), given, pull)

    tasks = {"scan": scan, "loop": loop, "step": step}
    if given[0].is_cuda and mamba_kernel() is not None:
        tasks["kernel"] = kernel
    return Row(num_rows=num_rows, length=length, **_in_turn(tasks, on_gpu=given[0].is_cuda))


def table(rows: Sequence[Row]) -> str:
    """Medians, and the median of the ratios within a repeat, as Markdown."""
    with_kernel = all(row.kernel for row in rows)
    lines = [
        "| B | T | scan, ms | step loop, ms | loop / scan | training step, ms | share of the scan |",
        "|---|---|---|---|---|---|---|",
    ]
    if with_kernel:
        lines = [lines[0] + " mamba-ssm, ms |", lines[1] + "---|"]
    for row in rows:
        times = [f"{1e3 * statistics.median(of):.1f}" for of in (row.scan, row.loop, row.step)]
        ratio = statistics.median(loop / scan for loop, scan in zip(row.loop, row.scan, strict=True))
        share = statistics.median(scan / step for scan, step in zip(row.scan, row.step, strict=True))
        cells = [str(row.num_rows), str(row.length), times[0], times[1], f"{ratio:.2f}", times[2], f"{share:.0%}"]
        cells += [f"{1e3 * statistics.median(row.kernel):.1f}"] if with_kernel else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _inputs(num_rows: int, length: int) -> list[Tensor]:
    """As they are where a Mamba starts: A from -1 to -N, step sizes up to .1."""
    u = torch.randn(num_rows, length, CHANNELS)
    delta = torch.rand(num_rows, length, CHANNELS) * 0.1
    rates = -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1)
    taken, read = (torch.randn(num_rows, length, STATES) for _ in range(2))
    return [part.requires_grad_() for part in (u, delta, rates, taken, read, torch.ones(CHANNELS))]


def _training_step(num_rows: int, length: int) -> Callable[[], None]:
    """Embedding, Mamba, feed-forward, softmax over the catalogue at the last position, backward, Adam."""
    items = nn.Embedding(NUM_ITEMS, DIM)
    encoder = PostNormEncoder([Mamba(DIM, state_dim=STATES)], dim=DIM, dropout=0.2)
    optimizer = torch.optim.Adam([*items.parameters(), *encoder.parameters()])
    history = torch.randint(1, NUM_ITEMS, (num_rows, length))
    target, mask = torch.randint(1, NUM_ITEMS, (num_rows,)), torch.ones(num_rows, length, dtype=torch.bool)

    def step() -> None:
        optimizer.zero_grad()
        query = encoder(items(history), mask)[:, -1]
        torch.autograd.backward(functional.cross_entropy(query @ items.weight.T, target))
        optimizer.step()

    return step


def _in_turn(tasks: Mapping[str, Callable[[], None]], *, on_gpu: bool) -> dict[str, list[float]]:
    """Seconds of each task, over and over in turn, so that whatever else the machine does meets them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in _repeats():
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if on_gpu:
                torch.cuda.synchronize()
            if repeat:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _repeats() -> Iterator[int]:
    fewest, most = REPEATS
    start = time.perf_counter()
    for repeat in range(most + 1):
        if repeat > fewest and time.perf_counter() - start > LEAST_SECONDS:
            return
        yield repeat


if __name__ == "__main__":
    raise SystemExit(main())
