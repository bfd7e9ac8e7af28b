"""Rollback, and aliases that somebody has moved by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ctrgate import succession
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.succession import Move, append, moves_of


@pytest.fixture
def begun(world: Any) -> Any:
    """``second`` is the champion, after ``first``."""
    world.promote("first")
    world.promote("second", "promote.rules.parity=false", against="first")
    return world


def test_champion_and_previous_change_places_and_it_is_recorded(begun: Any) -> None:
    told = begun("rollback", "second")
    assert (told["champion"], told["previous"]) == (1, 2)
    assert begun.aliases() == {"champion": "first", "previous": "second"}
    record = begun.record("second", "rollback.json")
    assert (record["format_version"], record["verdict"]) == (1, "rolled back")
    assert (record["champion_before"]["run"], record["champion_after"]["run"]) == ("second", "first")
    assert begun.registry.version(2).tags["ctrgate.withdrawn_for"] == "1"
    assert [move.kind for move in moves_of(begun.registry)] == ["promotion", "promotion", "rollback"]


def test_a_version_to_withdraw_makes_it_safe_to_repeat(begun: Any) -> None:
    for _ in range(2):
        assert begun("rollback", "second", "promote.withdraw=2")["champion"] == 1
    assert begun("rollback", "second")["champion"] == 2  # without, it goes back and forth
    begun("rollback", "second")
    begun.promote("third", "promote.rules.parity=false", against="first")
    assert begun.aliases() == {"champion": "third", "previous": "first"}


def test_without_a_champion_before_there_is_nothing_to_roll_back(world: Any) -> None:
    with pytest.raises(ConfigError, match="no champion"):
        world("rollback", "first")
    world.promote("first")
    with pytest.raises(ConfigError, match="no champion before version 1"):
        world("rollback", "first")


def test_one_that_was_cut_short_is_completed_and_no_more(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ctrgate.rollback.project", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begun("rollback", "second")
    assert begun.aliases()["champion"] == "second"
    assert begun("rollback", "second")["champion"] == 1
    assert begun.aliases() == {"champion": "first", "previous": "second"}


def test_a_promotion_that_was_cut_short_is_completed_by_whoever_comes_next(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ctrgate.promote.project", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begun.promote("third", "promote.rules.parity=false", against="second")
    assert begun.aliases()["champion"] == "second"
    assert begun("rollback", "second")["champion"] == 2  # third came first, and is withdrawn
    assert begun.aliases() == {"champion": "second", "previous": "third"}


def test_aliases_moved_by_hand_are_taken_as_they_are(begun: Any) -> None:
    begun.registry.point("champion", 1)
    with pytest.raises(HeldBackError, match="compared with version 2"):
        begun.promote("third", "promote.rules.parity=false", against="second")
    begun.promote("third", "promote.rules.parity=false", against="first")
    assert begun.aliases() == {"champion": "third", "previous": "first"}
    assert [move.kind for move in moves_of(begun.registry)] == ["promotion", "promotion", "by hand", "promotion"]


def test_a_move_that_starts_from_a_champion_who_has_left_counts_for_nothing(begun: Any) -> None:
    registry = begun.registry
    assert not append(registry, Move(kind="promotion", start=1, to=2, previous=1))
    assert not append(registry, Move(kind="rollback", start=None, to=1, previous=None))
    assert begun.aliases()["champion"] == "second"
    assert [move.to for move in moves_of(registry)] == [1, 2]


def test_whoever_sets_aliases_late_sees_that_another_has_come_and_puts_it_right(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process on a server stalls between reading the order and setting the alias; another one moves meanwhile."""
    registry, point, meanwhile = begun.registry, type(begun.registry).point, []

    def stalled(self: Any, alias: Any, number: int | None) -> None:
        if alias == "champion" and not meanwhile:
            meanwhile.append(append(registry, Move(kind="rollback", start=1, to=2, previous=1)))
            succession.project(registry)
            assert begun.aliases() == {"champion": "second", "previous": "first"}
        point(self, alias, number)

    assert append(registry, Move(kind="rollback", start=2, to=1, previous=2))
    monkeypatch.setattr(type(registry), "point", stalled)
    succession.project(registry)
    assert meanwhile == [True]
    assert begun.aliases() == {"champion": "second", "previous": "first"}
