"""Every network of the union in small forms, one for each value of its settings, and rows for them."""

from __future__ import annotations

import dataclasses
import types
import typing

import pytest
import torch

from ctrgate.contracts import Batch, Ids
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.network import task_of
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig
from ctrgate.training.model import CtrModel, build_model

CONFIGS = typing.get_args(typing.get_args(ModelConfig)[0])
SMALL = MlpConfig(hidden=(8, 6))
LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="item", kind="id", table="item"),
        Field(name="price", kind="number"),
        Field(name="tags", kind="bag", table="tags", pooling="mean"),
        Field(name="image", kind="vector", width=5),
    ),
    sequences=(
        SequenceGroup(
            name="history",
            members=(
                Member(name="item", column="history/item", table="item"),
                Member(name="tag", column="history/tag", table="tags"),
                Member(name="ago", column="history/ago"),
            ),
            max_length=4,
        ),
    ),
    tables={"user": 11, "item": 13, "tags": 7},
    labels=("click",),
    roles={},
)


def choices(hint: object) -> list[object]:
    """What a setting may be, where its type has few values: literals, switches, parts that may be absent or differ."""
    if typing.get_origin(hint) is typing.Annotated and hasattr(hint, "__metadata__"):
        kinds = typing.get_args(typing.get_args(hint)[0])
        if kinds and all(dataclasses.is_dataclass(kind) for kind in kinds):
            return [kind() for kind in kinds]
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if hint is bool:
        return [True, False]
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    absent = [None] if types.NoneType in parts else []
    kinds = [(typing.get_args(part) or (part,))[0] for part in parts]  # int of Annotated[int, ...]
    return absent + [SMALL for kind in kinds if kind is MlpConfig] + [2 for kind in kinds if absent and kind is int]


def variants(config: type) -> list[object]:
    """A small form of a network's settings, and one for each other value of each setting that has few."""
    hints = {name: hint for name, hint in typing.get_type_hints(config, include_extras=True).items() if name != "name"}
    base = {name: SMALL for name, hint in hints.items() if SMALL in choices(hint)}
    if "reduction" in hints:
        base["reduction"] = 1.0  # of five fields the default leaves one unit between two ReLUs, dead on some starts
    bare = {name: None for name, hint in hints.items() if None in choices(hint)}
    found = [config(**base), config(**{**base, **bare})]
    for name, hint in hints.items():
        found += [config(**{**base, name: value}) for value in choices(hint)]
    if "gate1_context" in hints:
        contexts = {"gate1_context": ("user", "price", "image"), "gate2_context": ("item", "tags")}
        found.append(config(**base, **contexts, num_heads=2, gate_hidden=5))
    if "gate_context" in hints:
        found.append(config(**base, gate_context=("user", "price", "tags")))
    return [one for place, one in enumerate(found) if one not in found[:place]]


CASES = [pytest.param(v, id=f"{c.__name__}-{n}") for c in CONFIGS for n, v in enumerate(variants(c))]
CLICK = [case for case in CASES if task_of(case.values[0]) == "click"]
NEXT_ITEM = [case for case in CASES if task_of(case.values[0]) == "next_item"]


def batch(num_rows: int, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 4, (num_rows,), generator=generator)
    past = torch.randint(0, 5, (num_rows,), generator=generator)
    events = int(past.sum())
    return Batch(
        num_rows=num_rows,
        ids={
            "user": Ids(values=torch.randint(0, 11, (num_rows,), generator=generator)),
            "item": Ids(values=torch.randint(1, 13, (num_rows,), generator=generator)),
            "tags": Ids(values=torch.randint(0, 7, (int(lengths.sum()),), generator=generator), lengths=lengths),
            "history/item": Ids(values=torch.randint(1, 13, (events,), generator=generator), lengths=past),
            "history/tag": Ids(values=torch.randint(1, 7, (events,), generator=generator), lengths=past),
        },
        numbers=torch.randn(num_rows, 1, generator=generator),
        vectors={"image": torch.randn(num_rows, 5, generator=generator)},
        labels=torch.randint(0, 2, (num_rows, 1), generator=generator).float(),
        sequence_numbers={"history/ago": torch.randn(events, generator=generator)},
    )


def model(
    config: object,
    *,
    layout: Layout = LAYOUT,
    rule: DenseRule | FusedRule | None = None,
    dim: int = 4,
    dims: dict[str, int] | None = None,
) -> CtrModel:
    tables = TablesConfig(dim=dim, dims=dims or {}, init_std=0.1, rule=rule or DenseRule())
    return build_model(config, layout=layout, tables=tables, seed=0)


def answer(of: CtrModel, rows: Batch) -> torch.Tensor:
    """What a network says of rows: logits ``(B, L)``, or queries ``(B, D)``."""
    output, _ = of(rows)
    return output.query if output.logits is None else output.logits


def changed(rows: Batch, **changes: object) -> Batch:
    return dataclasses.replace(rows, **changes)
