"""What a network asks for and the dataset does not have, or has otherwise."""

from __future__ import annotations

import pytest

from ctrgate.errors import ConfigError
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.models.inputs import Embedding, History, Request
from ctrgate.models.plan import plan_inputs
from ctrgate.models.tables import TablesConfig

LAYOUT = Layout(
    fields=(Field(name="user", kind="id", table="user"), Field(name="friend", kind="id", table="user")),
    sequences=(
        SequenceGroup(name="seen", members=(Member(name="user", column="seen/user", table="seen/user"),), max_length=3),
    ),
    tables={"user": 11, "seen/user": 7},
    roles={},
)


def faults(*requests: Request, **dims: int) -> list[str]:
    with pytest.raises(ConfigError) as error:
        plan_inputs(LAYOUT, TablesConfig(dim=4, dims=dims), requests)
    return str(error.value).splitlines()


def test_a_field_that_is_not_there_is_told_with_who_asks_and_the_nearest_name() -> None:
    asked = (Embedding(field="usr", group="gate1"), Embedding(field="usr"), Embedding(field="price", group="gate2"))
    told = "but dataset.features has no field of that name"
    assert faults(*asked) == [
        f"model: its lookup gate1 reads 'usr', {told}; did you mean user?",
        f"model: the network reads 'usr', {told}; did you mean user?",
        f"model: its lookup gate2 reads 'price', {told}; known are friend, user",
    ]


def test_two_widths_of_one_table_are_told() -> None:
    asked = (Embedding(field="user"), Embedding(field="friend"))
    assert faults(*asked, friend=8) == ["tables.dims.friend: friend cannot share the table user: dim 8 is not 4"]


def test_two_tables_of_one_name_are_told_by_what_differs() -> None:
    asked = (History(sequence="seen", member="user"), Embedding(field="user", group="seen"))
    assert faults(*asked) == ["dataset.features: seen/user cannot share the table seen/user: num_rows 11 is not 7"]
