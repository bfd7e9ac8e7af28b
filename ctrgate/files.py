"""Files that appear whole or not at all, and checksums."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctrgate.errors import ConfigError, DataError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "checksum",
    "locked",
    "put_back",
    "remove_leftovers",
    "replace_folder",
    "write_json",
    "writing",
]


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is synced and renamed, on any error removed.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_file(place) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> place.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it takes the name ``path``, replacing what stood there.

    A kill between the two renames of a replacement leaves the old folder under a name ending in ``.old``; it is put
    back by the next call for the same path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = put_back(path)
    remove_leftovers(path.parent, of=re.escape(path.name))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder) / name)
            _sync(Path(folder))
        _take_place(path, temporary, old=old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, *, of: str = ".+") -> None:
    """Remove what killed processes left of files and folders that were to appear in a folder.

    Args:
        folder: Where they were to appear.
        of: A pattern of their names.
    """
    for other in list(folder.glob(".*.tmp")):
        named = re.fullmatch(rf"\.{of}\.(\d+)\.tmp", other.name)
        if not named or _alive(int(named[1])):
            continue
        if other.is_dir():
            shutil.rmtree(other)
        else:
            other.unlink(missing_ok=True)


def replace_folder(path: str | Path, *, by: Path) -> None:
    """Give a folder that lies beside ``path``, whole and synced, the name ``path``, as ``atomic_folder`` does."""
    path = Path(path)
    _take_place(path, by, old=put_back(path))


def _take_place(path: Path, temporary: Path, *, old: Path) -> None:
    if path.exists():
        os.rename(path, old)
    os.rename(temporary, path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def put_back(path: Path) -> Path:
    """Undo a replacement of a folder that a kill cut short; returns the name that the old folder has meanwhile."""
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)
    return old


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON, atomically; NaN and infinity are refused."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def locked(path: str | Path, *, what: str) -> Iterator[None]:
    """Hold a lock file for a block of work; the system frees it when the process ends, however it ends.

    Args:
        path: The lock file; it is gone afterwards.
        what: What is locked, for the message.

    Raises:
        ConfigError: Where another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"another process works on {what}; wait for it, or choose another name") from error
            if not _is(path, file.fileno()):  # its holder removed it between our opening and our lock
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _alive(process: int) -> bool:
    """Whether another process of that number runs; this one's own leftovers are not in use."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def writing(place: str | Path, *, setting: str, kept: str = "nothing was written") -> Iterator[None]:
    """Turn what a library says of a full or forbidden disk, within a block that writes, into a DataError.

    Args:
        place: What is written.
        setting: The setting that names another place.
        kept: What has become of the work so far.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # Libraries in Rust give no number, but end their message with it.
        if number in (errno.ENOSPC, errno.EDQUOT) or str(error).endswith(
            (f"(os error {errno.ENOSPC})", f"(os error {errno.EDQUOT})")
        ):
            text = f"no space left on the disk of {place}; {kept}. Free some, or set {setting}"
            raise DataError(text) from error
        if isinstance(error, OSError) and number in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DataError(f"{place} cannot be written: {error.strerror}; set {setting} to another place") from error
        raise


def checksum(path: str | Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
