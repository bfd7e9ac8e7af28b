"""The next-item task alone: its loss against a loop over rows and positions, and the examples that it draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from ctrgate.contracts import Batch, Ids, Output
from ctrgate.models.next_item import Items
from ctrgate.training.model import CANDIDATES
from ctrgate.training.next_item import NextItemTask
from ctrgate.training.objective import GbceConfig, NextItemConfig, SampledSoftmaxConfig, SoftmaxConfig

NUM_ITEMS, MAX_LENGTH = 10, 5


def batch_of(histories: Sequence[Sequence[int]], targets: Sequence[int]) -> Batch:
    """Rows with weights 1, 2, ..."""
    lengths = torch.tensor([len(history) for history in histories])
    items = torch.tensor([item for history in histories for item in history])
    return Batch(
        num_rows=len(targets),
        ids={"history/item": Ids(values=items, lengths=lengths), "item": Ids(values=torch.tensor(targets))},
        numbers=torch.zeros(len(targets), 0),
        weights=torch.arange(len(targets)) + 1.0,
    )


ITEMS = Items(
    target="item",
    history="history/item",
    aligned=("history/item",),
    table="item",
    num_rows=NUM_ITEMS + 2,
    max_length=MAX_LENGTH,
    seen=None,
)
EVENTS = np.array([50, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 30])
HISTORIES, TARGETS = [[2, 3, 3, 1, 4], [5], [], [6, 1], [9, 8, 9], [3]], [7, 1, 4, 6, 9, 2]
"""As long as it may be with a repeated item and an unknown one; an unknown target; no history; and more."""


def naive_loss(task_of: Any, batch: Batch, rows: torch.Tensor, queries: torch.Tensor, *, every: bool) -> float:
    """The loss of a batch, row by row, position by position, item by item."""
    history = batch.ids["history/item"]
    total = weights = 0.0
    drawn = batch.ids.get(CANDIDATES)
    pieces = iter(drawn.values.split(drawn.lengths.tolist())) if drawn else None
    share = np.maximum(EVENTS[2:], 1) ** getattr(task_of, "popularity", 0.0)
    share = share / share.sum()
    for row, items in enumerate(history.values.split(history.lengths.tolist())):
        sample = next(pieces)[: task_of.negatives].tolist() if pieces else []
        following = [*items[1:].tolist(), int(batch.ids["item"].values[row])]
        for place in range(len(items)) if every else range(len(items))[-1:]:
            target = following[place]
            if target < 2:
                continue
            query = queries[row, place if every else 0].double()
            scores = [float(query @ rows[item].double()) for item in range(len(rows))]
            others = [item for item in sample if item != target]
            if isinstance(task_of, SoftmaxConfig):
                loss = math.log(sum(math.exp(score) for score in scores[2:])) - scores[target]
            elif isinstance(task_of, SampledSoftmaxConfig):
                odds = [math.exp(scores[item]) / (len(sample) * share[item - 2]) for item in others]
                loss = math.log(math.exp(scores[target]) + sum(odds)) - scores[target]
            else:
                rate = len(sample) / (NUM_ITEMS - 1)
                beta = rate * (task_of.calibration * (1 - 1 / rate) + 1 / rate)
                loss = beta * math.log1p(math.exp(-scores[target]))
                loss += sum(math.log1p(math.exp(scores[item])) for item in others)
                loss /= len(sample) + 1
            weight = float(batch.weights[row])
            total, weights = total + weight * loss, weights + weight
    return total / weights


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxConfig(),
        SampledSoftmaxConfig(negatives=7),
        SampledSoftmaxConfig(negatives=7, popularity=0.6),
        GbceConfig(negatives=3, calibration=0.4),
    ],
    ids=lambda loss: f"{loss.name}-{getattr(loss, 'popularity', '')}",
)
def test_a_loss_is_that_of_a_loop_over_rows_and_positions(loss: Any, positions: Any) -> None:
    torch.manual_seed(0)
    rows = torch.randn(NUM_ITEMS + 2, 4)
    task = NextItemTask(NextItemConfig(loss=loss, positions=positions), items=ITEMS, events=EVENTS, rows=rows)
    batch = task.example(batch_of(HISTORIES, TARGETS))
    assert batch.num_rows == (6 if positions == "all" else 12)
    every = positions == "all"
    queries = torch.randn(batch.num_rows, MAX_LENGTH if every else 1, 4)
    candidates = None
    if CANDIDATES in batch.ids:
        drawn = batch.ids[CANDIDATES]
        _, most = NextItemTask.candidates(NextItemConfig(loss=loss, positions=positions), ITEMS)
        assert int(drawn.lengths.max()) <= most
        candidates = torch.zeros(batch.num_rows, most, 4)
        for row, ids in enumerate(drawn.values.split(drawn.lengths.tolist())):
            assert int(ids[: loss.negatives].min()) >= 2
            candidates[row, : len(ids)] = rows[ids]
    output = Output(
        query=None if every else queries[:, 0],
        queries=queries if every else None,
        candidates=candidates,
        aux={"own": torch.tensor(0.25)},
    )
    expected = naive_loss(loss, batch, rows, queries, every=every)
    assert float(task.loss(output, batch)) == pytest.approx(expected + 0.25, rel=1e-5)


@pytest.mark.parametrize(("count", "examples"), [(None, 12), (2, 8), (1, 5)])
def test_prefixes_limit_the_examples_of_a_row(count: int | None, examples: int) -> None:
    settings = NextItemConfig(positions="last", prefixes=count)
    task = NextItemTask(settings, items=ITEMS, events=EVENTS, rows=torch.zeros(NUM_ITEMS + 2, 4))
    assert task.example(batch_of(HISTORIES, TARGETS)).num_rows == examples


def test_items_are_drawn_by_their_train_events_to_the_power_set() -> None:
    loss = SampledSoftmaxConfig(negatives=4000, popularity=0.5)
    torch.manual_seed(0)
    task = NextItemTask(NextItemConfig(loss=loss), items=ITEMS, events=EVENTS, rows=None)
    drawn = task.example(batch_of([[2], [3]], [4, 5])).ids[CANDIDATES]
    counts = np.bincount(torch.cat([part[:4000] for part in drawn.values.split(4001)]), minlength=12)[2:]
    expected = np.sqrt(np.maximum(EVENTS[2:], 1))
    assert counts / 8000 == pytest.approx(expected / expected.sum(), abs=0.015)
