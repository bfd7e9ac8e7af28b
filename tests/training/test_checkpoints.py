"""What a kill leaves of checkpoints: pointers that agree, and nothing that takes room for good."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from ctrgate import train
from ctrgate.config import load
from ctrgate.training import checkpoint
from tests.training.test_selection import SEARCH
from tests.training.test_train import Stop, assert_same_runs, state, trained

# Of an epoch's 13 steps the last is saved twice: as a step, and once the epoch was judged.
TWICE = {"batch_size": 100, "learning_rate": 0.01, "epochs": 3, "checkpoint_every": 13}


def killed_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Let a write of a checkpoint die; a folder or a pointer has two moments, before and after it is in place."""
    passed = itertools.count()

    def dying(write: Callable[[Path], AbstractContextManager[Path]]) -> Callable[[Path], AbstractContextManager[Path]]:
        @contextmanager
        def written(path: Path) -> Iterator[Path]:
            if next(passed) == moment:
                raise Stop
            with write(path) as temporary:
                yield temporary
            if next(passed) == moment:
                raise Stop

        return written

    for name in ("atomic_folder", "atomic_file"):
        patch.setattr(checkpoint, name, dying(getattr(checkpoint, name)))


def assert_ends_alike(whole: Path, killed: Path, *, moment: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, moment)
        with pytest.raises(Stop):
            trained(killed)
    trained(killed)
    assert_same_runs(whole, killed)
    for which in ("best", "last"):
        folders = [load(path, train.Config).folder.checkpoints.find(which) for path in (whole, killed)]
        assert folders[0].name == folders[1].name, (moment, which)
        one, other = (state(path, which) for path in (whole, killed))
        assert all(torch.equal(one[name], other[name]) for name in one), (moment, which)


def test_a_kill_as_an_epochs_last_checkpoint_is_replaced_keeps_the_best_state(write_run: Callable[..., Path]) -> None:
    """At each moment of the second epoch's judgement; it is the last one of three to be best."""
    best_of_two = {**TWICE, "epochs": 2}
    whole = write_run(under="whole", train=best_of_two)
    trained(whole)
    assert load(whole, train.Config).folder.checkpoints.progress().best_step == 26
    for moment in range(14, 23):
        assert_ends_alike(whole, write_run(under=f"killed{moment}", train=best_of_two), moment=moment)


def test_a_kill_as_the_way_backs_checkpoint_is_replaced_keeps_the_way_back(write_run: Callable[..., Path]) -> None:
    whole = write_run(under="whole", train=TWICE, select=SEARCH)
    trained(whole)
    for moment in range(4, 9):
        killed = write_run(under=f"killed{moment}", train=TWICE, select=SEARCH)
        assert_ends_alike(whole, killed, moment=moment)


def test_what_a_killed_save_left_goes_with_the_next_one(write_run: Callable[..., Path]) -> None:
    path = write_run()
    folder = load(path, train.Config).folder.checkpoints.folder
    running, gone = os.getppid(), subprocess.Popen(["true"])
    gone.wait()
    for process in (running, gone.pid):
        (folder / f".step-00000007.{process}.tmp").mkdir(parents=True)
        (folder / f".step-00000007.{process}.tmp" / "tables-0.safetensors").touch()
        (folder / f".best.{process}.tmp").touch()
    trained(path)
    hidden = {place.name for place in folder.iterdir() if place.name.startswith(".")}
    assert hidden == {f".step-00000007.{running}.tmp", f".best.{running}.tmp"}
