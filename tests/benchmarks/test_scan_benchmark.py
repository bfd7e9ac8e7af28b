"""The benchmark of the scan compares like with like, and its table."""

from __future__ import annotations

import pytest
import torch

from benchmarks import scan
from benchmarks.scan import Row, step_loop, table
from ctrgate.layers.scan import selective_scan


def test_the_loop_computes_what_the_scan_does() -> None:
    given = scan._inputs(2, 7)
    torch.testing.assert_close(step_loop(*given), selective_scan(*given))


def test_the_table_has_medians_and_ratios_within_a_repeat() -> None:
    row = Row(num_rows=1, length=50, scan=[0.001, 0.004, 0.002], loop=[0.003, 0.004, 0.008], step=[0.004, 0.008, 0.01])
    assert table([row]).splitlines()[2] == "| 1 | 50 | 2.0 | 4.0 | 3.00 | 8.0 | 25% |"


def test_it_measures_and_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scan, "REPEATS", (1, 1))
    monkeypatch.setattr(scan, "NUM_ITEMS", 10)
    assert scan.main(["--rows", "2", "--lengths", "3", "--threads", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| 2 | 3 | ")
