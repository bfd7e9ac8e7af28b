"""Who follows whom as champion: an order of moves that every process sees alike, and the aliases made of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ctrgate.errors import ConfigError
from ctrgate.files import locked
from ctrgate.registry import Registry, busy
from ctrgate.tracking import database

__all__ = ["Move", "append", "last_of", "moves_of", "project", "settle", "turn"]

Kind = Literal["promotion", "rollback", "by hand"]
_KIND, _START, _TO, _PREVIOUS, _TOKEN, _DONE = (
    f"ctrgate.{name}" for name in ("move", "start", "to", "previous", "token", "done")
)
_NONE = "none"
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Move:
    """One change of the champion.

    Args:
        kind: Why; ``by hand`` records that somebody else has set the aliases.
        start: The champion that it takes for granted; None for none.
        to: The champion afterwards.
        previous: What ``previous`` names afterwards.
        token: Tells what was decided from what, so that a repetition knows its own.
        number: Its place in the order; 0 before it has one.
        done: Whether the aliases were seen to say so.
    """

    kind: Kind
    start: int | None
    to: int
    previous: int | None
    token: str = ""
    number: int = 0
    done: bool = False


@contextmanager
def turn(registry: Registry) -> Iterator[None]:
    """For a store in a file, wait until no other process of this machine moves the model; on a server, go on at once.

    Raises:
        ConfigError: Where another one holds it for two minutes.
    """
    place = database(registry.config.uri)
    with ExitStack() as stack:
        if place is not None:
            give_up = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    stack.enter_context(
                        locked(place.with_name(f".{place.name}.{registry.model}.lock"), what=f"{registry.model}")
                    )
                    break
                except ConfigError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(0.05)
        yield


def moves_of(registry: Registry) -> list[Move]:
    """The moves that count, in order: a move whose start was not the champion any more changes nothing, and is none."""
    champion: int | None = None
    counted = []
    for move in sorted(map(_read, registry.entries(_ledger(registry))), key=lambda move: move.number):
        if move.start == champion and move.to != champion:
            champion = move.to
            counted.append(move)
    return counted


def settle(registry: Registry) -> Move | None:
    """Bring aliases and moves into line: complete a move that was cut short, or take note of aliases moved by hand.

    Returns:
        The move that was completed, if one was.
    """
    moves = moves_of(registry)
    last = moves[-1] if moves else None
    if last is not None and not last.done:
        project(registry)
        return last
    aliases = registry.aliases()
    champion = aliases.get("champion")
    if champion is not None and champion != (last.to if last else None):
        start = last.to if last else None
        append(registry, Move(kind="by hand", start=start, to=champion, previous=aliases.get("previous")))
        project(registry)
    return None


def append(registry: Registry, move: Move) -> bool:
    """Put a move at the end of the order, and say whether it counts.

    The order is the numbers of the versions of a model beside the registered one: MLflow gives each number once, and
    gives none before the one below it can be read.
    """
    target = registry.client.get_model_version(registry.model, str(move.to))
    tags = {
        _KIND: move.kind,
        _START: _text(move.start),
        _TO: str(move.to),
        _PREVIOUS: _text(move.previous),
        _TOKEN: move.token,
    }
    number = registry.create(_ledger(registry), source=target.source, run_id=target.run_id, tags=tags)
    return any(each.number == number for each in moves_of(registry))


def project(registry: Registry) -> None:
    """Set the aliases as the last move says, and see that no later one came meanwhile."""
    last = moves_of(registry)[-1]
    while True:
        now = registry.aliases()
        # ``previous`` first: a process that ends between the two leaves the old champion under both, and loses neither.
        if now.get("previous") != last.previous:
            registry.point("previous", last.previous)
        if now.get("champion") != last.to:
            registry.point("champion", last.to)
        if now.get("challenger") == last.to:
            registry.point("challenger", None)
        latest = moves_of(registry)[-1]
        if latest.number == last.number:
            break
        last = latest
    if not last.done:
        model, number = _ledger(registry), str(last.number)
        busy(partial(registry.client.set_model_version_tag, model, number, _DONE, "true"))


def last_of(moves: Sequence[Move], *, to: int, token: str) -> Move | None:
    """The last move to a version with a token."""
    return next((move for move in reversed(moves) if move.to == to and move.token == token), None)


def _ledger(registry: Registry) -> str:
    return f"{registry.model}.moves"


def _read(entry: Any) -> Move:
    tags = entry.tags
    return Move(
        kind=tags[_KIND],
        start=_number(tags[_START]),
        to=int(tags[_TO]),
        previous=_number(tags[_PREVIOUS]),
        token=tags[_TOKEN],
        number=int(entry.version),
        done=tags.get(_DONE) == "true",
    )


def _text(number: int | None) -> str:
    return _NONE if number is None else str(number)


def _number(text: str) -> int | None:
    return None if text == _NONE else int(text)
