"""How long threads wait awake for one another."""

from __future__ import annotations

import os

__all__ = ["wait_briefly"]


def wait_briefly() -> None:
    """Have OpenMP's threads sleep soon when they wait; to be called before torch is loaded.

    GNU's OpenMP turns a waiting thread in a loop for milliseconds before it sleeps. Where another process has one of
    the processors, that loop takes from those waited for, and a step of training takes twice as long. With the number
    of turns that it takes itself where threads outnumber processors, a quiet machine loses a tenth to a quarter
    (docs/performance.md). What the environment says already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
