"""The benchmark of a GPU: its table from known seconds, and all its sides on a processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gpu


def test_rates_and_shares_are_those_of_the_medians() -> None:
    rows = gpu.TURN_ROWS
    lines = gpu.table({"fused bf16": [4.0, 2.0, 8.0], gpu.LIMIT: [1.0, 1.0, 3.0]}).splitlines()
    assert [part.strip() for part in lines[2].strip("|").split("|")] == [
        "fused bf16",
        f"{rows / 4:,.0f}",
        f"{rows / 8:,.0f} to {rows / 2:,.0f}",
        f"{4e3 * gpu.BATCH / rows:.2f}",
        "25%",
    ]
    assert lines[3].endswith("| 100% |")


@pytest.mark.slow
def test_every_side_works_on_a_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--rows", "20000", "--turns", "1", "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    names = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")][1:]
    assert names == [
        *(f"{name}{how}" for name in gpu.SIDES for how in ("", ", batches ready")),
        gpu.READ,
        gpu.MOVED,
        gpu.LIMIT,
    ]
