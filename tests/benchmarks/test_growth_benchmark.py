"""The benchmark of growth: its ratios, tables and figure, and that every point works."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.growth.__main__ import Curve, draw, table
from benchmarks.growth.points import BATCH, BY_FIELDS, BY_LENGTH, EVENTS, point
from benchmarks.speed.turns import Measured


def _curve(grows: str, *, of: str, points: dict[int, tuple[int, Sequence[float]]]) -> Curve:
    """By size the rows of a turn, and seconds of processor of each."""
    found = {
        size: Measured(rows=rows, seconds=list(seconds), cpu_seconds=list(seconds), peak_mb=size / 2)
        for size, (rows, seconds) in points.items()
    }
    return Curve(grows=grows, of=of, points=found)


def test_costs_are_by_row_or_event_and_ratios_to_the_smallest() -> None:
    rows = _curve("rows", of="prepare", points={100: (100, [0.1, 9.0, 0.1]), 1000: (1000, [2.0, 2.0, 2.0])})
    assert (rows.cost(100), rows.cost(1000)) == (pytest.approx(1000), pytest.approx(2000))
    assert rows.to_first(1000) == pytest.approx(2)
    length = _curve("length", of="DIN", points={50: (20, [1.0]), 1000: (1, [3.0])})
    assert (length.cost(50), length.cost(1000)) == (pytest.approx(1000), pytest.approx(3000))


def test_the_table_has_a_line_for_each_size() -> None:
    points = {10: (1024, [0.1024]), 200: (1024, [1.024])}
    fewer = {10: points[10]}
    lines = table([_curve("fields", of="A", points=points), _curve("fields", of="B", points=fewer)]).splitlines()
    assert lines[0] == "| fields | A: µs of a row | to the first | peak MB | B: µs of a row | to the first | peak MB |"
    assert lines[2:] == [
        "| 10 | 100.0 | 1.00 | 5 | 100.0 | 1.00 | 5 |",
        "| 200 | 1,000.0 | 10.00 | 100 | not tried |  |  |",
    ]


def test_the_figure_has_a_panel_for_each_of_what_grows() -> None:
    curves = [_curve(grows, of="A", points={10: (1, [1.0]), 20: (2, [6.0])}) for grows in ("rows", "length")]
    panels = draw(curves).axes
    assert [panel.get_xlabel() for panel in panels] == ["rows", "events of a history"]
    assert list(panels[0].get_lines()[0].get_ydata()) == [1.0, 3.0]
    assert list(panels[1].get_lines()[0].get_ydata()) == [1.0, 1.5]


@pytest.mark.parametrize(
    ("name", "size", "rows"),
    [*((name, 3, BATCH) for name in BY_FIELDS), *((name, 1000, EVENTS // 1000) for name in BY_LENGTH)],
)
def test_a_step_of_each_network_is_taken(name: str, size: int, rows: int) -> None:
    assert point(name, size)() == rows
