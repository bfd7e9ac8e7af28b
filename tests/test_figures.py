"""Figures from plain data, for pages and for MLflow."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from ctrgate import figures


def test_a_figure_as_svg_is_xml_in_the_pages_colours_and_always_the_same() -> None:
    points = {"false_positive_rate": [0, 0.5, 1], "true_positive_rate": [0, 0.8, 1]}
    svg = figures.to_svg(figures.roc(points, auc=0.65), title='ROC of "a" & <b>')
    ET.fromstring(svg)
    assert "AUC 0.65000" in svg
    assert "var(--line)" in svg
    assert "#2563c9" not in svg
    assert svg == figures.to_svg(figures.roc(points, auc=0.65), title='ROC of "a" & <b>')


def test_figures_take_what_there_is(tmp_path: Path) -> None:
    one_line = figures.learning_curve([{"step": 5.0, "epoch": 1.0, "train/loss": 0.5}])
    no_auc = figures.learning_curve([{"step": 5.0, "train/loss": 0.5}, {"step": 9.0, "train/loss": None}])
    rare = {"predicted": [1e-4, 1e-2], "observed": [2e-4, 9e-3], "low": [1e-4, 8e-3], "high": [3e-4, 1e-2]}
    none_seen = {"predicted": [0.5], "observed": [0.0], "low": [0.0], "high": [0.1]}
    drawn = (one_line, no_auc, figures.reliability(rare), figures.reliability(none_seen))
    for index, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{index}.png")
    assert len(no_auc.axes) == 1
    assert figures.reliability(rare).axes[0].get_xscale() == "log"
    assert figures.reliability(none_seen).axes[0].get_xscale() == "linear"


def test_bars_begin_at_the_neutral_value_and_tell_which_side_they_are_on() -> None:
    figure = figures.horizontal_bars(
        ["above", "a_label_that_is_longer_than_most"], [1.25, 0.5], spread=[0.1, 0.2], start=1.0, xlabel="mean"
    )
    panel = figure.axes[0]
    first, second = panel.patches
    assert (first.get_x(), first.get_width()) == (1.0, 0.25)
    assert (second.get_x() + second.get_width(), second.get_x()) == (0.5, 1.0)
    assert first.get_facecolor() != second.get_facecolor()
    lines = panel.collections[0].get_segments()
    np.testing.assert_allclose([line[:, 0] for line in lines], [[1.15, 1.35], [0.3, 0.7]])
    assert [label.get_text() for label in panel.get_yticklabels()] == ["above", "a_label_that_is_l…"]
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first on top


def test_cells_are_as_deep_as_their_shade_and_show_their_value(tmp_path: Path) -> None:
    values, shades = [[0.5, 0.75], [0.25, 0.5]], [[0.0, 0.5], [-0.25, 0.0]]
    figure = figures.heat_map(values, rows=["a", "b"], columns=["x", "y"], shades=shades)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["0.50", "0.75", "0.25", "0.50"]
    cells = {}
    for patch in panel.patches:
        for corners in patch.get_path().to_polygons():
            column, row = np.floor(corners.min(axis=0)).astype(int).tolist()
            cells[row, column] = (patch.get_facecolor()[:3], patch.get_alpha())
    assert len(cells) == 4
    (above, deepest), (below, half) = cells[0, 1], cells[1, 0]
    assert above != below
    assert deepest == pytest.approx(2 * half)
    assert cells[0, 0][1] == cells[1, 1][1] == 0
    assert panel.get_ylim() == (2, 0)  # the first row on top
    bare = figures.heat_map([[1.0] * 40] * 40, rows=["r"] * 40, columns=["c"] * 40, numbered=False)
    assert len(bare.axes[0].texts) == 0
    bare.savefig(tmp_path / "bare.png")
    figures.heat_map([[0.0]], rows=["r"], columns=["c"]).savefig(tmp_path / "zero.png")


def test_curves_of_variance_are_marked_where_they_are_cut() -> None:
    figure = figures.explained_variance([[0.5, 0.8, 1.0], [1.0]], kept=[2, 0], aim=0.75)
    lines = figure.axes[0].get_lines()
    marks = [line for line in lines if line.get_marker() == "o"]
    assert [(list(mark.get_xdata()), list(mark.get_ydata())) for mark in marks] == [([2], [0.8])]


def test_epochs_are_whole_numbers_on_the_axis_of_a_curve_also_where_there_is_one() -> None:
    for epochs in ([1], [1, 2, 3]):
        figure = figures.learning_curve(
            [{"step": 5 * one, "epoch": one, "train/loss": 0.5, "valid/auc": 0.7} for one in epochs]
        )
        figure.canvas.draw()
        panel = figure.axes[-1]
        low, high = panel.get_xlim()
        assert [tick for tick in panel.get_xticks() if low <= tick <= high] == epochs


def test_the_learning_curve_marks_the_best_epoch() -> None:
    rows = [
        {"step": 10.0 * epoch, "epoch": float(epoch), "valid/auc": auc} for epoch, auc in ((1, 0.7), (2, 0.9), (3, 0.8))
    ]
    figure = figures.learning_curve(rows)
    assert "0.90000 at epoch 2" in figure.axes[1].get_title(loc="left")
