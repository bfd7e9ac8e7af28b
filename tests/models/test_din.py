"""DIN: which histories are matched with which fields, and that they bear on the logit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ctrgate.errors import ConfigError
from ctrgate.features.layout import Member, SequenceGroup
from ctrgate.models.din import DINConfig
from ctrgate.models.inputs import History
from tests.models.every_network import LAYOUT, answer, batch, model


def test_members_are_matched_with_the_fields_of_their_tables() -> None:
    histories = [request for request in DINConfig().embeddings(LAYOUT) if isinstance(request, History)]
    assert [(history.key, history.target) for history in histories] == [
        ("history/item", "item"),
        ("history/tag", "tags"),
    ]


def test_histories_bear_on_the_logit_and_read_the_fields_own_tables() -> None:
    din = model(DINConfig()).eval()
    rows = batch(30)
    changed = {name: rows.ids[name] for name in rows.ids}
    ids = changed["history/item"]
    changed["history/item"] = dataclasses.replace(ids, values=(ids.values + 1) % 13)
    with torch.no_grad():
        assert not torch.equal(answer(din, rows), answer(din, dataclasses.replace(rows, ids=changed)))
    assert {spec.name for spec, _ in din.lookups.tables()} == {"user", "item", "tags"}


def test_a_history_without_a_field_of_its_table_needs_a_match() -> None:
    group = SequenceGroup(name="seen", members=(Member(name="page", column="seen/page", table="page"),), max_length=3)
    layout = dataclasses.replace(LAYOUT, sequences=(group,), tables={**LAYOUT.tables, "page": 5})
    with pytest.raises(ConfigError, match=r"model\.targets: no field reads the table of seen/page"):
        DINConfig().embeddings(layout)
    matched = model(DINConfig(targets={"seen/page": "item"}), layout=layout)
    assert {spec.name for spec, _ in matched.lookups.tables()} == {"user", "item", "tags", "page"}
    with pytest.raises(ConfigError, match="seen is 4 wide and what it is matched with 7"):
        model(DINConfig(targets={"seen/page": "item"}), layout=layout, dims={"item": 7})
