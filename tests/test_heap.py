"""What is freed is kept: a process that has called it does not fault pages in again."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from ctrgate.heap import keep_heap
torch.set_num_threads(1)
KEPT
def step():
    made = [torch.ones(1_000_000) for _ in range(10)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux's")
def test_freed_tensors_are_reused_without_asking_the_system_for_pages() -> None:
    def faults(kept: str) -> int:
        program = PROGRAM.replace("KEPT", kept)
        return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)

    assert faults("keep_heap()") * 10 < faults("")
