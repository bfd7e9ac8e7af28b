"""Training from its run file: it learns, resumes bit by bit, stops at signals, and refuses what does not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ctrgate import evaluate, prepare, train
from ctrgate.cluster.settings import STOP_FILE
from ctrgate.config import dump, load
from ctrgate.data.reader import Reader
from ctrgate.errors import ArtifactError, ConfigError, DataError, Interrupted
from ctrgate.features.prepared import Prepared
from ctrgate.files import locked
from ctrgate.training import checkpoint, loop
from ctrgate.training.runs import restore
from ctrgate.training.workers import Workers


def trained(path: Path, *overrides: str) -> dict[str, object]:
    return train.run(load(path, train.Config, overrides))


def state(path: Path, which: str = "last") -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint."""
    folder = load(path, train.Config).folder.checkpoints.find(which)
    assert folder is not None
    files = sorted(folder.glob("*.safetensors"))
    return {f"{file.name}:{name}": value for file in files for name, value in load_file(file).items()}


def assert_same_runs(one: Path, other: Path) -> None:
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    ours, theirs = (load(path, train.Config).folder.metrics() for path in (one, other))
    keys = ("step", "epoch", "train/loss", "valid/auc", "valid/log_loss", "learning_rate")
    assert [[line[key] for key in keys] for line in ours] == [[line[key] for key in keys] for line in theirs]


class Stop(Exception):  # noqa: N818
    """What a killed process would be."""


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the loop die in the middle of a step, as at a kill."""
    original, done = loop.Fit.step, []

    def step(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        if len(done) == steps:
            raise Stop
        done.append(1)
        return original(fit, batch, asked=asked)

    monkeypatch.setattr(loop.Fit, "step", step)


@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_a_run_learns_what_was_planted(write_run: Callable[..., Path], rule: str) -> None:
    path = write_run(rule, train={"batch_size": 100, "learning_rate": 0.01, "epochs": 15})
    summary = trained(path)
    assert summary["valid"]["auc"] > 0.75  # user and item alone decide nothing: .5 without their interaction


@pytest.mark.parametrize("rule", ["dense", "fused"])
@pytest.mark.parametrize("steps", [2, 7, 13, 14, 31])
def test_a_killed_run_ends_bit_for_bit_as_an_undisturbed_one(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, rule: str, steps: int
) -> None:
    cut = {
        "batch_size": 100,
        "learning_rate": 0.01,
        "epochs": 4,
        "checkpoint_every": 5,
        "min_improvement": 1,
        "strikes": 9,
    }
    whole, killed = (write_run(rule, under=name, train=cut) for name in ("whole", "killed"))
    trained(whole)
    with monkeypatch.context() as patched:
        killed_after(patched, steps)
        with pytest.raises(Stop):
            trained(killed)
    trained(killed)
    assert_same_runs(whole, killed)


def test_a_signal_at_the_last_step_of_an_epoch_and_a_kill_within_the_rename_lose_nothing(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = write_run(under="whole"), write_run(under="stopped")
    trained(whole)
    with monkeypatch.context() as patched:
        original = loop.Fit.step

        def step(fit: loop.Fit, batch: object, *, asked: bool) -> object:
            if fit.progress.step == 12:  # the 13th and last step of the first epoch
                os.kill(os.getpid(), signal.SIGTERM)
            return original(fit, batch, asked=asked)

        patched.setattr(loop.Fit, "step", step)
        with pytest.raises(Interrupted, match="after step 13"):
            trained(stopped)
    last = load(stopped, train.Config).folder.checkpoints.find("last")
    last.rename(last.with_name(f".{last.name}.old"))  # as a kill between the two renames of a replacement leaves it
    trained(stopped)
    assert_same_runs(whole, stopped)


def test_a_kill_after_the_line_of_an_epoch_does_not_double_it(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of an epoch is saved, its line is written, and the kill comes before the epoch's checkpoint."""
    often = {"batch_size": 100, "learning_rate": 0.01, "epochs": 3, "checkpoint_every": 13}
    whole, killed = (write_run(under=name, train=often) for name in ("whole", "killed"))
    trained(whole)
    with monkeypatch.context() as patched:
        original = checkpoint.Checkpoints.save

        def dying(*values: object, **named: object) -> Path:
            if values[3].epoch == 2 and values[3].batch == 0:
                raise Stop
            return original(*values, **named)

        patched.setattr(checkpoint.Checkpoints, "save", dying)
        with pytest.raises(Stop):
            trained(killed)
    assert len(load(killed, train.Config).folder.metrics()) == 2
    trained(killed)
    assert_same_runs(whole, killed)


