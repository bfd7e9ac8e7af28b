"""The table and the figure of cross nets by depth."""

from __future__ import annotations

import pytest

from benchmarks.cross_depth import draw, table

AREAS = {"frappe_gcn": {1: [0.9, 0.8], 2: [0.95, 0.95]}, "frappe_cn_v2": {1: [0.7, 0.7], 2: [0.6, 0.8]}}


def test_the_table_has_means_and_spreads() -> None:
    lines = table(AREAS).splitlines()
    assert lines[0] == "| cross layers | GCN (gated) | CN-V2 (plain) |"
    assert lines[2] == "| 1 | 0.85000 ± 0.07071 | 0.70000 ± 0.00000 |"
    assert lines[3] == "| 2 | 0.95000 ± 0.00000 | 0.70000 ± 0.14142 |"


def test_the_figure_has_a_line_per_net_and_a_dot_per_seed() -> None:
    (panel,) = draw(AREAS).axes
    lines = [line for line in panel.get_lines() if line.get_marker() != "o"]
    assert list(lines[0].get_ydata()) == pytest.approx([0.85, 0.95])
    assert list(lines[1].get_ydata()) == pytest.approx([0.7, 0.7])
    assert len(lines) == 2
    assert sum(len(line.get_xdata()) for line in panel.get_lines() if line.get_marker() == "o") == 8
