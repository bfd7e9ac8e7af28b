"""Two real processes that promote at the same moment: one wins, and both know it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctrgate.registry import Registry
from ctrgate.succession import moves_of, settle
from ctrgate.tracking import TrackingConfig
from tests.tracking.server import served

RACER = Path(__file__).with_name("racer.py")


def race(tracking: TrackingConfig, folder: Path, *, rounds: int) -> None:
    """Let two processes race for a champion's place, and see that each round had one winner."""
    registry = Registry(tracking, model="raced")
    for number in range(1, 2 + 2 * rounds):
        registry.create("raced", source=f"s3://nowhere/{number}", run_id="", tags={})
    registry.point("champion", 1)
    settle(registry)
    (folder / "meeting").mkdir()
    command = [sys.executable, str(RACER), tracking.uri, str(folder / "meeting")]
    racers = [
        subprocess.Popen([*command, str(who), str(rounds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for who in (0, 1)
    ]
    told = [racer.communicate(timeout=300) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], told
    won = [json.loads(out) for out, _ in told]
    assert [sum(each) for each in zip(*won, strict=True)] == [1] * rounds
    champions = [2 + 2 * number + won[1][number] for number in range(rounds)]
    moves = moves_of(registry)
    assert [move.to for move in moves] == [1, *champions]
    assert all(move.done for move in moves)
    assert len(registry.entries("raced.moves")) == 1 + 2 * rounds  # the losers' moves are kept, and count for nothing


def test_of_two_promotions_at_once_one_wins(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    race(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"), tmp_path, rounds=4)


@pytest.mark.slow
def test_of_two_commands_at_once_one_wins_and_the_other_is_held(world: Any) -> None:
    world.promote("first")
    shutil.copy(world.folder / "mlflow.db", world.folder / "kept.db")
    for number in range(3):
        world = world.another_store(f"{number}.db", like=world.folder / "kept.db")
        commands = []
        for name in ("second", "third"):
            comparison = f"promote.comparison={world.compared(name, 'first')}"
            arguments = ["promote", str(world.run_file), *world.overrides(name), comparison]
            commands.append([sys.executable, "-m", "ctrgate", *arguments])
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
        told = [process.communicate(timeout=300)[1] for process in processes]
        assert sorted(process.returncode for process in processes) == [0, 3], told
        winner, loser = ("second", "third") if processes[0].returncode == 0 else ("third", "second")
        assert world.aliases() == {"champion": winner, "previous": "first", "challenger": loser}
        assert (world.record(winner)["verdict"], world.record(loser)["verdict"]) == ("promoted", "held")
        assert not world.record(loser)["rules"]["champion"]["passed"]


@pytest.fixture
def server(empty_store: Path, tmp_path: Path) -> Iterator[TrackingConfig]:
    """A real MLflow server of several processes."""
    shutil.copy(empty_store, tmp_path / "server.db")
    with served(tmp_path, workers=2) as server:
        yield server.tracking


@pytest.mark.slow
def test_on_a_server_too(world: Any, server: TrackingConfig, tmp_path: Path) -> None:
    race(server, tmp_path, rounds=10)
    served = type(world)(folder=world.folder, run_file=world.run_file, tracking=server)
    served.promote("first")
    assert served.promote("second", against="first")["champion"] == 2
    assert served.promote("second", against="first")["changed"] is False
    assert served("rollback", "second")["champion"] == 1
    assert served.aliases() == {"champion": "first", "previous": "second"}
    assert served.champion.source.startswith("mlflow-artifacts:")
    copied = sorted(path.name for path in (tmp_path / "served").rglob("tables.safetensors"))
    assert len(copied) == 2
