"""Files that grow by a line at a time: whole lines are kept, whatever stands in them, and a cut one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctrgate.line_files import append_line, whole_lines


def test_there_are_no_lines_where_there_is_no_file(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "log", cut=True) == []


@pytest.mark.parametrize("text", ["one", "", "ends of lines to others: \u2028 \x0b \x85", "ü"])
def test_a_line_is_read_as_it_was_added(tmp_path: Path, text: str) -> None:
    for each in (text, "next"):
        append_line(tmp_path / "log", each)
    assert whole_lines(tmp_path / "log") == [text, "next"]


def test_a_line_that_a_kill_cut_short_is_left_out_and_cut_off_before_another_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append_line(path, "größe")
    with path.open("a", encoding="utf-8") as file:
        file.write("cut sh")
    assert whole_lines(path) == ["größe"]
    assert path.read_text(encoding="utf-8").endswith("cut sh")
    assert whole_lines(path, cut=True) == ["größe"]
    append_line(path, "next")
    assert whole_lines(path) == ["größe", "next"]
