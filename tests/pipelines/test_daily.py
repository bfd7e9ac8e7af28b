"""The daily pipeline on generated days: decisions, late files, kills at any moment, refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
import yaml

from benchmarks import fortnight
from ctrgate.artifact.manifest import identity
from ctrgate.config import load
from ctrgate.errors import ConfigError, CtrgateError
from ctrgate.features.encoder import Encoder
from ctrgate.files import checksum
from pipelines.daily.__main__ import main
from pipelines.daily.day import decide
from pipelines.daily.plan import Plan
from pipelines.experiment import Stage, Stopped

ROOT = Path(__file__).parents[2]
ROWS = 1500
LENIENT = {"auc": {"margin": 0.5}, "log_loss": None, "calibration": None, "segments": None}
STRICT = {**LENIENT, "auc": {"test": "superiority", "alpha": 1e-12}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the first days and a run file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for number in range(1, 6):
        fortnight.write_day(tmp_path / "data", number, num_rows=ROWS)
    values = yaml.safe_load((ROOT / "configs/experiments/fortnight.yaml").read_text())
    values["dataset"]["splits"] = {"train": "data/2025-03-0[1-2]/*.parquet"}
    values["daily"] |= {"files": "data/{date}/*.parquet", "notify": ["sh", "-c", "echo $CTRGATE_STATUS >> told"]}
    values["train"]["epochs"] = 1
    values["promote"]["rules"] = LENIENT
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr("pipelines.daily.day.run_verb", in_this_process)
    return tmp_path


def in_this_process(verb: str, *, run_file: Path, overrides: Sequence[str] = ()) -> Stage:
    """A verb as ``run_verb`` runs it, without the start of a process."""
    module = import_module(f"ctrgate.{verb}")
    try:
        result = module.run(load(run_file, module.Config, overrides))
    except CtrgateError as error:
        raise Stopped(verb, exit_code=error.exit_code) from error
    return Stage(verb=verb, seconds=0.0, result=json.loads(json.dumps(result)))


def record(day: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(f"daily/fortnight/{day}/day.json").read_text())
    return found


def edited(**sections: dict[str, object]) -> None:
    path = Path("run.yaml")
    values = yaml.safe_load(path.read_text())
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    path.write_text(yaml.safe_dump(values))


def test_days_are_decided_in_order_and_only_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first model is promoted as there is no other; the next goes on from it, and its rows are scored."""
    assert main(["run.yaml", "--from", "2025-03-03", "--to", "2025-03-04"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(day["status"], day["next"]) for day in told] == [("promoted", "scored"), ("promoted", "scored")]
    first, second = record("2025-03-03"), record("2025-03-04")
    assert first["champion_before"] is None
    assert second["champion_before"] == first["champion_after"]
    assert second["champion_after"]["run"] == second["run"]
    assert second["rows"]["train"] == ROWS  # day 3 alone: days 1 and 2 are learnt already
    learnt = json.loads(Path(second["run"], "daily.json").read_text())["files"]
    assert sorted(learnt) == [f"data/2025-03-0{day}/part-0.parquet" for day in (1, 2, 3)]
    scores = pl.read_parquet("scores/fortnight/2025-03-05/*.parquet")
    assert scores.height == ROWS
    page = Path("daily/fortnight/index.html").read_text()
    assert "2025-03-03" in page
    assert Path("daily/fortnight/2025-03-04/comparison/index.html").exists()
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.safetensors")}
    assert main(["run.yaml", "--from", "2025-03-03", "--to", "2025-03-04"]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.safetensors")} == before
    assert Path("told").read_text() == "promoted\npromoted\n"

    # a file that comes late is learnt by the next challenger; a day that is skipped must be decided first
    rows = fortnight._rows(2, num_rows=ROWS)[:100]
    rows.write_parquet("data/2025-03-02/late.parquet")
    assert main(["run.yaml", "--date", "2025-03-05"]) == 0
    assert record("2025-03-05")["rows"]["train"] == ROWS + 100
    fortnight.write_day(here / "data", 7, num_rows=ROWS)
    fortnight.write_day(here / "data", 6, num_rows=ROWS)
    with pytest.raises(ConfigError, match="2025-03-06 lies before 2025-03-07 and is not decided"):
        decide(Plan.read("run.yaml"), date(2025, 3, 7))
    assert main(["run.yaml", "--date", "2025-03-07"]) == 2


def test_a_worse_challenger_is_held_and_a_broken_day_neither_decides_nor_is_learnt(here: Path) -> None:
    edited(promote={"rules": STRICT})
    fortnight.write_day(here / "data", fortnight.BROKEN, num_rows=ROWS)
    Path(f"data/{fortnight.day_of(fortnight.BROKEN)}").rename("data/2025-03-05-broken")
    os.replace("data/2025-03-05-broken/part-0.parquet", "data/2025-03-05/part-0.parquet")
    assert main(["run.yaml", "--date", "2025-03-03"]) == 0
    assert main(["run.yaml", "--date", "2025-03-04"]) == 4  # held, and then the broken rows cannot be scored
    held = record("2025-03-04")
    assert held["status"] == "held"
    assert "auc" in held["why"]
    assert held["champion_after"] == held["champion_before"] == record("2025-03-03")["champion_after"]
    assert main(["run.yaml", "--date", "2025-03-05"]) == 4
    assert record("2025-03-05")["status"] == "stopped"
    assert not list(Path("runs").glob("*2025-03-05*"))
    fortnight.write_day(here / "data", 6, num_rows=ROWS)
    assert main(["run.yaml", "--date", "2025-03-06"]) == 3
    learnt = json.loads(Path(record("2025-03-06")["run"], "daily.json").read_text())["files"]
    assert "data/2025-03-05/part-0.parquet" not in learnt
    assert "data/2025-03-04/part-0.parquet" in learnt  # the champion was held twice, so its heir catches up


@pytest.mark.usefixtures("here")
def test_a_stopped_day_is_decided_once_its_rows_are_mended_and_then_learnt() -> None:
    edited(promote={"rules": STRICT})
    whole = Path("data/2025-03-04/part-0.parquet").read_bytes()
    pl.read_parquet("data/2025-03-04/part-0.parquet").with_columns(price=pl.lit(float("inf"))).write_parquet(
        "data/2025-03-04/part-0.parquet"
    )
    os.rename("data/2025-03-05", "late")
    assert main(["run.yaml", "--date", "2025-03-03"]) == 4
    assert main(["run.yaml", "--date", "2025-03-04"]) == 4
    assert record("2025-03-04")["status"] == "stopped"
    assert main(["run.yaml", "--date", "2025-03-05"]) == 4
    assert "no files of 2025-03-05" in record("2025-03-05")["why"]
    Path("data/2025-03-04/part-0.parquet").write_bytes(whole)
    os.rename("late", "data/2025-03-05")
    with pytest.raises(ConfigError, match="2025-03-04 lies before 2025-03-05 and is not decided"):
        decide(Plan.read("run.yaml"), date(2025, 3, 5))
    assert main(["run.yaml", "--from", "2025-03-04", "--to", "2025-03-05"]) == 3
    assert [record(f"2025-03-0{day}")["status"] for day in (4, 5)] == ["held", "held"]
    learnt = json.loads(Path(record("2025-03-05")["run"], "daily.json").read_text())["files"]
    assert "data/2025-03-04/part-0.parquet" in learnt


@pytest.mark.usefixtures("here")
def test_the_very_first_day_has_nothing_to_learn_from_and_is_learnt_by_the_second() -> None:
    assert main(["run.yaml", "--from", "2025-03-01", "--to", "2025-03-02"]) == 0
    assert record("2025-03-01")["status"] == "held"
    second = record("2025-03-02")
    assert second["status"] == "promoted"
    assert list(json.loads(Path(second["run"], "daily.json").read_text())["files"]) == [
        "data/2025-03-01/part-0.parquet"
    ]


@pytest.mark.usefixtures("here")
def test_a_promotion_before_the_days_record_does_not_become_its_own_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed once the alias has moved and nothing has noted it; and then a file comes late."""

    class Killed(BaseException):
        pass

    def dying(verb: str, *, run_file: Path, overrides: Sequence[str] = ()) -> Stage:
        stage = in_this_process(verb, run_file=run_file, overrides=overrides)
        if verb == "promote":
            raise Killed
        return stage

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.daily.day.run_verb", dying)
        with pytest.raises(Killed):
            main(["run.yaml", "--date", "2025-03-03"])
    fortnight._rows(2, num_rows=ROWS)[:100].write_parquet("data/2025-03-02/late.parquet")
    assert main(["run.yaml", "--date", "2025-03-03"]) == 0
    assert record("2025-03-03")["champion_before"] is None
    assert record("2025-03-03")["status"] == "promoted"


@pytest.mark.usefixtures("here")
def test_a_refit_serves_in_its_origin_s_place_and_decisions_stay_about_the_origin() -> None:
    """What scores has learnt the day's rows; what is compared on the next day has not learnt that one's."""
    edited(daily={"refit": True})
    assert main(["run.yaml", "--date", "2025-03-03"]) == 0
    first = record("2025-03-03")
    served = first["champion_after"]["served"]
    assert served == f"{first['refit']}/artifact"
    assert first["champion_after"]["run"] == first["run"]
    rows = json.loads(Path("daily/fortnight/2025-03-03/refit/manifest.json").read_text())["splits"]
    assert {split: count["num_rows"] for split, count in rows.items()} == {"train": ROWS}  # the third day alone
    success = json.loads(next(Path("scores/fortnight/2025-03-04").rglob("_SUCCESS")).read_text())
    assert success["model"]["identity"] == identity(Path(served))
    assert main(["run.yaml", "--date", "2025-03-04"]) == 0
    second = record("2025-03-04")
    assert second["champion_before"] == first["champion_after"]
    assert second["rows"]["train"] == ROWS  # the third day, which the refit has learnt and its origin has not
    compared = json.loads(Path("daily/fortnight/2025-03-04/comparison/comparison.json").read_text())
    assert compared["a"]["place"] == f"{first['run']}/artifact"
    promoted = json.loads(Path(second["run"], "promotion.json").read_text())
    assert promoted["champion_before"]["run"] == Path(first["refit"]).name
    assert json.loads(Path(second["refit"], "promotion.json").read_text())["sentence"].startswith(
        "a refit of version 3"
    )


def test_retired_values_lose_their_rows_on_the_days_of_compaction(here: Path) -> None:
    """A device of the first day alone is retired two fits later, and its row is given up on the sixth day."""
    first = pl.read_parquet("data/2025-03-01/part-0.parquet").with_row_index()
    faxes = pl.when(pl.col("index") < 99).then(pl.lit("fax")).otherwise("device")
    first.with_columns(device=faxes).drop("index").write_parquet("data/2025-03-01/part-0.parquet")
    values = yaml.safe_load(Path("run.yaml").read_text())
    values["dataset"]["features"][2]["encoding"] = {"kind": "vocabulary", "retire_after": 1}
    values["daily"]["compact_every"] = 6
    Path("run.yaml").write_text(yaml.safe_dump(values))
    fortnight.write_day(here / "data", 6, num_rows=ROWS)
    assert main(["run.yaml", "--from", "2025-03-03", "--to", "2025-03-06"]) == 0
    devices = {
        day: Encoder.load(f"daily/fortnight/2025-03-0{day}/prepared/encoder").tables["device"] for day in (3, 4, 5, 6)
    }
    assert [table.num_rows for table in devices.values()] == [6, 6, 6, 5]
    retired = [table.entries.filter("retired")["value"].to_list() for table in devices.values()]
    assert retired == [[], [], ["fax"], []]
    assert record("2025-03-06")["status"] == "promoted"


@pytest.mark.usefixtures("here")
def test_a_refit_has_no_rows_to_be_calibrated_on() -> None:
    edited(daily={"refit": True}, export={"calibrate": {"method": "platt"}})
    with pytest.raises(ConfigError, match=r"platt needs rows that a refit has not learnt"):
        Plan.read("run.yaml")


def test_settings_that_do_not_suit_days_are_refused_before_anything_begins(here: Path) -> None:
    edited(dataset={"splits": None, "files": "data/*/*.parquet", "split": {"by": "user"}})
    with pytest.raises(ConfigError, match=r"dataset.files and split part rows by themselves"):
        Plan.read("run.yaml")
    assert main(["run.yaml", "--date", "2025-03-03"]) == 2
    assert not list(here.glob("daily/fortnight/2*"))


@pytest.mark.slow
def test_what_lies_too_far_back_is_forgotten_but_never_the_champion(here: Path) -> None:
    edited(daily={"keep": 1})
    assert main(["run.yaml", "--date", "2025-03-03"]) == 0
    first = Path(record("2025-03-03")["run"])
    edited(promote={"rules": STRICT})
    assert main(["run.yaml", "--date", "2025-03-04"]) == 3
    held = Path(record("2025-03-04")["run"])
    fortnight.write_day(here / "data", 6, num_rows=ROWS)
    assert main(["run.yaml", "--from", "2025-03-05", "--to", "2025-03-06"]) == 3
    assert first.exists()
    assert not held.exists()
    assert not Path("daily/fortnight/2025-03-04/prepared").exists()
    assert Path("daily/fortnight/2025-03-04/day.json").exists()
    assert not Path("scores/fortnight/2025-03-04").exists()


def _everything_decided() -> dict[str, str]:
    """The decisions and scores, byte by byte."""
    files = [
        *Path("daily").rglob("day.json"),
        *Path("scores").rglob("*.parquet"),
        *Path("runs").glob("*/promotion.json"),
    ]
    return {str(path): checksum(path) for path in files}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_decisions_and_scores(here: Path) -> None:
    """Twenty kills of the whole process group over three days, against days that nothing has disturbed."""
    command = [
        sys.executable,
        "-m",
        "pipelines.daily",
        str(here / "run.yaml"),
        "--from",
        "2025-03-03",
        "--to",
        "2025-03-05",
    ]
    undisturbed, killed = here / "whole", here / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        (folder / "data").symlink_to(here / "data")
    whole = subprocess.run(command, cwd=undisturbed, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr[-2000:]
    draw, kills = random.Random(5), 0
    while kills < 20:
        process = subprocess.Popen(
            command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(draw.uniform(0.5, 14.0))
        _kill_with_children(process)
        kills += 1
        if (killed / "daily/fortnight/2025-03-05/day.json").exists() and kills < 20:
            continue
    last = subprocess.run(command, cwd=killed, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr[-2000:]
    os.chdir(undisturbed)
    expected = _everything_decided()
    os.chdir(killed)
    assert _everything_decided() == expected
    assert sum("day.json" in path for path in expected) == 3


def _kill_with_children(process: subprocess.Popen[bytes]) -> None:
    """The pipeline and the verb that it runs, which has a process group of its own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: Sequence[int] = [
        int(pid) for pid, parent in (line.split() for line in listed.splitlines()) if int(parent) == process.pid
    ]
    for pid in (process.pid, *children):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
