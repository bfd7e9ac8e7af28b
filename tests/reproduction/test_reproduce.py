"""A run done again from its raw files: the same, stopped and gone on with, or refused with the reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ctrgate.cli import main
from ctrgate.config import load
from ctrgate.errors import ArtifactError, ConfigError, DataError, HeldBackError, Interrupted
from ctrgate.reproduction import again
from ctrgate.reproduction.again import StageFailed, run_stage


@pytest.fixture(scope="module")
def made(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run.yaml, raw.parquet and a trained and evaluated run ``first``."""
    folder = tmp_path_factory.mktemp("reproduce")
    values = yaml.safe_load(dense_run.yaml.read_text())
    values |= {"name": "first", "runs": str(folder / "runs"), "prepare": {"into": str(folder / "prepared")}}
    values["dataset"]["files"] = str(folder / "raw.parquet")
    dense_run.rows.write_parquet(folder / "raw.parquet")
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    for verb in ("prepare", "train", "evaluate"):
        run_verb(verb, folder / "run.yaml")
    return folder


@pytest.fixture
def here(made: Path) -> Any:
    """The same, put back as it was after the test."""
    saved = made.with_name("saved")
    shutil.copytree(made, saved)
    yield made
    shutil.rmtree(made)
    saved.rename(made)


def run_verb(verb: str, path: Path, *overrides: str) -> dict[str, Any]:
    module = import_module(f"ctrgate.{verb}")
    result: dict[str, Any] = module.run(load(path, module.Config, overrides))
    return result


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages run in this process, which is quicker; lists those that did."""
    done: list[str] = []

    def run(verb: str, path: Path, *, overrides: Any = (), **_: Any) -> None:
        run_verb(verb, path, *overrides)
        done.append(verb)

    monkeypatch.setattr(again, "run_stage", run)
    return done


def written(here: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((here / "runs/first/reproduction/reproduction.json").read_text())
    return found


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON or YAML file."""
    is_json = path.suffix == ".json"
    values = json.loads(path.read_text()) if is_json else yaml.safe_load(path.read_text())
    change(values)
    path.write_text(json.dumps(values) if is_json else yaml.safe_dump(values))


def test_a_run_is_done_again_bit_for_bit_by_the_command(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (here / "runs/first").rglob("*") if path.is_file()}
    assert main(["reproduce", str(here / "run.yaml")]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["verdict"], told["identical"], told["largest_difference"]) == ("identical", True, 0.0)
    assert told["environment"] == {}
    result = written(here)
    assert result["format_version"] == 1
    assert result["weights_identical"] is True
    assert result["encoder"]["run"] == result["encoder"]["reproduction"]
    assert (result["split"], result["num_rows"]) == ("test", 60)
    assert result["sentence"] == told["sentence"]
    home = here / "runs/first/reproduction"
    assert {"of.json", "prepared", "reproduction.json", "run", "run.yaml"} <= {path.name for path in home.iterdir()}
    assert {path: path.read_bytes() for path in before} == before, "the run itself is as it was"
    assert not (here / "runs/first/.reproduction.lock").exists()


def test_the_run_files_own_settings_do_not_matter(here: Path, in_process: list[str]) -> None:
    result = run_verb("reproduce", here / "run.yaml", "train.learning_rate=0.5", "seed=3", "dataset.name=other")
    assert result["verdict"] == "identical"
    assert in_process == ["prepare", "train", "evaluate"]


@pytest.mark.usefixtures("in_process")
def test_a_reproduction_that_is_there_is_not_trained_again_unless_asked(here: Path) -> None:
    run_verb("reproduce", here / "run.yaml")
    weights = next((here / "runs/first/reproduction/run/checkpoints").glob("step-*/network.safetensors"))
    first = weights.stat().st_mtime_ns
    run_verb("reproduce", here / "run.yaml")
    assert weights.stat().st_mtime_ns == first
    run_verb("reproduce", here / "run.yaml", "reproduce.restart=true")
    assert weights.stat().st_mtime_ns > first


@pytest.mark.usefixtures("in_process")
def test_a_run_that_was_trained_anew_is_reproduced_anew(here: Path) -> None:
    run_verb("reproduce", here / "run.yaml")
    kept = here / "kept"
    (here / "runs/first/reproduction").rename(kept)
    run_verb("train", here / "run.yaml", "train.restart=true", "seed=4")
    kept.rename(here / "runs/first/reproduction")
    run_verb("evaluate", here / "run.yaml")
    assert run_verb("reproduce", here / "run.yaml")["verdict"] == "identical"
    assert written(here)["seed"] == 4


@pytest.mark.usefixtures("in_process")
def test_another_result_is_held_back_and_written_down(here: Path) -> None:
    file = here / "runs/first/evaluation/test.parquet"
    rows = pl.read_parquet(file)
    rows.with_columns((pl.col("label:click") * 20 - 10).cast(pl.Float64).alias("logit:click")).write_parquet(file)
    with pytest.raises(HeldBackError, match=r"^Not reproduced: 60 test rows, logits up to .*reproduction\.json$"):
        run_verb("reproduce", here / "run.yaml")
    result = written(here)
    assert result["verdict"] == "outside"
    assert result["labels"]["click"]["metrics"]["auc"]["within"] is False
    assert main(["reproduce", str(here / "run.yaml")]) == 3


@pytest.mark.usefixtures("in_process")
def test_a_run_without_an_evaluation_is_scored(here: Path) -> None:
    shutil.rmtree(here / "runs/first/evaluation")
    assert run_verb("reproduce", here / "run.yaml", "reproduce.split=valid")["verdict"] == "identical"
    assert written(here)["split"] == "valid"


