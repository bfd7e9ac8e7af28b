"""Segments of compared rows, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from ctrgate.comparison.rows import Rows
from ctrgate.comparison.segments import segments_of
from ctrgate.config import load
from ctrgate.features.prepared import Prepared
from ctrgate.metrics.comparison import Segment
from ctrgate.prepare import Config, run


def rows_of(tmp_path: Path) -> Rows:
    """Six train rows and four test rows with users, a segment, a list of tags and a history."""
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1, 1, 1, 2, 1, 2, 3, 3],
            "item": ["a", "b", "a", "b", "a", "b", "a", "new", "new", "b"],
            "tags": [["x"], ["y"], [], ["x", "y"], ["x"], ["y"], ["x"], ["x", "q", "q", "q"], ["q"], []],
            "seen": [["a"]] * 6 + [["a"] * 5, [], ["b", "new"], ["new"]],
            "hash": list(range(10)),
            "device": ["tv"] * 6 + ["phone", None, "tv", "phone"],
            "click": [0, 1] * 5,
        }
    )
    frame.write_parquet(tmp_path / "raw.parquet")
    features: list[dict[str, Any]] = [
        {"kind": "categorical", "name": "user"},
        {"kind": "categorical", "name": "item"},
        {"kind": "categorical", "name": "hash", "encoding": {"kind": "hash", "num_buckets": 4}},
        {"kind": "bag", "name": "tags"},
        {
            "kind": "sequence",
            "name": "history",
            "max_length": 9,
            "members": [{"kind": "categorical", "name": "item", "column": "seen", "share": "item"}],
        },
    ]
    dataset = {
        "name": "d",
        "files": str(tmp_path / "raw.parquet"),
        "split": {"by": "order", "valid": 0.0, "test": 0.4},
        "labels": [{"name": "click"}],
        "roles": {"group": "user", "segments": ["device"]},
        "features": features,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"dataset": dataset, "prepare": {"into": str(tmp_path / "out")}}))
    run(load(tmp_path / "run.yaml", Config))
    return Rows(prepared=Prepared.open(tmp_path / "out"), split="test", label="click")


def values(segment: Segment) -> list[str]:
    return [segment.names[code] for code in segment.codes]


def test_each_row_is_in_the_part_that_its_user_its_history_and_its_ids_say(tmp_path: Path) -> None:
    found = segments_of(rows_of(tmp_path))
    assert list(found) == ["device", "user's rows in train", "events in history", "unknown ids"]
    assert values(found["device"]) == ["phone", "missing", "tv", "phone"]
    assert values(found["user's rows in train"]) == ["5 to 19", "1 to 4", "0", "0"]
    assert values(found["events in history"]) == ["5 to 19", "0", "1 to 4", "1 to 4"]
    # Four features with a vocabulary: user, item, tags, history. Unknown of the rows: nothing; the item and 3 of 4
    # tags; user, item, the tag and half of the history; the user and the history. Hashes know every value.
    assert values(found["unknown ids"]) == ["none", "up to 50 %", "more than 50 %", "up to 50 %"]
    assert [found[name].ordered for name in found] == [False, True, True, True]
