"""What a step costs at least: its matrix products, and FBGEMM's lookup and update of its ids, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from benchmarks.speed.ours import batches
from benchmarks.speed.place import Place
from benchmarks.speed.size import BATCH, CONTEXTS, DIM, GATE_HIDDEN, HEADS, HIDDEN, TURN_ROWS
from benchmarks.speed.turns import Turn
from ctrgate.layers.jagged import bag_offsets
from ctrgate.lookups.quiet import (
    ComputeDevice,
    EmbeddingLocation,
    EmbOptimType,
    PoolingMode,
    SplitTableBatchedEmbeddingBagsCodegen,
)

__all__ = ["limit"]


def limit(place: Place, *, precision: Literal["fp32", "bf16"], device: Literal["cpu", "cuda"] = "cpu") -> Turn:
    """The least that a turn of training takes: no activations, norms, loss, casts, dense optimizer, or reading."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device(device):
        products = [product for sizes in _shapes(place) for product in _products(*sizes, dtype=dtype)]
        products += list(_heads(dtype))
    step_of_tables = _tables(place, device=torch.device(device))

    def turn() -> int:
        for _ in range(TURN_ROWS // BATCH):
            for product in products:
                product()
            step_of_tables()
        if device == "cuda":
            torch.cuda.synchronize()
        return TURN_ROWS

    return turn


def _shapes(place: Place) -> Iterator[tuple[int, int, bool]]:
    """Width in, width out, and whether the gradient of the input is wanted, for each product of a step."""
    flat = DIM * len(place.layout.fields)
    for _ in range(2):
        widths = (flat, *HIDDEN)
        yield from ((a, b, True) for a, b in itertools.pairwise(widths))
    for context in CONTEXTS[place.gates]:
        if context:
            yield from ((DIM * len(context), GATE_HIDDEN, True), (GATE_HIDDEN, flat, True))


def _products(width: int, out: int, needs_input: bool, *, dtype: torch.dtype) -> Iterator[Callable[[], Tensor]]:
    inputs, gradient, weight = (
        torch.randn(*shape, dtype=dtype) for shape in ((BATCH, width), (BATCH, out), (out, width))
    )
    yield lambda: inputs @ weight.T
    yield lambda: gradient.T @ inputs
    if needs_input:
        yield lambda: gradient @ weight


def _heads(dtype: torch.dtype) -> Iterator[Callable[[], Tensor]]:
    """The bilinear fusion: a product for each head."""
    width = HIDDEN[-1] // HEADS
    first, second = (torch.randn(HEADS, BATCH, width, dtype=dtype) for _ in range(2))
    weight = torch.randn(HEADS, width, width, dtype=dtype)
    yield lambda: first @ weight
    yield lambda: first.transpose(1, 2) @ second
    yield lambda: second @ weight.transpose(1, 2)


def _tables(place: Place, *, device: torch.device) -> Callable[[], None]:
    """Lookup of one batch's ids in all tables, backward and update by row-wise Adagrad."""
    layout, batch = place.layout, next(batches(place))
    names = [field.name for field in layout.fields if field.table]
    names += [name for context in CONTEXTS[place.gates] for name in context]
    on_cpu = device.type == "cpu"
    location = EmbeddingLocation.HOST if on_cpu else EmbeddingLocation.DEVICE
    compute = ComputeDevice.CPU if on_cpu else ComputeDevice.CUDA
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [(layout.tables[name], DIM, location, compute) for name in names],
        pooling_mode=PoolingMode.SUM,
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=0.05,
        device=device,
    )
    ids = torch.cat([batch.ids[name].values for name in names]).to(device)
    offsets = bag_offsets(torch.ones(len(ids), dtype=torch.int64, device=device))
    gradient = torch.randn(BATCH, DIM * len(names), device=device) / 1e6
    return lambda: tables(ids, offsets).backward(gradient)
