"""Memory that a step of training frees is kept for the next one."""

from __future__ import annotations

import ctypes

__all__ = ["keep_heap"]

# Of glibc's malloc.h: from which size on memory is mapped for itself; how much may lie free at the heap's end; by how
# much it grows. The first is the largest that glibc takes.
_SETTINGS = {-3: 32 << 20, -1: (1 << 31) - 1, -2: 64 << 20}


def keep_heap() -> None:
    """Have malloc keep freed memory instead of handing it back to the system; without glibc, nothing changes.

    A step allocates and frees hundreds of megabytes in tensors of some megabytes each. By its defaults glibc returns
    them as they are freed, and the system fills each page with zeros when it is taken again, which costs a fifth of a
    step's time on a CPU. The most memory that a process holds at once stays what it was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for name, value in _SETTINGS.items():
        mallopt(name, value)
