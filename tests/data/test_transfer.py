"""Batches on their way to a device keep every number; on a GPU `make test-gpu` sees the same."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from ctrgate.contracts import Batch, Ids
from ctrgate.data.transfer import Transfer, packed


def of_every_kind(num_rows: int, *, first: int = 0) -> Batch:
    lengths = torch.arange(num_rows)
    bag = torch.arange(int(lengths.sum())) + first
    return Batch(
        num_rows=num_rows,
        ids={
            "item": Ids(values=torch.arange(num_rows) + first),
            "tags": Ids(values=bag, lengths=lengths, weights=bag / 7, factors=bag / 3),
            "none": Ids(values=bag[:0], lengths=torch.zeros_like(lengths)),
        },
        numbers=torch.randn(num_rows, 3),
        vectors={"image": torch.randn(num_rows, 5)},
        sequence_numbers={"tags/gap": torch.randn(len(bag))},
        labels=torch.tensor([[float("nan")] * 2] * num_rows),
        groups=torch.arange(num_rows),
        rows=torch.arange(num_rows) + 1000,
    )


def tensors(batch: Batch) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    batch.each(lambda part: found.append(part) or part)  # type: ignore[func-returns-value]
    return found


def assert_same(one: Batch, other: Batch) -> None:
    assert [field.name for field in fields(Batch) if getattr(one, field.name) is None] == [
        field.name for field in fields(Batch) if getattr(other, field.name) is None
    ]
    for ours, theirs in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("num_rows", [1, 2, 7, 100])
def test_a_packed_batch_is_the_batch(num_rows: int) -> None:
    batch = of_every_kind(num_rows)
    buffers, views = packed(batch)
    assert_same(batch, views)
    addresses = {dtype: buffer.untyped_storage().data_ptr() for dtype, buffer in buffers.items()}
    for part in tensors(views):
        assert part.is_contiguous()
        assert part.data_ptr() % 64 == 0 or not part.numel()
        assert part.untyped_storage().data_ptr() == addresses[part.dtype]


def test_changing_one_tensor_of_a_packed_batch_changes_no_other() -> None:
    batch = of_every_kind(7)
    _, views = packed(batch)
    for place, part in enumerate(tensors(views)):
        part.fill_(-1)
        for ours, theirs in zip(tensors(batch)[place + 1 :], tensors(views)[place + 1 :], strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=0, equal_nan=True)


def test_batches_stay_where_they_are_on_a_processor() -> None:
    batch = of_every_kind(5)
    for ours, theirs in zip(tensors(batch), tensors(Transfer(torch.device("cpu"))(batch)), strict=True):
        assert ours is theirs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("late", ["computing", "copying"])
def test_batches_arrive_whole_whatever_is_late(late: str) -> None:
    """The card computes long after a batch was let go of, or copies long after it was asked for."""
    transfer = Transfer(torch.device("cuda"))
    batches = [of_every_kind(50, first=number) for number in range(40)]
    arrived = []
    for batch in batches:
        stream = torch.cuda.current_stream() if late == "computing" else transfer.stream
        with torch.cuda.stream(stream):
            torch.cuda._sleep(2_000_000)
        there = transfer(batch)
        assert {part.device.type for part in tensors(there)} == {"cuda"}
        arrived.append(there.each(torch.clone))  # what came is dropped, so that its memory may be given to a later one
    for ours, theirs in zip(batches, arrived, strict=True):
        assert_same(ours, theirs)
