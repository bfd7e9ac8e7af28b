"""Figures of a run from plain data, for MLflow (PNG) and for pages (SVG that takes the page's colours)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

__all__ = [
    "explained_variance",
    "forest",
    "heat_map",
    "horizontal_bars",
    "learning_curve",
    "over_time",
    "reliabilities",
    "reliability",
    "roc",
    "to_svg",
]

# Each colour is used for one thing, so that a page can replace it by its own for light and dark.
INK, FAINT, LINE, SECOND = "#1d2733", "#c9d1da", "#2563c9", "#c2571a"
_ON_A_PAGE = {INK: "var(--ink)", FAINT: "var(--faint)", LINE: "var(--line)", SECOND: "var(--second)"}
WIDTH, HEIGHT = 4.6, 3.4
_MEASURED = {"auc": "AUC", "ndcg": "NDCG"}  # what the learning curve shows of valid
_BAR, _CELL, _SMALL_CELL, _CHARACTER = 0.23, 0.31, 0.17, 0.075  # inches
_LONGEST_LABEL = 18
_LEVELS = 20  # of opacity; the cells of one level are one path, which keeps a page small


def learning_curve(rows: Sequence[Mapping[str, float | None]]) -> Figure:
    """Training loss and validation log loss above, validation AUC (of next items, NDCG) below, by epoch.

    Args:
        rows: The lines of metrics.jsonl: ``step``, ``epoch``, ``train/loss``, ``valid/log_loss``, ``valid/auc`` or
            ``valid/ndcg``; what a line lacks is left out.
    """
    axis = "epoch" if any(row.get("epoch") is not None for row in rows) else "step"
    measured = [metric for metric in _MEASURED if any(row.get(f"valid/{metric}") is not None for row in rows)]
    figure = _figure()
    panels = figure.subplots(2 if measured else 1, 1, sharex=True, squeeze=False)[:, 0]
    _series(panels[0], rows, axis=axis, name="train/loss", label="train loss", color=SECOND)
    _series(panels[0], rows, axis=axis, name="valid/log_loss", label="valid log loss", color=LINE)
    if panels[0].get_lines():
        panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    for metric in measured[:1]:
        name, title = f"valid/{metric}", f"valid {_MEASURED[metric]}"
        _series(panels[1], rows, axis=axis, name=name, label=title, color=LINE)
        best = max((row for row in rows if row.get(name) is not None), key=lambda row: row[name] or 0.0)
        place, value = best[axis] or 0.0, best[name] or 0.0
        panels[1].plot([place], [value], "o", color=LINE, markersize=6)
        panels[1].set_title(f"best {title} {value:.5f} at {axis} {place:g}", fontsize=9, color=INK, loc="left")
        panels[1].margins(y=0.15)
    panels[-1].set_xlabel(axis)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    for panel in panels:
        style(panel)
    return figure


def roc(points: Mapping[str, Sequence[float]], *, auc: float | None = None) -> Figure:
    """The ROC curve.

    Args:
        points: ``false_positive_rate`` and ``true_positive_rate``.
        auc: Written into the figure.
    """
    figure = _figure()
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    panel.plot(points["false_positive_rate"], points["true_positive_rate"], color=LINE, linewidth=1.8)
    if auc is not None:
        panel.text(0.96, 0.06, f"AUC {auc:.5f}", ha="right", transform=panel.transAxes, color=INK)
    panel.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    style(panel)
    return figure


def reliability(curve: Mapping[str, Sequence[float]]) -> Figure:
    """Seen against predicted click rate with 95 % intervals; the diagonal is perfect calibration.

    Args:
        curve: ``predicted``, ``observed``, ``low`` and ``high``, by bin. Where all are above 0 and span more than a
            factor of 30, as rare clicks do, the axes are logarithmic.
    """
    return reliabilities({"": curve})


def reliabilities(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The same of up to two models by name; the second has the second colour."""
    figure = _figure()
    panel = figure.subplots()
    values = [value for curve in curves.values() for key in ("predicted", "observed") for value in curve[key]]
    if min(values) > 0 and max(values) > 30 * min(values):
        panel.set(xscale="log", yscale="log")
        ends = (min(values) / 1.5, min(1.0, max(values) * 1.5))
    else:
        margin = 0.05 * max(max(values) - min(values), 0.01)
        ends = (max(0.0, min(values) - margin), min(1.0, max(values) + margin))
    panel.plot(ends, ends, color=FAINT, linewidth=1)
    for color, (name, curve) in zip((LINE, SECOND), curves.items(), strict=False):
        panel.vlines(curve["predicted"], curve["low"], curve["high"], color=color, linewidth=1, alpha=0.6)
        panel.plot(curve["predicted"], curve["observed"], "o-", color=color, linewidth=1.2, markersize=4, label=name)
    if len(curves) > 1:
        panel.legend(frameon=False, fontsize=9, labelcolor=INK)
    panel.set(xlabel="predicted click rate", ylabel="seen click rate", xlim=ends, ylim=ends)
    style(panel)
    return figure


