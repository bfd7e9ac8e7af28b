"""What is freed is kept: a process that has called it does not hand pages back, to fault them in again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

# By malloc's own account, as not every kernel counts the faults of a process.
PROGRAM = """
import ctypes, torch
from ctrgate.heap import keep_heap
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Account(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]
account = ctypes.CDLL(None).mallinfo2
account.restype = Account
torch.set_num_threads(1)
KEPT
for _ in range(3):
    made = [torch.ones(1_000_000) for _ in range(50)]
    del made
print(account().fordblks)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no mallinfo2: glibc before 2.33, or none")
def test_freed_tensors_stay_with_the_process() -> None:
    def kept_free(call: str) -> int:
        program, options = PROGRAM.replace("KEPT", call), {"capture_output": True, "text": True, "check": True}
        # By its defaults, too, malloc may keep what is freed, if something else lies above it: so it is told not to.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
        return int(subprocess.run([sys.executable, "-c", program], env=environment, **options).stdout)

    assert kept_free("") < 80_000_000
    assert kept_free("keep_heap()") > 190_000_000  # of the 200 that the tensors took