def test_another_encoder_is_held_back_before_anything_is_trained(here: Path, in_process: list[str]) -> None:
    edit(here / "runs/first/environment.json", lambda values: values.update(encoder="0" * 64))
    with pytest.raises(HeldBackError, match=r"the same raw files now give the encoder .* the run's is 0{12}; nothing"):
        run_verb("reproduce", here / "run.yaml")
    assert in_process == ["prepare"]
    assert written(here)["verdict"] == "other encoder"


@pytest.mark.usefixtures("in_process")
def test_what_differs_here_is_told(here: Path) -> None:
    def older(values: dict[str, Any]) -> None:
        values["versions"]["torch"] = "2.12.0"
        values["versions"].pop("ctrgate")
        values["cpu_capability"] = "AVX9"

    edit(here / "runs/first/environment.json", older)
    result = run_verb("reproduce", here / "run.yaml")
    assert set(result["environment"]) == {"torch", "cpu_capability"}
    assert "cpu_capability" in result["sentence"]


def test_every_raw_file_that_is_not_the_runs_is_named(here: Path, in_process: list[str]) -> None:
    rows = pl.read_parquet(here / "raw.parquet")
    rows.with_columns(age=pl.col("age") + 1).write_parquet(here / "raw.parquet")
    with pytest.raises(
        DataError, match=r"(?s)put them back:.*raw\.parquet was changed: SHA-256 \w{12} then, \w{12} now"
    ):
        run_verb("reproduce", here / "run.yaml")
    (here / "raw.parquet").unlink()
    with pytest.raises(DataError, match=r"raw\.parquet is gone"):
        run_verb("reproduce", here / "run.yaml")
    assert in_process == []


def test_files_that_a_glob_finds_besides_are_refused(here: Path, in_process: list[str]) -> None:
    config = here / "runs/first/config.yaml"
    edit(config, lambda values: values["dataset"].update(files=[str(here / "raw*.parquet")]))
    shutil.copy(here / "raw.parquet", here / "raw2.parquet")
    with pytest.raises(DataError, match=r"other files than those .*raw2\.parquet"):
        run_verb("reproduce", here / "run.yaml")
    assert in_process == ["prepare"]


@pytest.mark.usefixtures("in_process")
def test_a_warm_start_needs_its_earlier_run_as_it_was(here: Path) -> None:
    runs = here / "runs"
    warm = f"train.warm_start={{run: {runs / 'first'}}}"
    run_verb("train", here / "run.yaml", "name=second", warm)
    recorded = json.loads((runs / "second/environment.json").read_text())["warm_start"]
    assert recorded["checkpoint"] == "step-00000005"
    assert run_verb("reproduce", here / "run.yaml", "name=second")["verdict"] == "identical"
    run_verb("train", here / "run.yaml", "train.restart=true", "seed=5")
    with pytest.raises(DataError, match=r"trained anew since .*second started from its step-00000005"):
        run_verb("reproduce", here / "run.yaml", "name=second")
    shutil.rmtree(runs / "first")
    with pytest.raises(ConfigError, match=r"train\.warm_start\.run: .*first, which is gone; put that run back"):
        run_verb("reproduce", here / "run.yaml", "name=second")


def test_an_encoder_that_grew_needs_the_one_before(here: Path, in_process: list[str]) -> None:
    edit(here / "runs/first/config.yaml", lambda values: values["prepare"].update(previous=str(here / "gone")))
    with pytest.raises(ConfigError, match=r"prepare\.previous: .*grew from that of .*gone, which cannot be read"):
        run_verb("reproduce", here / "run.yaml")
    assert in_process == []


def test_only_a_run_that_is_there_and_done_is_reproduced(here: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        run_verb("reproduce", here / "run.yaml", "name=nobody")
    progress = next((here / "runs/first/checkpoints").glob("step-*/progress.json"))
    edit(progress, lambda values: values.update(finished=False))
    with pytest.raises(ConfigError, match="is not trained to its end"):
        run_verb("reproduce", here / "run.yaml")
    edit(here / "runs/first/environment.json", lambda values: values.pop("sources"))
    with pytest.raises(ArtifactError, match=r"environment\.json cannot be read \(KeyError\('sources'\)\)"):
        run_verb("reproduce", here / "run.yaml")


def test_a_stage_that_fails_gives_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("name: a\n")
    with pytest.raises(StageFailed, match="ctrgate prepare ended with exit code 2, see above") as failed:
        run_stage("prepare", tmp_path / "run.yaml")
    assert failed.value.exit_code == 2


def test_a_signal_reaches_the_stage_and_ends_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    popen = subprocess.Popen

    def slow(command: list[str], **options: Any) -> Any:
        child = popen([*command[:4], sys.executable, "-c", code], **options | {"stdout": subprocess.PIPE})
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        popen(["/bin/sh", "-c", f"sleep 0.5; kill -TERM {os.getpid()}"])
        return child

    monkeypatch.setattr(subprocess, "Popen", slow)
    with pytest.raises(Interrupted, match="stopped at train; the same command goes on") as stopped:
        run_stage("train", tmp_path / "run.yaml")
    assert stopped.value.exit_code == 143


@pytest.mark.slow
def test_a_reproduction_that_is_killed_leaves_no_process_and_goes_on(here: Path) -> None:
    command = [sys.executable, "-m", "ctrgate", "reproduce", str(here / "run.yaml")]
    home = here / "runs/first/reproduction"
    for reached in (home / "of.json", home / "prepared", home / "run/config.yaml"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while not reached.exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert reached.exists()
        time.sleep(1)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(home / "run.yaml") not in listed
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["verdict"] == "identical"
