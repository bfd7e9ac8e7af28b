"""A step of training of any network, on ids drawn anew each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from ctrgate.contracts import Batch, Ids
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.models.network import NetworkConfig, task_of
from ctrgate.models.tables import DenseRule, TablesConfig
from ctrgate.training.model import build_model
from ctrgate.training.next_item import NextItemTask, items_of
from ctrgate.training.objective import ClickObjective, NextItemConfig
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.settings import TrainSettings
from ctrgate.training.task import ClickTask, Task

__all__ = ["click_fields", "item_histories", "training_step"]


def click_fields(count: int, *, table_rows: int) -> Layout:
    """Categorical fields f0, f1, ... with a table each, and a label."""
    names = [f"f{number}" for number in range(count)]
    fields = tuple(Field(name=name, kind="id", table=name) for name in names)
    return Layout(fields=fields, sequences=(), tables=dict.fromkeys(names, table_rows), labels=("click",), roles={})


def item_histories(length: int, *, num_items: int) -> Layout:
    """An item, a history of items, and a label."""
    history = SequenceGroup(
        name="history", members=(Member(name="item", column="history/item", table="item"),), max_length=length
    )
    item = Field(name="item", kind="id", table="item")
    return Layout(fields=(item,), sequences=(history,), tables={"item": num_items}, labels=("click",), roles={})


def training_step(config: NetworkConfig, layout: Layout, *, tables: TablesConfig, num_rows: int) -> Callable[[], int]:
    """What does one step, forward, backward and update, and tells on how many rows; histories are full.

    A network that predicts next items is trained by softmax over all of them, at every position.
    """
    next_item = task_of(config) == "next_item"
    model = build_model(config, layout=layout, tables=tables, seed=1)
    task: Task = ClickTask(ClickObjective(torch.ones(1)))
    if next_item:
        assert isinstance(tables.rule, DenseRule)
        objective = NextItemConfig()
        items = items_of(layout, config, objective)
        task = NextItemTask(objective, items=items, events=None, rows=model.lookups.dense_tables()[items.table])
    optimizer = Optimizer(model, train=TrainSettings(clip_norm=None), tables=tables)
    random, steps = torch.Generator().manual_seed(2), itertools.count()

    def step() -> int:
        batch = task.example(_drawn(layout, num_rows, random))
        output, _ = model(batch)
        optimizer.step(task.loss(output, batch), number=next(steps))
        return num_rows

    return step


def _drawn(layout: Layout, num_rows: int, random: torch.Generator) -> Batch:
    def ids(table: str, count: int) -> torch.Tensor:
        return torch.randint(2, layout.tables[table], (count,), generator=random)

    found = {field.name: Ids(values=ids(field.table, num_rows)) for field in layout.fields}
    for group in layout.sequences:
        lengths = torch.full((num_rows,), group.max_length)
        for member in group.members:
            values = ids(member.table, num_rows * group.max_length)
            found[member.column] = Ids(values=values, lengths=lengths)
    labels = torch.randint(0, 2, (num_rows, 1), generator=random).float()
    return Batch(num_rows=num_rows, ids=found, numbers=torch.empty(num_rows, 0), labels=labels)
