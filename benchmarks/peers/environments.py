"""A virtual environment for each peer, made once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["InstallError", "environment"]


class InstallError(RuntimeError):
    """pip could not install what a peer needs."""


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment with just these packages and what they need; made where it is not there yet.

    Args:
        folder: Of the environment.
        requirements: As pip takes them.

    Raises:
        InstallError: With pip's last word.
    """
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(requirements)
    if done.exists() and done.read_text() == wanted:
        return python
    _carry_out([sys.executable, "-m", "venv", "--clear", str(folder)])
    _carry_out([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    done.write_text(wanted)
    return python


def _carry_out(command: Sequence[str]) -> None:
    ended = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
        raise InstallError(next((line for line in reversed(said) if line.startswith("ERROR")), said[-1]))
