"""DIN: which histories are matched with which fields, and that they bear on the logit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ctrgate.errors import ConfigError
from ctrgate.features.layout import Member, SequenceGroup
from ctrgate.models.din import DINConfig
from ctrgate.models.histories import MatchedSettings
from ctrgate.models.inputs import History
from tests.models.every_network import CLICK, LAYOUT, answer, batch, model


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


MATCHED = [case for case in CLICK if isinstance(case.values[0], MatchedSettings)]


@pytest.mark.parametrize("config", MATCHED)
def test_a_number_of_an_event_bears_on_the_logit_of_its_row_alone(config: object) -> None:
    network = model(config).eval()
    rows = batch(30)
    lengths, ago = rows.ids["history/item"].lengths, rows.sequence_numbers["history/ago"]
    changed = ago.clone()
    changed[: int(lengths[:10].sum())] += 3.0
    with torch.no_grad():
        before = answer(network, rows)
        after = answer(network, dataclasses.replace(rows, sequence_numbers={"history/ago": changed}))
    moved = (before != after).any(dim=1)
    assert torch.equal(moved, (torch.arange(30) < 10) & (lengths > 0))


def test_an_event_is_its_rows_side_by_side_and_what_its_number_is_projected_to() -> None:
    din = model(DINConfig()).eval()
    rows = batch(30)
    lengths = rows.ids["history/item"].lengths
    seen = []
    din.network.body.interests.units[0].register_forward_pre_hook(lambda _, given: seen.append(given))
    with torch.no_grad():
        din(rows)
    ((_, events, mask),) = seen
    tables = {spec.name: table for spec, table in din.lookups.tables()}
    (weight,) = din.network.event_projections.parameters()
    ids = [rows.ids[name].values for name in ("history/item", "history/tag")]
    looked_up = torch.cat([tables["item"][ids[0]], tables["tags"][ids[1]]], dim=1)
    expected = looked_up + rows.sequence_numbers["history/ago"].unsqueeze(1) * weight
    assert torch.equal(mask.sum(dim=1), lengths)
    torch.testing.assert_close(events[mask], expected)
    assert not events[~mask].any()


def test_a_history_without_a_field_of_its_table_needs_a_match() -> None:
    group = SequenceGroup(name="seen", members=(Member(name="page", column="seen/page", table="page"),), max_length=3)
    layout = dataclasses.replace(LAYOUT, sequences=(group,), tables={**LAYOUT.tables, "page": 5})
    with pytest.raises(ConfigError, match=r"model\.targets: no field reads the table of seen/page"):
        DINConfig().embeddings(layout)
    matched = model(DINConfig(targets={"seen/page": "item"}), layout=layout)
    assert {spec.name for spec, _ in matched.lookups.tables()} == {"user", "item", "tags", "page"}
    with pytest.raises(ConfigError, match="seen is 4 wide and what it is matched with 7"):
        model(DINConfig(targets={"seen/page": "item"}), layout=layout, dims={"item": 7})