def test_a_kill_between_the_pointers_does_not_lose_the_best_state(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every file of a checkpoint written or not: die at each pointer in turn, go on, compare."""
    whole = write_run(under="whole")
    trained(whole)
    original, pointers = checkpoint.atomic_file, []
    for turn in range(5):
        killed = write_run(under=f"killed{turn}")

        def dying(path: Path, turn: int = turn) -> AbstractContextManager[Path]:
            pointers.append(path.name)
            if len(pointers) == 14 + turn:
                raise Stop
            return original(path)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "atomic_file", dying)
            with pytest.raises(Stop):
                trained(killed)
        pointers.clear()
        trained(killed)
        assert_same_runs(whole, killed)
        for which in ("best", "last"):
            folders = [load(path, train.Config).folder.checkpoints.find(which) for path in (whole, killed)]
            assert folders[0].name == folders[1].name, (turn, which)


def test_a_second_call_finds_the_run_done(write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run()
    first = trained(path)
    killed_after(monkeypatch, 0)  # not one more step
    assert trained(path) == first


def test_restart_throws_the_earlier_run_away(write_run: Callable[..., Path]) -> None:
    path = write_run()
    trained(path)
    again = trained(path, "train.restart=true", "train.epochs=1")
    assert again["epochs"] == 1


def test_what_was_begun_by_a_restart_is_gone_on_with_and_not_begun_again(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = write_run(under="whole"), write_run(under="stopped")
    trained(whole)
    trained(stopped, "train.epochs=1")
    folder = load(stopped, train.Config).folder
    original = loop.Fit.step

    def step(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        if fit.progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(fit, batch, asked=asked)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Fit, "step", step)
        with pytest.raises(Interrupted, match=r"after step 8; .* the same command without train\.restart goes on"):
            trained(stopped, "train.restart=true")
    assert folder.settings()["train"]["restart"] is False
    killed_after(monkeypatch, 4 * 13 - 8)  # one step more would be one that is done again
    trained(folder.path)  # as it is recorded
    assert_same_runs(whole, stopped)


def test_workers_that_are_started_again_do_not_throw_their_run_away(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def train_on_workers(_: object, settings: dict[str, dict[str, object]], **named: object) -> None:
        given.update(settings["train"] | named)
        raise Stop

    monkeypatch.setattr("ctrgate.cluster.train.train_on_workers", train_on_workers)
    for override, restarted in {"train.restart=true": True, "train.restart=false": False}.items():
        with pytest.raises(Stop):
            trained(write_run(), override, "train.workers=2")
        assert (given["restart"], given["restarted"]) == (False, restarted)


def test_a_section_that_the_record_lacks_is_a_difference_unless_it_asks_for_nothing(
    write_run: Callable[..., Path],
) -> None:
    path = write_run()
    trained(path, "train.epochs=1")
    record = load(path, train.Config).folder.config
    known = yaml.safe_load(record.read_text())
    assert known.pop("select") is None
    record.write_text(yaml.safe_dump(known))
    trained(path, "train.epochs=1")
    with pytest.raises(ConfigError, match=r"other settings \(select\)"):
        trained(path, "train.epochs=1", "select={name: continuation, epochs: 2, rewind_epoch: 1}")


def test_other_settings_are_refused_and_named(write_run: Callable[..., Path]) -> None:
    path = write_run()
    trained(path, "train.epochs=1")
    with pytest.raises(ConfigError, match=r"train\.learning_rate.*train\.restart=true"):
        trained(path, "train.epochs=1", "train.learning_rate=0.5")


def test_two_trainings_of_one_run_exclude_each_other(write_run: Callable[..., Path]) -> None:
    path = write_run()
    folder = load(path, train.Config).folder.path
    with locked(folder.with_name(".small.lock"), what="x"), pytest.raises(ConfigError, match="another process"):
        trained(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole, stopped = write_run(under="whole"), write_run(under="stopped")
    trained(whole)
    original, done, before = loop.Fit.step, [], signal.getsignal(number)

    def step(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        done.append(1)
        if len(done) == 8:
            os.kill(os.getpid(), number)
        return original(fit, batch, asked=asked)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Fit, "step", step)
        with pytest.raises(Interrupted, match="after step 8") as caught:
            trained(stopped)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    trained(stopped)
    assert_same_runs(whole, stopped)


def test_the_stop_file_ends_the_training_of_a_single_worker(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver writes it at a signal: the worker, a process of Ray, gets none."""
    config = load(write_run(), train.Config, ["train.workers=1"])
    prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    config.folder.begin(dump(config), seed=config.seed, prepared=prepared)
    original = loop.Fit.step

    def step(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        if fit.progress.step == 7:
            (config.folder.path / STOP_FILE).touch()
        return original(fit, batch, asked=asked)

    monkeypatch.setattr(loop.Fit, "step", step)
    with pytest.raises(Interrupted, match="stopped by request after step 8"):
        train.work(dump(config), Workers(rank=0, count=1))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_processes_killed_at_random_end_as_an_undisturbed_one(write_run: Callable[..., Path], rule: str) -> None:
    longer = {"batch_size": 50, "learning_rate": 0.01, "epochs": 40, "strikes": 40, "checkpoint_every": 7}
    whole, killed = (write_run(rule, under=name, train=longer) for name in ("whole", "killed"))
    trained(whole)
    command = [sys.executable, "-m", "ctrgate", "train", str(killed)]
    kills = 0
    for wait in (0.3, 0.05, 0.7, 0.2, 1.1, 0.4, 0.9, 0.15, 0.6, 0.5):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for line in process.stderr or ():
            if b"parameters" in line:
                break
        time.sleep(wait)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    result = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(result.stdout)["epochs"] == 40
    assert_same_runs(whole, killed)


def test_cuts_and_strikes_follow_the_protocol(write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.6, 0.7, 0.7, 0.69, 0.71, 0.7, 0.7, 0.9])  # 0.7 again is no improvement
    monkeypatch.setattr(loop.Fit, "_measure", lambda *_: {"auc": next(values), "log_loss": 1.0})
    path = write_run(train={"batch_size": 650, "learning_rate": 0.1, "epochs": 50, "strikes": 2})
    summary = trained(path)
    lines = load(path, train.Config).folder.metrics()
    assert [line["valid/auc"] for line in lines] == [0.6, 0.7, 0.7, 0.69]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.1, 0.1, 0.1, 0.01])
    assert summary["best_step"] == 4
    assert load(path, train.Config).folder.checkpoints.find("best").name == "step-00000004"


