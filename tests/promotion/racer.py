"""One of two processes that want the champion's place at the same moment, round after round; started by a test.

Arguments: the store's URI, a folder to meet in, 0 or 1, and the number of rounds. In every other round they do not wait
for turns, as processes on two machines with one server do not.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from ctrgate.registry import Registry
from ctrgate.succession import Move, append, project, settle, turn
from ctrgate.tracking import TrackingConfig


def meet(folder: Path, name: str, *, who: int) -> None:
    """Go on once both are here."""
    (folder / f"{name}-{who}").touch()
    give_up = time.monotonic() + 60
    while not (folder / f"{name}-{1 - who}").exists():
        if time.monotonic() > give_up:
            sys.exit("the other one has not come")
        time.sleep(0.001)


def main(uri: str, folder: Path, who: int, rounds: int) -> None:
    registry = Registry(TrackingConfig(uri=uri, timeout_seconds=60), model="raced")
    won = []
    for number in range(rounds):
        champion = registry.aliases()["champion"]
        version = 2 + 2 * number + who
        meet(folder, f"start-{number}", who=who)
        with turn(registry) if number % 2 else nullcontext():
            settle(registry)
            move = Move(kind="promotion", start=champion, to=version, previous=champion, token=str(version))
            won.append(append(registry, move))
            project(registry)
        meet(folder, f"end-{number}", who=who)
        settle(registry)
        meet(folder, f"settled-{number}", who=who)
        aliases = registry.aliases()
        assert aliases["previous"] == champion, aliases
        assert (aliases["champion"] == version) == won[-1], aliases
        meet(folder, f"looked-{number}", who=who)
    sys.stdout.write(json.dumps(won) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
