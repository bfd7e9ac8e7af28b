"""One trial as Ray Tune sees it: a training in a process of its own, followed by its metrics.jsonl."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ray import tune

from ctrgate.errors import ConfigError
from ctrgate.files import locked
from ctrgate.line_files import whole_lines

__all__ = ["TrialProcess"]

_LOOK_EVERY_SECONDS = 0.1
_LOCK_PATIENCE_SECONDS = 60.0  # for a process whose death was asked for
_LAST_LINE = 300


class TrialProcess(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Each step gives the next epoch: its number, its value (larger is better), and the seconds since the last one.

    The last step has no epoch but ``ended``: ``finished``, ``failed`` (an error of the settings or the data, which
    would come again), ``broken`` (any other) or ``interrupted``, with a ``reason``.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the training, or let it go on from its last checkpoint."""
        self._given = config["given"][config["trial"]]
        self._reported = int(self._given["reported"])
        self._since = time.monotonic()
        self._log = Path(self._given["folder"]) / "log.txt"
        self._child: subprocess.Popen[bytes] | None = None
        if not Path(self._given["stop_file"]).exists():
            self._wait_for_lock()
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "ctrgate.ward", str(os.getpid()), *self._given["command"]],
                    cwd=self._given["cwd"],
                    env={**os.environ, **self._given["environment"]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go over to another trial in the same worker."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch or the end."""
        while True:
            code = 0 if self._child is None else self._child.poll()  # before reading, so that no line is missed
            value = self._next_value()
            if value is not None and not math.isfinite(value):
                self.cleanup()
                return self._ended("failed", f"{self._given['metric']} on valid is {value}")
            if value is not None:
                self._reported += 1
                return {"epoch": self._reported, "value": value, "seconds": self._seconds()}
            if Path(self._given["stop_file"]).exists():
                self.cleanup()
                return self._ended("interrupted")
            if code is not None:
                how = {0: "finished", 2: "failed"}.get(code, "broken")
                return self._ended(how, "" if code == 0 else self._last_line(code))
            time.sleep(_LOOK_EVERY_SECONDS)

    def cleanup(self) -> None:
        """Let the training save its state, and wait for its end.

        What was reported is saved before it is told to stop; one that is through with its last epoch ends by itself.
        """
        if self._child is None:
            return
        told = False
        while self._child.poll() is None:
            progress = self._progress()
            saved = progress.get("epoch", 0) >= self._reported + int(self._given["epochs_before"])
            if not told and not progress.get("finished") and (saved or not self._reported):
                self._child.send_signal(signal.SIGTERM)
                told = True
            time.sleep(_LOOK_EVERY_SECONDS)
        self._child = None

    def _progress(self) -> dict[str, Any]:
        """Of the last checkpoint; nothing before the first and while one takes another's place."""
        checkpoints = Path(self._given["folder"]) / "checkpoints"
        try:
            last = checkpoints / (checkpoints / "last").read_text(encoding="utf-8").strip()
            found: dict[str, Any] = json.loads((last / "progress.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's state is in its own folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""

    def _next_value(self) -> float | None:
        path = Path(self._given["folder"]) / "metrics.jsonl"
        wanted = self._reported + 1 + int(self._given["epochs_before"])
        for line in map(json.loads, whole_lines(path)):
            if line["epoch"] == wanted:
                return float(self._given["sign"] * line[f"valid/{self._given['metric']}"])
        return None

    def _wait_for_lock(self) -> None:
        """A killed search's training may take a moment to be gone."""
        until = time.monotonic() + _LOCK_PATIENCE_SECONDS
        folder = Path(self._given["folder"])
        while True:
            try:
                with locked(folder.with_name(f".{folder.name}.lock"), what=f"the trial {folder}"):
                    return
            except ConfigError:
                if time.monotonic() > until:
                    return  # the training itself will say so
            time.sleep(_LOOK_EVERY_SECONDS)

    def _ended(self, how: str, reason: str = "") -> dict[str, Any]:
        return {"ended": how, "reason": reason, "seconds": self._seconds(), "done": True}

    def _last_line(self, code: int) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit code {code}: {lines[-1].strip()[-_LAST_LINE:] if lines else 'it said nothing'}"

    def _seconds(self) -> float:
        now = time.monotonic()
        self._since, passed = now, now - self._since
        return round(passed, 3)
