"""Where a job keeps what it has finished: a folder beside the scores' place that takes that place once it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from ctrgate.config import dump
from ctrgate.errors import ConfigError
from ctrgate.files import checksum, replace_folder, write_json
from ctrgate.scoring.scorer import ScoredPart

__all__ = ["SUCCESS", "Recorded", "WorkFolder", "WorkLog", "changed_parts", "digest", "recorded"]

SUCCESS = "_SUCCESS"
_JOB, _LOG = "job.json", "log.jsonl"
_OTHER = {
    "model": "another model",
    "files": "other files",
    "tables": "other joined tables",
    "dataset": "another dataset section",
    "settings": "other settings",
    "versions": "another version of ctrgate or of its libraries",
}


def digest(value: Any) -> str:
    """The SHA-256 of a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A job that has left something at a place.

    Args:
        folder: Where.
        job: All that its scores depend on; none of a job of an earlier format.
        origin: Where its model came from.
        success: What ``_SUCCESS`` says, where it is whole.
    """

    folder: Path
    job: Mapping[str, Any] | None
    origin: Mapping[str, Any]
    success: Mapping[str, Any] | None

    def differs(self, job: Mapping[str, Any]) -> str | None:
        """In what it differs from a job; None where it is the same."""
        if self.job is None:
            return "another version of ctrgate"
        if self.job == job:
            return None
        changed = [name for name in _OTHER if self.job.get(name) != job.get(name)]
        if changed[:1] == ["settings"]:
            ours, theirs = job["settings"], self.job.get("settings", {})
            return f"other settings ({', '.join(name for name in ours if ours[name] != theirs.get(name))})"
        return _OTHER[changed[0]] if changed else "another version of ctrgate"


def recorded(into: Path) -> tuple[Recorded | None, list[Recorded]]:
    """The finished job at a place, and those that were begun there and are not in their place yet.

    Raises:
        ConfigError: Where something else lies there.
    """
    finished = None
    place = into if into.exists() else into.with_name(f".{into.name}.old")  # between the renames of a replacement
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        finished = _read(place, SUCCESS)
        if finished is None:
            raise ConfigError(f"{into} is there and holds no finished scores; set score.into to another place")
    begun = [_read(folder, SUCCESS) or _read(folder, _JOB) for folder in _work_folders(into)]
    return finished, [each for each in begun if each is not None]


def changed_parts(folder: Path, success: Mapping[str, Any]) -> list[str]:
    """The parts of finished scores that are not as they were written."""
    return [
        part["part"]
        for file in success["files"]
        for part in file["parts"]
        if not _is(folder / part["part"], num_bytes=part["num_bytes"], sha256=part["sha256"])
    ]


class WorkFolder:
    """The folder of one job until it is finished; its name tells jobs apart, so that none ever writes into another's.

    Args:
        into: The place of the scores.
        job: All that they depend on.
    """

    def __init__(self, into: Path, *, job: Mapping[str, Any]) -> None:
        self.into, self.job = into, job
        self.path = into.with_name(f".{into.name}.{digest(job)[:12]}.job")

    def begin(self, origin: Mapping[str, Any]) -> None:
        """Make the folder where it is not there, and remove the folders of other jobs for the same place."""
        for other in _work_folders(self.into):
            if other != self.path:
                shutil.rmtree(other)
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / SUCCESS).exists():
            for path in self.path.glob(".*.tmp"):  # what a killed process left
                path.unlink()
            if not (self.path / _JOB).exists():
                write_json(self.path / _JOB, {"job": self.job, "origin": origin})

    @property
    def whole(self) -> Mapping[str, Any] | None:
        """What ``_SUCCESS`` says, where only the name is missing."""
        found = _read(self.path, SUCCESS) if self.path.exists() else None
        return None if found is None else found.success

    @contextmanager
    def log(self) -> Iterator[WorkLog]:
        """The log of what is done; parts that are not as it says are forgotten."""
        path = self.path / _LOG
        with path.open("ab+") as file:
            file.seek(0)
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)  # a line that was cut short
            yield WorkLog(file, folder=self.path, lines=text[: text.rfind(b"\n") + 1].splitlines())

    def finish(self, success: Mapping[str, Any]) -> None:
        """Write ``_SUCCESS``: from here on, nothing is scored any more."""
        write_json(self.path / SUCCESS, success)

    def publish(self) -> None:
        """Leave nothing but what ``_SUCCESS`` lists, and give the folder its name; may be called again after a kill."""
        success = self.whole
        assert success is not None
        kept = {SUCCESS, *(part["part"] for file in success["files"] for part in file["parts"])}
        for path in sorted(self.path.iterdir()):
            if path.name not in kept:
                path.unlink()
        replace_folder(self.into, by=self.path)


class WorkLog:
    """Finished parts and bad files, a line of JSON each, which is on the disk before the next step.

    Args:
        file: Open for appending.
        folder: Of the parts.
        lines: What it holds.
    """

    def __init__(self, file: IO[bytes], *, folder: Path, lines: Sequence[bytes]) -> None:
        self._file = file
        self.parts: dict[tuple[int, int], ScoredPart] = {}
        self.bad: dict[int, tuple[int, str]] = {}
        for line in lines:
            entry = json.loads(line)
            if "why" in entry:
                self._note_bad(entry["file"], entry["unit"], entry["why"])
            else:
                part: ScoredPart = TypeAdapter(ScoredPart).validate_python(entry)
                self.parts[part.file, part.unit] = part
        self.parts = {place: part for place, part in self.parts.items() if self._is_there(folder, part)}

    def commit(self, part: ScoredPart) -> None:
        """Note a part that lies in its place."""
        self._append(dump(part))
        self.parts[part.file, part.unit] = part

    def spoil(self, file: int, *, unit: int, why: str) -> None:
        """Note that a file is bad from some unit on."""
        self._append({"file": file, "unit": unit, "why": why})
        self._note_bad(file, unit, why)

    @staticmethod
    def _is_there(folder: Path, part: ScoredPart) -> bool:
        return _is(folder / part.part, num_bytes=part.num_bytes, sha256=part.sha256)

    def _note_bad(self, file: int, unit: int, why: str) -> None:
        """The first fault of a file counts, in whichever order they are found."""
        self.bad[file] = min(self.bad.get(file, (unit, why)), (unit, why))

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _work_folders(into: Path) -> list[Path]:
    if not into.parent.is_dir():
        return []
    start, length = f".{into.name}.", len(f".{into.name}.") + 12 + len(".job")
    names = [path.name for path in into.parent.iterdir()]
    return [
        into.with_name(name)
        for name in sorted(names)
        if name.startswith(start) and name.endswith(".job") and len(name) == length
    ]


def _read(folder: Path, name: str) -> Recorded | None:
    try:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        whole = values if name == SUCCESS else None
        if whole is not None and values["format_version"] == 1:
            _ = values["files"], values["model"]["identity"]
            return Recorded(folder=folder, job=None, origin={}, success=None)
        return Recorded(folder=folder, job=dict(values["job"]), origin=dict(values["origin"]), success=whole)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is(path: Path, *, num_bytes: int, sha256: str) -> bool:
    try:
        return path.stat().st_size == num_bytes and checksum(path) == sha256
    except OSError:
        return False
