"""Beauty's lines as events."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks.beauty_events import main


def test_a_line_becomes_a_row_for_each_of_its_items_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("1 5 4 5\n2 9\n")
    into = tmp_path / "new/events.parquet"
    assert main(["--sequences", str(tmp_path / "lines.txt"), "--into", str(into)]) == 0
    assert pl.read_parquet(into).rows() == [(1, 5), (1, 4), (1, 5), (2, 9)]


@pytest.mark.parametrize("line", ["2", "", "2 x", "2  3", "2 3 "])
def test_a_line_of_another_kind_is_told_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (tmp_path / "lines.txt").write_text(f"1 5 4\n{line}\n")
    into = tmp_path / "events.parquet"
    assert main(["--sequences", str(tmp_path / "lines.txt"), "--into", str(into)]) == 1
    assert f"lines.txt line 2: expected USER ITEM ITEM ..., got {line!r}" in capsys.readouterr().err
    assert not into.exists()


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sequences", str(tmp_path / "none.txt"), "--into", str(tmp_path / "x.parquet")]) == 1
    assert "none.txt cannot be read as sequences" in capsys.readouterr().err