def forest(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    intervals: Sequence[tuple[float, float]],
    xlabel: str,
    faint: Sequence[bool] | None = None,
) -> Figure:
    """Differences with their intervals, the first on top, beside the line of no difference.

    An interval wholly above 0 has the first colour, one wholly below it the second, and one that holds 0 neither.

    Args:
        labels: Cut where they are long.
        values: The differences.
        intervals: Low and high of each.
        xlabel: Of the values.
        faint: Those that deserve less attention.
    """
    figure = Figure(figsize=(WIDTH, 0.75 + 1.25 * _BAR * len(labels)), layout="constrained")
    panel = figure.subplots()
    panel.axvline(0, color=INK, linewidth=0.8)
    pale = faint if faint is not None else [False] * len(labels)
    for place, (value, (low, high), is_pale) in enumerate(zip(values, intervals, pale, strict=True)):
        color = LINE if low > 0 else SECOND if high < 0 else INK
        alpha = 0.4 if is_pale else 1.0
        panel.hlines([place], [low], [high], color=color, linewidth=1.6, alpha=alpha)
        panel.plot([value], [place], "o", color=color, markersize=5, alpha=alpha)
    panel.set_yticks(range(len(labels)), [cut(label) for label in labels])
    panel.set(xlabel=xlabel, ylim=(len(labels) - 0.4, -0.6))
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
    style(panel)
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", length=0)
    return figure


