"""What ranks amount to, by segment."""

from __future__ import annotations

import json

import polars as pl

from ctrgate.models.next_item import Items
from ctrgate.ranking_report import ranking_section
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.ranked import measure_ranks

ITEMS = Items(
    target="item",
    history="history/item",
    aligned=("history/item",),
    table="item",
    num_rows=9,
    max_length=5,
    seen=None,
)


def test_rows_without_a_value_of_a_segment_are_a_line_of_their_own_that_the_page_can_show() -> None:
    device = ["phone", None, None, "desk", None]
    rows = pl.DataFrame({"target": [2, 3, 2, 4, 5], "rank": [1, 3, 1, 2, 0], "segment:device": device})
    found = measure_ranks(rows, objective=NextItemConfig(cutoffs=(1,)), items=ITEMS, groups=None, seed=0)
    written = json.loads(json.dumps(found))
    lines = written["segments"]["device"]["lines"]
    assert [(line["value"], line["num_rows"]) for line in lines] == [("missing", 3), ("phone", 1), ("desk", 1)]
    assert lines[0]["ranking"]["hit_rate@1"]["value"] == 1 / 3
    assert "<td>missing</td>" in "".join(ranking_section("test", written, first=True).parts)
