"""A scoring job that is stopped anywhere and run again gives the bytes of one that was not, and never another job's."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from ctrgate.artifact.bundle import Artifact
from ctrgate.errors import ConfigError, DataError, HeldBackError
from ctrgate.scoring.folder import WorkFolder
from ctrgate.scoring.scorer import Scorer

EFFECTS = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir")


class Killed(BaseException):
    """What a kill looks like from within."""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def success(into: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((into / "_SUCCESS").read_text())
    return result


@pytest.fixture
def order(dense_run: Any, tmp_path: Path) -> list[str]:
    """Two files, five units."""
    (tmp_path / "in").mkdir()
    dense_run.rows[:7].write_parquet(tmp_path / "in" / "a.parquet", row_group_size=2)
    dense_run.rows[7:12].write_parquet(tmp_path / "in" / "b.parquet", row_group_size=2)
    return [f"score.files={tmp_path}/in/*", f"score.into={tmp_path / 'to/out'}", "score.unit_rows=3"]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, dense_run: Any) -> None:
    """The model is loaded once, which takes the most time of a small job."""
    artifact = Artifact.load(dense_run.artifact)
    monkeypatch.setattr(Artifact, "load", lambda *_, **__: artifact)


def dying(patch: pytest.MonkeyPatch, *, after: int) -> list[str]:
    """Let the process die before one of its effects: from there on, none comes about. Gives those that did."""
    done: list[str] = []

    def deadly(name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if len(done) >= after:
                raise Killed
            done.append(name)
            return effect(*arguments, **named)

        return act

    for name in EFFECTS:
        patch.setattr(os, name, deadly(name, getattr(os, name)))
    patch.setattr(pq.ParquetWriter, "write_table", deadly("write", pq.ParquetWriter.write_table))
    return done


def test_units_are_whole_row_groups_and_parts_are_named_by_their_place(
    dense_run: Any, tmp_path: Path, order: list[str]
) -> None:
    dense_run("score", *order)
    assert sorted(path.name for path in (tmp_path / "to/out").glob("*.parquet")) == [
        "part-00000-00000-a.parquet",
        "part-00000-00001-a.parquet",
        "part-00001-00000-b.parquet",
        "part-00001-00001-b.parquet",
    ]
    assert [[part["rows"] for part in file["parts"]] for file in success(tmp_path / "to/out")["files"]] == [
        [4, 3],
        [4, 1],
    ]
    assert os.listdir(tmp_path / "to") == ["out"]
    found = pl.read_parquet(tmp_path / "to/out/*.parquet")
    assert found["id"].to_list() == list(range(12))


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_between_any_two_effects_and_run_again_it_gives_the_same_bytes(
    dense_run: Any, tmp_path: Path, order: list[str], replacing: bool
) -> None:
    into = tmp_path / "to/out"
    earlier = [*order[:2], "score.unit_rows=99"]
    order = [*order, "score.replace=true"] if replacing else order
    dense_run("score", *order)
    whole = tree(into)
    dense_run("score", *earlier, "score.replace=true")
    old = tree(into)
    with pytest.MonkeyPatch.context() as patch:
        clean(into)
        effects = dying(patch, after=10**6)
        dense_run("score", *order)
        num_effects = len(effects)
    assert num_effects > 30
    # Replacing differs at the beginning and at the end only.
    points = [*range(5), *range(num_effects - 15, num_effects)] if replacing else range(num_effects)
    for after in points:
        clean(into)
        if replacing:
            dense_run("score", *earlier)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, after=after)
            with pytest.raises(Killed):
                dense_run("score", *order)
        if into.exists():  # a reader sees the old scores, or the new ones, and never a part of them
            assert tree(into) in ((old, whole) if replacing else (whole,))
        dense_run("score", *order)
        assert tree(into) == whole, after
        assert [name for name in os.listdir(tmp_path / "to") if name != "out"] == [], after


def clean(into: Path) -> None:
    for path in into.parent.iterdir():
        subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.usefixtures("loaded")
def test_what_is_finished_is_not_scored_again(
    dense_run: Any, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Scorer._part

    def watched(self: Scorer, unit: Any, path: str, scored: Any) -> Any:
        if len(written) == 2:
            written.append("stopped")
            raise KeyboardInterrupt
        written.append(f"{unit.file}.{unit.number}")
        return write(self, unit, path, scored)

    monkeypatch.setattr(Scorer, "_part", watched)
    with pytest.raises(KeyboardInterrupt):
        dense_run("score", *order)
    dense_run("score", *order)
    assert written == ["0.0", "0.1", "stopped", "1.0", "1.1"]
    result = dense_run("score", *order)
    assert (result["done_before"], result["rows"], len(written)) == (True, 12, 5)


@pytest.mark.usefixtures("loaded")
def test_a_file_without_row_groups_is_read_in_one_go_and_from_where_it_was_left(
    dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense_run.rows[:70].write_ipc(tmp_path / "a.arrow")
    dense_run.rows[:70].write_parquet(tmp_path / "a.parquet")
    order = ["score.unit_rows=32", "score.batch_rows=10"]
    streamed = [*order, f"score.files={tmp_path / 'a.arrow'}"]
    dense_run("score", *streamed, f"score.into={tmp_path / 'whole'}")
    sizes = [part["rows"] for part in success(tmp_path / "whole")["files"][0]["parts"]]
    assert sizes == [32, 32, 6]
    given: list[tuple[int, int]] = []
    parts = Scorer.parts

    def watched(self: Scorer, task: Any, *, advance: Any) -> Any:
        given.append((task[0].start, task[-1].stop))
        for number, part in enumerate(parts(self, task, advance=advance)):
            if len(given) == 1 and number == 1:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(Scorer, "parts", watched)
    with pytest.raises(KeyboardInterrupt):
        dense_run("score", *streamed, f"score.into={tmp_path / 'out'}")
    dense_run("score", *streamed, f"score.into={tmp_path / 'out'}")
    assert given == [(0, 70), (32, 70)]
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    dense_run("score", *order, f"score.files={tmp_path / 'a.parquet'}", f"score.into={tmp_path / 'other'}")
    logits = [pl.read_parquet(tmp_path / name / "*.parquet")["logit"] for name in ("out", "other")]
    assert (logits[0] - logits[1]).abs().max() < 1e-5


@pytest.mark.usefixtures("loaded")
def test_a_torn_line_of_the_log_and_a_damaged_part_are_done_again(
    dense_run: Any, tmp_path: Path, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense_run("score", *order)
    whole = tree(tmp_path / "to/out")
    clean(tmp_path / "to/out")
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            dense_run("score", *order)
    (work,) = (tmp_path / "to").iterdir()
    log = (work / "log.jsonl").read_bytes()
    assert log.count(b"\n") == 4
    (work / "log.jsonl").write_bytes(log[:-20])
    (work / "part-00000-00000-a.parquet").write_bytes(b"cut")
    dense_run("score", *order)
    assert tree(tmp_path / "to/out") == whole


def test_two_processes_give_the_bytes_of_one(dense_run: Any, tmp_path: Path, order: list[str]) -> None:
    dense_run("score", *order)
    result = dense_run("score", *order[:1], *order[2:], f"score.into={tmp_path / 'two'}", "score.processes=2")
    assert result["rows"] == 12
    assert tree(tmp_path / "two") == tree(tmp_path / "to/out")
    dense_run("score", *order, "score.processes=2")  # it is the same job


def test_a_file_that_cannot_be_scored_is_told_by_several_processes_as_by_one(
    dense_run: Any, tmp_path: Path, order: list[str]
) -> None:
    rows = dense_run.rows[12:18].with_columns(price=pl.when(pl.col("id") > 15).then(float("inf")).otherwise(1.0))
    rows.write_parquet(tmp_path / "in" / "c.parquet", row_group_size=1)
    order = [*order, "score.unit_rows=1"]
    with pytest.raises(DataError, match=r"c\.parquet, row 4 \(counted from 0\): price"):
        dense_run("score", *order, "score.processes=2")
    told = []
    for number in (1, 2):
        into = tmp_path / f"with{number}"
        with pytest.raises(HeldBackError, match=r"1 files could not be scored and are left out"):
            dense_run("score", *order, f"score.into={into}", "score.on_bad_file=skip", f"score.processes={number}")
        told.append(tree(into))
        assert [each["path"] for each in success(into)["skipped"]] == [str(tmp_path / "in/c.parquet")]
        assert "row 4 (counted from 0)" in success(into)["skipped"][0]["why"]
        assert len(list(into.glob("*.parquet"))) == 7  # none of the bad file
    assert told[0] == told[1]


def test_a_stopped_job_may_go_on_without_its_bad_file(dense_run: Any, tmp_path: Path, order: list[str]) -> None:
    path = tmp_path / "in" / "a.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    (tmp_path / "in" / "empty.parquet").touch()
    with pytest.raises(DataError, match="is empty"):
        dense_run("score", *order)
    with pytest.raises(HeldBackError, match=r"(?s)a\.parquet cannot be read.*empty\.parquet is empty") as held:
        dense_run("score", *order, "score.on_bad_file=skip")
    assert held.value.exit_code == 3
    assert pl.read_parquet(tmp_path / "to/out/*.parquet")["id"].to_list() == [7, 8, 9, 10, 11]
    with pytest.raises(HeldBackError):  # and so it is told when there is nothing to do any more
        dense_run("score", *order, "score.on_bad_file=skip")


@pytest.mark.usefixtures("loaded")
def test_a_full_disk_loses_nothing(
    dense_run: Any, tmp_path: Path, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense_run("score", *order)
    whole = tree(tmp_path / "to/out")
    for room in range(4):
        clean(tmp_path / "to/out")
        left, write = [room], pq.ParquetWriter.write_table

        def full(*arguments: Any, left: list[int] = left, write: Callable[..., Any] = write) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(pq.ParquetWriter, "write_table", full)
            with pytest.raises(DataError, match="no space left on the disk"):
                dense_run("score", *order)
        (work,) = (tmp_path / "to").iterdir()
        assert len(list(work.glob("part-*"))) == room
        dense_run("score", *order)
        assert tree(tmp_path / "to/out") == whole


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("score.batch_rows=2", r"other settings \(batch_rows\)"),
        ("dataset.roles.keys=[id]", "another dataset section"),
        ("file", "other files"),
    ],
)
def test_what_was_begun_otherwise_is_refused(
    dense_run: Any,
    tmp_path: Path,
    order: list[str],
    monkeypatch: pytest.MonkeyPatch,
    finished: bool,
    change: str,
    says: str,
) -> None:
    with monkeypatch.context() as patch:
        if not finished:
            patch.setattr(WorkFolder, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        try:
            dense_run("score", *order)
        except Killed:
            assert not finished
    before = tree(tmp_path / "to")
    if change == "file":  # the same name and size
        dense_run.rows[100:105].write_parquet(tmp_path / "in" / "b.parquet", row_group_size=2)
    else:
        order = [*order, change]
    for dry in ("true", "false"):
        with pytest.raises(ConfigError, match=rf"(holds scores of|was begun with) {says}.*score\.replace=true"):
            dense_run("score", *order, f"score.dry_run={dry}")
    assert tree(tmp_path / "to") == before
    dense_run("score", *order, "score.replace=true")
    assert os.listdir(tmp_path / "to") == ["out"]


@pytest.mark.usefixtures("loaded")
def test_finished_scores_that_were_changed_are_not_taken_for_whole(
    dense_run: Any, tmp_path: Path, order: list[str]
) -> None:
    dense_run("score", *order)
    whole = tree(tmp_path / "to/out")
    path = tmp_path / "to/out/part-00000-00001-a.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ConfigError, match=r"part-00000-00001-a\.parquet is not as it was written"):
        dense_run("score", *order)
    dense_run("score", *order, "score.replace=true")
    assert tree(tmp_path / "to/out") == whole


@pytest.mark.usefixtures("loaded")
def test_scores_that_have_shifted_are_told_or_held_back_and_not_scored_again(
    dense_run: Any, tmp_path: Path, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    like = f"score.like={tmp_path / 'to/out'}"
    dense_run("score", *order)
    dense_run("score", *order, like, f"score.into={tmp_path / 'same'}", "score.on_skew=stop")
    counts = success(tmp_path / "to/out")
    counts["histogram"]["logits"]["click"] = [12, *[0] * (len(counts["histogram"]["edges"]))]
    (tmp_path / "to/out/_SUCCESS").write_text(json.dumps(counts))
    other = [*order, like, f"score.into={tmp_path / 'other'}"]
    with pytest.raises(HeldBackError, match=r"the logits of click are not distributed as in .*PSI \d"):
        dense_run("score", *other, "score.on_skew=stop")
    assert not (tmp_path / "other").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "_part", lambda *_: pytest.fail("scored again"))
        dense_run("score", *other)
    assert tree(tmp_path / "other") == tree(tmp_path / "same")
    with pytest.raises(ConfigError, match=r"score\.like: .* holds no finished scores"):
        dense_run("score", *other, f"score.like={tmp_path / 'none'}", f"score.into={tmp_path / 'more'}")


JOB = "import sys\nfrom ctrgate.cli import main\nsys.exit(main(['score', *sys.argv[1:]]))\n"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_it_ends_with_the_bytes_of_one_that_was_not(
    dense_run: Any, tmp_path: Path, processes: int
) -> None:
    rows = pl.concat([dense_run.rows] * 100)
    for name in ("a", "b"):
        rows.write_parquet(tmp_path / f"{name}.parquet", row_group_size=2_000)
    order = [f"score.files={tmp_path}/*.parquet", "score.unit_rows=2000", "score.batch_rows=300"]
    dense_run("score", *order, f"score.into={tmp_path / 'whole'}")
    command = [sys.executable, "-c", JOB, str(dense_run.yaml), *order]
    command += [f"score.into={tmp_path / 'out'}", f"score.processes={processes}"]
    chance = random.Random(processes)

    def finished() -> int:
        return len(list(tmp_path.glob(".out.*.job/part-*.parquet")))

    for more in (0, *(chance.randint(2, 10) for _ in range(4))):  # of 60 parts; the first kill comes before any
        job = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        reached = finished() + more
        time.sleep(chance.uniform(0.0, 0.5))
        while finished() < reached and job.poll() is None:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