def test_an_improvement_clears_the_strikes_but_not_the_cut(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.6, 0.5, 0.7, 0.5, 0.5])
    monkeypatch.setattr(loop.Fit, "_measure", lambda *_: {"auc": next(values), "log_loss": 1.0})
    path = write_run("fused", train={"batch_size": 650, "learning_rate": 0.1, "epochs": 50, "strikes": 2})
    trained(path)
    rates = [line["learning_rate"] for line in load(path, train.Config).folder.metrics()]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_a_restored_model_is_the_trained_one(write_run: Callable[..., Path]) -> None:
    path = write_run("fused")
    summary = trained(path)
    config = load(path, evaluate.Config)
    result = evaluate.run(config)
    assert result["valid"]["auc"]["value"] == pytest.approx(summary["valid"]["auc"], abs=1e-9)
    assert result["test"]["num_rows"] == 257
    folder = load(path, train.Config).folder
    scored = pl.read_parquet(folder.path / "evaluation" / "test.parquet")
    restored = restore(folder)
    reader = Reader(restored.prepared.files("test"), layout=restored.layout)
    batch = next(iter(reader.batches(loop.Order(batch_size=1000))))
    with torch.no_grad():
        output, _ = restored.model(batch)
    torch.testing.assert_close(torch.from_numpy(scored["logit:click"].to_numpy().copy()).float(), output.logits[:, 0])


def test_a_damaged_checkpoint_is_named(write_run: Callable[..., Path]) -> None:
    path = write_run()
    trained(path, "train.epochs=1")
    folder = load(path, train.Config).folder
    damaged = folder.checkpoints.find("best") / "tables-0.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"tables-0\.safetensors"):
        restore(folder)


def test_a_loss_that_explodes_ends_the_run_with_a_remedy(write_run: Callable[..., Path]) -> None:
    path = write_run(train={"batch_size": 100, "learning_rate": 1e30, "epochs": 3, "clip_norm": None})
    with pytest.raises(DataError, match=r"no longer finite.*train\.learning_rate"):
        trained(path)


def test_a_password_in_the_trackers_address_is_written_nowhere(write_run: Callable[..., Path]) -> None:
    path = write_run(tracking={"enabled": False, "uri": "http://me:hunter2@localhost:1"})
    trained(path, "train.epochs=1")
    folder = load(path, train.Config).folder.path
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert folder / "config.yaml" in files
    assert not [file for file in files if b"hunter2" in file.read_bytes()]


def test_a_monitor_that_the_data_does_not_allow_is_refused_at_once(write_run: Callable[..., Path]) -> None:
    path = write_run()
    with pytest.raises(ConfigError, match=r"train\.monitor: gauc needs users"):
        trained(path, "train.monitor=gauc")
    assert not load(path, train.Config).folder.path.exists()


def test_a_valid_split_of_one_class_is_refused_at_once(
    write_run: Callable[..., Path], task: Path, tmp_path: Path
) -> None:
    pl.read_parquet(task / "valid.parquet").with_columns(click=pl.lit(0)).write_parquet(tmp_path / "valid.parquet")
    path = write_run()
    overrides = [f"dataset.splits.valid={tmp_path / 'valid.parquet'}", f"prepare.into={tmp_path / 'prepared'}"]
    prepare.run(load(path, prepare.Config, overrides))
    with pytest.raises(DataError, match="all rows of valid have the same click"):
        trained(path, *overrides)


def test_a_context_field_that_the_dataset_lacks_is_refused_before_anything_is_written(
    write_run: Callable[..., Path],
) -> None:
    path = write_run(model={"name": "final_mlp", "gate1_context": ["usr"]})
    with pytest.raises(
        ConfigError, match=r"model: its lookup gate1 reads 'usr', but dataset\.features .*; did you mean user\?"
    ):
        trained(path)
    assert not load(path, train.Config).folder.path.exists()
