"""Workers started by Ray: killed workers, a killed driver, a signal, and errors of a worker's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ctrgate import prepare, train
from ctrgate.config import load
from tests.cluster.test_workers import rows, state, write

pytestmark = pytest.mark.slow
LONG = ("train.epochs=30", "train.strikes=99", "train.checkpoint_every=4", "train.workers=2")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file, and what an undisturbed run of it in one process ends with."""
    folder = tmp_path_factory.mktemp("ray")
    for seed, (split, number) in enumerate({"train": 1012, "valid": 203, "test": 101}.items()):
        rows(number, seed=seed).write_parquet(folder / f"{split}.parquet")
    path = write(folder, "fused")
    prepare.run(load(path, prepare.Config))
    train.run(load(path, train.Config, ["name=undisturbed", *LONG[:-1]]))
    return path


def begun(path: Path, run: str, *overrides: str) -> subprocess.Popen[str]:
    """Train with relative paths, as users do; Ray's workers are born elsewhere."""
    places = ("runs=runs", "prepare.into=prepared")
    command = [sys.executable, "-m", "ctrgate", "train", path.name, f"name={run}", *places, *LONG, *overrides]
    return subprocess.Popen(command, cwd=path.parent, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends by itself has said."""
    try:
        return process.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def processes_of(process: subprocess.Popen[str]) -> dict[int, str]:
    """A driver's children and theirs, with their command lines: all of its Ray."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    found = {process.pid: ""}
    while more := {int(pid): args for pid, ppid, args in lines if int(ppid) in found and int(pid) not in found}:
        found |= more
    del found[process.pid]
    return found


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The training workers that a driver has started."""
    return [pid for pid, args in processes_of(process).items() if "RayTrainWorker" in args]


def when(path: Path, run: str, *, epochs: int) -> None:
    """Wait until a run has ended that many epochs."""
    folder = load(path, train.Config, [f"name={run}"]).folder
    for _ in range(4800):
        if (folder.path / "metrics.jsonl").exists() and len(folder.metrics()) >= epochs:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{run} has not ended {epochs} epochs in eight minutes")


def assert_as_undisturbed(path: Path, run: str) -> None:
    whole, found = state(path, "undisturbed"), state(path, run)
    assert whole.keys() == found.keys()
    for key in whole:
        torch.testing.assert_close(found[key], whole[key], atol=1e-4, rtol=1e-3)
    epochs = [line["epoch"] for line in load(path, train.Config, [f"name={run}"]).folder.metrics()]
    assert epochs == list(range(1, 31))


def test_killed_workers_start_again_from_the_last_checkpoint(path: Path) -> None:
    process = begun(path, "worker")
    for epochs in (2, 6):
        when(path, "worker", epochs=epochs)
        os.kill(workers_of(process)[epochs % 2], signal.SIGKILL)
    said = ended(process)
    assert process.returncode == 0, said
    assert said.count("resumed after step") == 2
    assert_as_undisturbed(path, "worker")


@pytest.mark.parametrize("what", ["driver", "ray"])
def test_a_killed_driver_and_a_killed_ray_lose_nothing(path: Path, what: str) -> None:
    process = begun(path, what)
    when(path, what, epochs=2)
    for pid in [process.pid] if what == "driver" else processes_of(process):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    process = begun(path, what)
    said = ended(process)
    assert process.returncode == 0, said
    assert "resumed after step" in said
    assert_as_undisturbed(path, what)


def test_a_signal_saves_the_state_of_all_workers(path: Path) -> None:
    process = begun(path, "signal")
    when(path, "signal", epochs=2)
    process.send_signal(signal.SIGTERM)
    said = ended(process)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "the same command goes on from there" in said
    process = begun(path, "signal")
    ended(process)
    assert_as_undisturbed(path, "signal")


def test_a_worker_s_own_error_is_what_the_user_reads(path: Path) -> None:
    process = begun(path, "steep", "train.learning_rate=1e30", "train.clip_norm=null", "cluster.max_failures=0")
    said = ended(process)
    assert process.returncode == 2
    assert "the loss is no longer finite in epoch 1" in said
    assert "Traceback" not in said
