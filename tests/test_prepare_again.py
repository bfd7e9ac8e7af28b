"""When a prepared folder is left alone, made anew, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.prepared import Prepared
from ctrgate.prepare import run
from ctrgate.progress import console
from tests.preparing import FEATURES, FRAME, config, encoded, left, made_at, written


def test_an_up_to_date_folder_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    first = run(config(tmp_path))
    before = made_at(tmp_path)
    with console.capture() as said:
        assert run(config(tmp_path)) == first | {"up_to_date": True}
    assert made_at(tmp_path) == before
    assert "up to date" in said.get()


def test_other_rows_other_settings_or_a_damaged_part_make_it_anew(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    first = run(config(tmp_path))
    written(tmp_path, FRAME.reverse())
    second = run(config(tmp_path))
    assert second["encoder"] != first["encoder"]
    assert not run(config(tmp_path, features=FEATURES[:1]))["up_to_date"]
    part = Prepared.open(tmp_path / "out").files("valid")[0]
    part.write_bytes(part.read_bytes()[:-1])
    assert not run(config(tmp_path, features=FEATURES[:1]))["up_to_date"]
    assert Prepared.open(tmp_path / "out").num_rows("valid") == 2


def test_another_joined_table_makes_it_anew(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    joins = [{"files": str(tmp_path / "users.csv"), "on": "user"}]
    (tmp_path / "users.csv").write_text("user,city\n1,a\n")
    features = [*FEATURES, {"kind": "categorical", "name": "city"}]
    run(config(tmp_path, joins=joins, features=features))
    assert encoded(Prepared.open(tmp_path / "out"), "train")["city"].to_list() == [
        3,
        2,
        3,
        2,
        2,
        2,
    ]
    (tmp_path / "users.csv").write_text("user,city\n1,a\n2,b\n")
    assert not run(config(tmp_path, joins=joins, features=features))["up_to_date"]


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    with console.capture() as said:
        assert run(config(tmp_path, dry_run=True))["dry_run"]
    assert "would read" in said.get()
    assert "would write" in said.get()
    assert left(tmp_path) == []


def test_a_folder_that_is_not_there_asks_for_prepare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none does not exist; run ctrgate prepare"):
        Prepared.open(tmp_path / "none")


def test_a_folder_made_by_other_settings_is_refused(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    Prepared.open(tmp_path / "out", dataset=config(tmp_path).dataset)
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(features\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path, features=FEATURES[:1]).dataset)


def test_a_folder_made_before_a_setting_was_added_is_still_up_to_date(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    text = (tmp_path / "out" / "manifest.json").read_text() + (tmp_path / "out/encoder/encoder.json").read_text()
    assert not any(name in text for name in ("train_rows", "unknown_when_scoring", '"log"'))
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(train_rows\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path, train_rows="last").dataset)
    run(config(tmp_path, train_rows="last"))
    with pytest.raises(ConfigError, match=r"prepared with other dataset settings \(train_rows\)"):
        Prepared.open(tmp_path / "out", dataset=config(tmp_path).dataset)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 99}, "has format 99, this is format 1"),
        ({"splits": {"train": 3}}, "manifest.json cannot be read"),
        ({"layout": {}}, "manifest.json cannot be read"),
    ],
)
def test_a_manifest_of_another_format_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=said):
        Prepared.open(tmp_path / "out")


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    written(tmp_path, FRAME)
    run(config(tmp_path))
    Prepared.open(tmp_path / "out").files("test")[0].unlink()
    with pytest.raises(ArtifactError, match=r"part-00000-000\.parquet is missing or not as it was written"):
        Prepared.open(tmp_path / "out")
