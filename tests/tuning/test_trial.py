"""A trial's process, followed by its metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ctrgate import tune
from ctrgate.cluster.trial import TrialProcess

# A trial's process

TRAINING = """
import json, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "pid").write_text(str(__import__("os").getpid()))
def save(epoch, finished=False):
    (folder / "checkpoints/step").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints/step/progress.json").write_text(json.dumps({"epoch": epoch, "finished": finished}))
    (folder / "checkpoints/last").write_text("step")
def stop(*_):
    (folder / "told").touch()
    raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
"""


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., TrialProcess]:
    """A trial whose training is a few lines of Python."""
    folder = tmp_path / "trials" / "000"
    folder.mkdir(parents=True)

    def begin(script: str, *, reported: int = 0, epochs_before: int = 0) -> TrialProcess:
        given = {
            "folder": str(folder),
            "command": [sys.executable, "-c", TRAINING + script, str(folder)],
            "environment": {},
            "cwd": str(tmp_path),
            "stop_file": str(tmp_path / ".stop"),
            "metric": "auc",
            "sign": 1,
            "epochs_before": epochs_before,
            "reported": reported,
        }
        trial = TrialProcess.__new__(TrialProcess)  # without Ray's own beginnings
        trial.setup({"trial": 0, "given": {0: given}})
        return trial

    return begin


EPOCH = '(folder / "metrics.jsonl").open("a").write(json.dumps({{"epoch": {0}, "valid/auc": {1}}}) + "\\n")\n'


def test_a_trial_gives_its_epochs_and_then_its_end(process: Callable[..., TrialProcess]) -> None:
    trial = process(EPOCH.format(2, 0.5) + EPOCH.format(3, 0.75), epochs_before=1)
    steps = [trial.step() for _ in range(2)]
    assert [(step["epoch"], step["value"]) for step in steps] == [(1, 0.5), (2, 0.75)]
    last = trial.step()
    assert (last["ended"], last["done"]) == ("finished", True)


def test_epochs_that_were_reported_are_not_given_again(process: Callable[..., TrialProcess]) -> None:
    trial = process(EPOCH.format(1, 0.5) + EPOCH.format(2, 0.75), reported=1)
    assert trial.step()["epoch"] == 2
    assert trial.step()["ended"] == "finished"


@pytest.mark.parametrize(("script", "how"), [("raise SystemExit(2)", "failed"), ("raise SystemExit(9)", "broken")])
def test_an_error_is_told_by_its_last_line(process: Callable[..., TrialProcess], script: str, how: str) -> None:
    last = process("print('well')\nprint('no more room', flush=True)\n" + script).step()
    assert (last["ended"], last["reason"]) == (how, f"exit code {2 if how == 'failed' else 9}: no more room")


def test_a_value_that_is_no_number_ends_the_trial(process: Callable[..., TrialProcess]) -> None:
    last = process(EPOCH.format(1, "float('nan')") + "time.sleep(60)").step()
    assert (last["ended"], last["reason"]) == ("failed", "auc on valid is nan")


def test_a_stopped_trial_has_saved_what_it_reported(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process(EPOCH.format(1, 0.5) + "time.sleep(1)\nsave(1)\ntime.sleep(60)")
    assert trial.step()["epoch"] == 1
    trial.cleanup()
    folder = tmp_path / "trials" / "000"
    assert json.loads((folder / "checkpoints/step/progress.json").read_text())["epoch"] == 1
    assert (folder / "told").exists()


def test_a_trial_that_is_through_ends_by_itself(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process("save(1, finished=True)\n" + EPOCH.format(1, 0.5) + "time.sleep(1)\n(folder / 'logged').touch()")
    trial.step()
    trial.cleanup()
    folder = tmp_path / "trials" / "000"
    assert (folder / "logged").exists()
    assert not (folder / "told").exists()


def test_the_stop_file_ends_a_trial(process: Callable[..., TrialProcess], tmp_path: Path) -> None:
    trial = process("(folder / 'ready').touch()\ntime.sleep(60)")
    folder = tmp_path / "trials" / "000"
    while not (folder / "ready").exists():
        time.sleep(0.05)
    (tmp_path / ".stop").touch()
    assert trial.step()["ended"] == "interrupted"
    assert (folder / "told").exists()


def test_a_training_dies_with_its_worker(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'ctrgate.ward', "
        "str(os.getpid()), sys.executable, '-c', 'import os, pathlib, time; "
        'pathlib.Path("pid").write_text(str(os.getpid())); time.sleep(60)\']); time.sleep(60)'
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tune.__file__).parents[1])}
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    worker.kill()
    worker.wait()
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
