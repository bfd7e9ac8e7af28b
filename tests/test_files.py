"""Files that appear whole or not at all, and locks that exclude."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file, atomic_folder, checksum, locked, write_json


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(place) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "run"
    for name in ("old", "new"):
        with atomic_folder(place) as temporary:
            (temporary / name).write_text(name)
        assert os.listdir(place) == [name]
    with pytest.raises(RuntimeError), atomic_folder(place) as temporary:
        (temporary / "half").write_text("half")
        raise RuntimeError
    assert os.listdir(place) == ["new"]
    assert os.listdir(tmp_path) == ["run"]


def test_what_a_kill_between_the_renames_left_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.old" / "kept").touch()
    (tmp_path / ".run.999999999.tmp").mkdir()
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "run"):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["kept"]


def test_what_others_are_writing_is_left_alone(tmp_path: Path) -> None:
    running, gone = os.getppid(), subprocess.Popen(["true"])
    gone.wait()
    for name in (f".run.{running}.tmp", f".run.b.{gone.pid}.tmp", f".run.{gone.pid}.tmp"):
        (tmp_path / name).mkdir()
    with atomic_folder(tmp_path / "run"):
        pass
    assert set(os.listdir(tmp_path)) == {"run", f".run.{running}.tmp", f".run.b.{gone.pid}.tmp"}


def test_a_lock_excludes_a_second_holder_and_is_gone_afterwards(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with locked(place, what="the run x"):
        with pytest.raises(ConfigError, match="works on the run x"), locked(place, what="the run x"):
            pass
        assert place.exists()
    assert os.listdir(tmp_path) == []
    with locked(place, what="the run x"):
        assert place.exists()


def test_json_holds_no_nan_and_a_checksum_is_that_of_sha256(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty").touch()
    assert checksum(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
