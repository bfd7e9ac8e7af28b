"""The benchmark of peers: turns, their processor time, its table, and a peer that cannot be measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.environments import InstallError, environment
from benchmarks.peers.frappe import frappe_table
from benchmarks.peers.known import PEERS
from benchmarks.peers.side import tell, told
from benchmarks.speed.sides import SIDES
from benchmarks.speed.turns import Measured, SideError, take_turns


def _side(body: str) -> tuple[str, ...]:
    """The command of a side whose turn is an expression."""
    return (sys.executable, "-c", f"from benchmarks.speed.turns import serve\n{body}")


WORKS = _side("serve(lambda: lambda: print('a word of its own') or 100)")
CANNOT_BEGIN = _side("def begin():\n    import no_such_library\nserve(begin)")
FAILS = _side("serve(lambda: lambda: 1 // 0)")
DIES = _side("import os\nserve(lambda: lambda: os._exit(3))")
WITH_A_CHILD = _side(
    "import subprocess, sys\n"
    "work = 'sum(range(30_000_000))'\n"
    "serve(lambda: lambda: subprocess.run([sys.executable, '-c', work]) and 1)"
)
WITH_ONE_THAT_STAYS = _side(
    "import subprocess, sys\n"
    "work = 'sum(range(30_000_000)); print(); input()'\n"
    "start = lambda: subprocess.Popen([sys.executable, '-c', work], stdin=-1, stdout=-1)\n"
    "serve(lambda: lambda: start().stdout.read(1) and 1)"
)


def test_a_side_works_only_when_told_and_may_print() -> None:
    found = take_turns({"a": WORKS, "b": WORKS}, threads=1, turns=2)
    assert {name: (side.rows, len(side.seconds), len(side.cpu_seconds)) for name, side in found.items()} == {
        "a": (100, 2, 2),
        "b": (100, 2, 2),
    }


@pytest.mark.parametrize("command", [WITH_A_CHILD, WITH_ONE_THAT_STAYS])
def test_the_processor_time_of_processes_that_a_side_starts_is_its_own(command: tuple[str, ...]) -> None:
    (seconds,) = take_turns({"a": command}, threads=1, turns=1, warm_up=False)["a"].cpu_seconds
    assert seconds > 0.1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (CANNOT_BEGIN, "bad: ModuleNotFoundError: No module named 'no_such_library'"),
        (FAILS, "bad: ZeroDivisionError: "),
        (DIES, "bad: its process has ended with 3"),
    ],
)
def test_a_side_that_fails_says_why(command: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SideError) as caught:
        take_turns({"good": WORKS, "bad": command}, threads=1, turns=1)
    assert str(caught.value).startswith(reason)


def test_a_stage_that_fails_is_told_below_the_others() -> None:
    stages = {"train": {"ctrgate": WORKS, "peer": WORKS}, "evaluate": {"ctrgate": WORKS, "peer": CANNOT_BEGIN}}
    lines = peers.compare("peer", stages, threads=1, turns=1).splitlines()
    assert [line.split("|")[1:3] for line in lines[2:4]] == [[" train ", " ctrgate "], [" train ", " peer "]]
    assert "to peer" in lines[0]
    assert lines[2].split("|")[7].strip() != ""
    assert lines[4:] == ["- evaluate was not measured: peer: ModuleNotFoundError: No module named 'no_such_library'"]


def test_a_peer_that_cannot_be_installed_is_told_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(folder: Path, requirements: object) -> Path:
        assert requirements
        raise InstallError(f"ERROR: nothing fits {folder.name}")

    monkeypatch.setattr(peers, "environment", install)
    monkeypatch.setattr(peers, "make_rows", lambda _, num_rows: num_rows)
    assert peers.main(["--peers", "fuxictr", "recbole", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "not installed: ERROR: nothing fits fuxictr" in said
    assert "not installed: ERROR: nothing fits recbole" in said


def test_pip_says_why_it_cannot_and_nothing_counts_as_installed(tmp_path: Path) -> None:
    wanted = [str(tmp_path / "no-such-wheel.whl")]
    with pytest.raises(InstallError, match="no-such-wheel"):
        environment(tmp_path / "peer", wanted)
    assert (tmp_path / "peer" / "bin" / "python").exists()
    assert not (tmp_path / "peer" / "installed.txt").exists()


def test_what_is_compared_exists() -> None:
    for peer in PEERS.values():
        source = (Path(peers.__file__).parent / f"{peer.module}.py").read_text()
        assert set(peer.ours) == set(peer.theirs)
        for stage, functions in peer.theirs.items():
            assert set(peer.ours[stage]) <= set(SIDES[stage])
            assert all(f"def {function}(folder: Path) -> Turn:" in source for function in functions.values())


def test_what_turns_tell_adds_up(tmp_path: Path) -> None:
    (tmp_path / "peers").mkdir()
    tell(tmp_path, "a", epochs=3)
    tell(tmp_path, "a", test_auc=0.75)
    assert (told(tmp_path, "a"), told(tmp_path, "b")) == ({"epochs": 3, "test_auc": 0.75}, {})


def test_a_run_on_frappe_is_told_by_epoch() -> None:
    runs = {"ctrgate": (10.0, 5.0), "peer": (60.0, 45.0)}
    measured = {
        side: Measured(rows=1, seconds=[clock], cpu_seconds=[cpu], peak_mb=7) for side, (clock, cpu) in runs.items()
    }
    said = {"ctrgate": {"epochs": 5.0, "test_auc": 0.9851}, "peer": {"epochs": 15.0, "test_auc": 0.985}}
    assert frappe_table(measured, said).splitlines()[2:] == [
        "| ctrgate | 5 | 2.0 | 1.0 | 7 | 3.0 | 0.98510 |",
        "| peer | 15 | 4.0 | 3.0 | 7 |  | 0.98500 |",
    ]
