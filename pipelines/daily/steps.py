"""Steps of a day that are done once: each is known by a key made of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ctrgate import __version__
from ctrgate.files import write_json

__all__ = ["Steps", "key_of", "seconds_of"]


def key_of(*parts: Any) -> str:
    """A short hash of plain values."""
    text = json.dumps([__version__, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Steps:
    """The steps of one day, each with a file that appears once it is done.

    A step's key holds that of the step before it, so that whatever changes is done again, and all that follows.

    Args:
        folder: Where the files lie.
        key: What the first step depends on.
    """

    def __init__(self, folder: Path, *, key: str) -> None:
        self._folder, self._key = folder, key

    def once(self, name: str, work: Callable[[], Mapping[str, Any]], *, needs: Any = None) -> Mapping[str, Any]:
        """What a step has given: by its file where its key is the same, else by doing it now.

        Args:
            name: Of the step, and of its file.
            work: Does it; may be done again after a kill.
            needs: What it depends on besides the step before.
        """
        self._key = key_of(self._key, name, needs)
        path = self._folder / f"{name}.json"
        if path.exists():
            done = json.loads(path.read_text())
            if done["key"] == self._key:
                result: Mapping[str, Any] = done["result"]
                return result
        started = time.monotonic()
        result = work()
        write_json(path, {"key": self._key, "result": result, "seconds": round(time.monotonic() - started, 1)})
        return result


def seconds_of(folder: Path) -> float:
    """How long the steps of a day took, each the time that it was done."""
    return float(sum(json.loads(path.read_text())["seconds"] for path in folder.glob("*.json")))
