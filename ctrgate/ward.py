"""``python -m ctrgate.ward PARENT COMMAND ...``: become a command that is killed with the process that started it.

One that went on alone would hold its folder against the next call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["main"]

_SET_PARENT_DEATH_SIGNAL = 1  # prctl's, of Linux


def main() -> None:
    """Ask for the signal, see that the parent is still there, and turn into the command."""
    parent = int(sys.argv[1])
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
