"""Promotion: who becomes champion, what is left of it where, and that a kill anywhere changes nothing of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctrgate.artifact.manifest import Manifest, identity
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.registry import champion_of, versions_of


def test_the_first_model_needs_no_comparison_and_the_next_ones_move_the_aliases(world: Any) -> None:
    assert champion_of(world.tracking, model="small") is None
    told = world("promote", "first", "promote.rules.calibration={low: .1, high: 10}")
    assert (told["verdict"], told["version"], told["champion"], told["previous"]) == ("promoted", 1, 1, None)
    assert world.aliases() == {"champion": "first"}
    world.promote("second", against="first")
    assert world.aliases() == {"champion": "second", "previous": "first"}
    world.promote("third", against="second")
    assert world.aliases() == {"champion": "third", "previous": "second"}
    assert [version.version for version in versions_of(world.tracking, model="small")] == [1, 2, 3]


def test_a_promotion_is_told_by_its_record_the_version_and_the_run(world: Any) -> None:
    world.promote("first")
    world.promote("second", against="first")
    record, champion = world.record("second"), world.champion
    assert (record["format_version"], record["verdict"], record["version"]) == (1, "promoted", 2)
    assert record["champion_before"]["run"] == "first"
    assert record["champion_after"] == {"version": 2, "run": "second", "artifact": champion.identity}
    assert record["sentence"].startswith("B is better by 0.0020")
    assert set(record["rules"]) == {"parity", "auc", "log_loss", "calibration", "segments", "scores", "champion"}
    assert all(rule["passed"] and rule["limit"] and rule["told"] for rule in record["rules"].values())
    assert champion.tags["ctrgate.verdict"] == "promoted"
    assert champion.tags["ctrgate.rule.auc"].startswith("holds: AUC differs by +0.00200 [+0.00102, +0.00298]")
    client = world.registry.client
    run = client.get_run(client.get_model_version("small", "2").run_id)
    assert run.data.metrics["promotion/auc/value"] == 0.002
    assert run.data.metrics["promotion/promoted"] == 1
    copied = Path(champion.source)
    assert identity(copied) == champion.identity
    Manifest.read(copied)
    (logged,) = (path for path in copied.parents[1].rglob("promotion.json"))
    assert json.loads(logged.read_text()) == record
    assert champion.artifact == str(world.folder / "runs/second/artifact")


def test_a_held_challenger_is_a_version_without_tables_and_the_champion_stays(world: Any) -> None:
    world.promote("first")
    for _ in range(2):  # again, it ends the same
        with pytest.raises(HeldBackError, match=r"(?s)version 2 of small.*stays version 1.*scores: .* is 0\.3"):
            world.promote("second", against="first", psi=0.3)
    assert world.aliases() == {"champion": "first", "challenger": "second"}
    assert world.record("second")["verdict"] == "held"
    held = world.registry.version(2)
    assert held.tags["ctrgate.verdict"] == "held"
    assert not Path(held.source).exists()
    assert world.promote("second", "promote.rules.scores.max_psi=0.5", against="first", psi=0.3)["champion"] == 2
    assert world.aliases() == {"champion": "second", "previous": "first"}


def test_run_again_after_success_it_changes_nothing(world: Any) -> None:
    world.promote("first")
    assert world.promote("second", against="first")["changed"]
    before = everything(world)
    again = world.promote("second", against="first")
    assert (again["verdict"], again["changed"], again["champion"]) == ("promoted", False, 2)
    assert everything(world) == before


def test_a_champion_without_a_comparison_and_a_comparison_without_a_champion_are_refused(world: Any) -> None:
    with pytest.raises(ConfigError, match="no champion yet"):
        world.promote("second", against="first")
    world.promote("first")
    with pytest.raises(ConfigError, match=r"has a champion, version 1 .*compare with it .*first/artifact"):
        world.promote("second")
    with pytest.raises(ConfigError, match=r"A is the artifact .*third.* not the champion of small, version 1"):
        world.promote("second", against="third")
    with pytest.raises(ConfigError, match=r"B is the artifact .*third.* not .*second as it was exported"):
        world("promote", "second", f"promote.comparison={world.compared('third', 'first')}")
    assert world.aliases() == {"champion": "first"}


def everything(world: Any) -> dict[str, Any]:
    """All that a promotion may change, but for times."""
    registry = world.registry
    return {
        "aliases": world.aliases(),
        "versions": [(each.version, each.run, dict(each.tags)) for each in registry.versions()],
        "moves": [dict(each.tags) for each in registry.entries("small.moves")],
        "records": [
            world.record(name)
            for name in ("first", "second")
            if (world.folder / "runs" / name / "promotion.json").exists()
        ],
    }