def over_time(
    dates: Sequence[str],
    series: Mapping[str, Mapping[str, tuple[float, float | None, float | None]]],
    *,
    ylabel: str,
    marked: Sequence[str] = (),
) -> Figure:
    """Values with their intervals over dates, three series side by side at most.

    Args:
        dates: All of them, in order; evenly spaced.
        series: By name, per date the value with the low and high end of its interval, where there is one.
        ylabel: Of the values.
        marked: Dates that have a mark below.
    """
    figure = Figure(figsize=(1.6 * WIDTH, HEIGHT), layout="constrained")
    panel, place = figure.subplots(), {date: number for number, date in enumerate(dates)}
    colors = (LINE, SECOND, INK)[: len(series)]
    for number, (color, (name, points)) in enumerate(zip(colors, series.items(), strict=True)):
        at = [place[date] + 0.12 * (number - (len(series) - 1) / 2) for date in points]
        for x, (_, low, high) in zip(at, points.values(), strict=True):
            if low is not None and high is not None:
                panel.vlines([x], [low], [high], color=color, alpha=0.6)
        panel.plot(
            at, [value for value, _, _ in points.values()], "o-", color=color, linewidth=1.2, markersize=4, label=name
        )
    if marked:
        low, _high = panel.get_ylim()
        panel.plot([place[date] for date in marked], [low] * len(marked), "^", color=INK, markersize=6)
    step = max(1, -(-len(dates) // 8))
    panel.set_xticks(range(0, len(dates), step), [dates[number] for number in range(0, len(dates), step)])
    panel.set(ylabel=ylabel, xlim=(-0.5, len(dates) - 0.5))
    panel.legend(frameon=False, fontsize=9, labelcolor=INK)
    style(panel)
    return figure


def horizontal_bars(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    xlabel: str,
    spread: Sequence[float] | None = None,
    start: float = 0.0,
    marks: Sequence[float] | None = None,
    end: float | None = None,
) -> Figure:
    """A bar for each label, the first on top; those to the left of ``start`` have the second colour.

    Args:
        labels: Cut where they are long.
        values: Where bars end.
        xlabel: Of the values.
        spread: Half the length of a thin line around each bar's end.
        start: Where bars begin, say a gate's neutral value; drawn as a line.
        marks: A second value for each label, as a short upright line in the second colour.
        end: The axis' right end; by default it fits.
    """
    figure = Figure(figsize=(WIDTH, 0.75 + _BAR * len(labels)), layout="constrained")
    panel = figure.subplots()
    places = list(range(len(labels)))
    colors = [LINE if value >= start else SECOND for value in values]
    lengths = [value - start for value in values]
    panel.barh(places, lengths, left=start, color=colors, alpha=0.55, height=0.62)
    if spread is not None:
        lows, highs = ([value + side * half for value, half in zip(values, spread, strict=True)] for side in (-1, 1))
        panel.hlines(places, lows, highs, color=INK, linewidth=1)
    if marks is not None:
        panel.vlines(marks, [place - 0.4 for place in places], [place + 0.4 for place in places], color=SECOND)
    panel.axvline(start, color=INK, linewidth=0.8)
    panel.set_yticks(places, [cut(label) for label in labels])
    panel.set(xlabel=xlabel, ylim=(len(labels) - 0.4, -0.6))
    panel.set_xlim(right=end)
    style(panel)
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", length=0)
    return figure


def heat_map(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    shades: Sequence[Sequence[float]] | None = None,
    numbered: bool = True,
) -> Figure:
    """A table of cells in one colour of varying opacity.

    Args:
        values: ``len(rows)`` lists of ``len(columns)`` numbers.
        rows: Labels, from the top.
        columns: Labels.
        shades: What opacity stands for where it is not the value; below 0 a cell has the second colour.
        numbered: Whether the values are written in; without them cells are smaller.
    """
    shown = values if shades is None else shades
    largest = max((abs(shade) for line in shown for shade in line), default=0.0) or 1.0
    cells: dict[tuple[str, int], list[Path]] = {}
    for row, line in enumerate(shown):
        for column, shade in enumerate(line):
            level = round(_LEVELS * abs(shade) / largest)
            key = (LINE if shade >= 0 else SECOND, level)
            corners = [(column + x, row + y) for x, y in ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98))]
            cells.setdefault(key, []).append(Path([*corners, corners[0]], closed=True))
    labels = (max(len(cut(label)) for label in names) * _CHARACTER for names in (rows, columns))
    beside, below = labels
    cell = _CELL if numbered else _SMALL_CELL
    size = (beside + 0.35 + cell * len(columns), below * 0.75 + 0.35 + cell * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panel = figure.subplots()
    deepest = 0.65 if numbered else 1.0  # ink must be readable upon it
    for (color, level), paths in sorted(cells.items()):
        path = Path.make_compound_path(*paths)
        panel.add_patch(PathPatch(path, facecolor=color, alpha=deepest * level / _LEVELS, linewidth=0))
    if numbered:
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                panel.text(column + 0.5, row + 0.52, f"{value:.2f}", ha="center", va="center", fontsize=7, color=INK)
    panel.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    panel.set_xticks([place + 0.5 for place in range(len(columns))], [cut(label) for label in columns])
    panel.set_yticks([place + 0.5 for place in range(len(rows))], [cut(label) for label in rows])
    panel.tick_params(colors=INK, labelsize=8.5, length=0)
    for label in panel.get_xticklabels():
        label.set(rotation=45 if numbered else 90, ha="right", va="center", rotation_mode="anchor")
    for spine in panel.spines.values():
        spine.set_visible(False)
    return figure


def explained_variance(curves: Sequence[Sequence[float]], *, kept: Sequence[int], aim: float) -> Figure:
    """Per field the variance that its first components explain together; a dot where the field is cut.

    Args:
        curves: Per field the shares of 1, 2, ... components.
        kept: Per field the number of components that stay.
        aim: The share that was asked for.
    """
    figure = _figure()
    panel = figure.subplots()
    panel.axhline(aim, color=SECOND, linewidth=1)
    for curve, width in zip(curves, kept, strict=True):
        panel.plot(range(1, len(curve) + 1), curve, color=LINE, linewidth=1, alpha=0.5)
        if 0 < width <= len(curve):
            panel.plot([width], [curve[width - 1]], "o", color=LINE, markersize=4)
    panel.set(xlabel="components", ylabel="share of the variance", ylim=(0, 1.03))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    style(panel)
    return figure


def to_svg(figure: Figure, *, title: str) -> str:
    """A figure as an ``<svg>`` element for a page that defines ``--ink``, ``--faint``, ``--line`` and ``--second``.

    Args:
        figure: One of the above.
        title: Read by screen readers; also keeps the ids of several figures on one page apart.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font-size: \1px", svg)  # the page's own font
    for color, variable in _ON_A_PAGE.items():
        svg = svg.replace(color, variable)
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _figure() -> Figure:
    return Figure(figsize=(WIDTH, HEIGHT), layout="constrained")


def cut(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _series(
    panel: Axes, rows: Iterable[Mapping[str, float | None]], *, axis: str, name: str, label: str, color: str
) -> None:
    known = [(row[axis], row[name]) for row in rows if row.get(name) is not None and row.get(axis) is not None]
    if known:
        places, values = zip(*known, strict=True)
        marker = "o" if len(known) < 30 else ""
        panel.plot(places, values, marker=marker, color=color, label=label, linewidth=1.6, markersize=3)


def style(panel: Axes) -> None:
    panel.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    panel.tick_params(colors=INK, labelsize=9, which="both")
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    for label in (panel.xaxis.label, panel.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(9.5)
