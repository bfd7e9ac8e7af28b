"""Figures of a run from plain data, for MLflow (PNG) and for pages (SVG that takes the page's colours)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["learning_curve", "reliability", "roc", "to_svg"]

# Each colour is used for one thing, so that a page can replace it by its own for light and dark.
_INK, _FAINT, _LINE, _SECOND = "#1d2733", "#c9d1da", "#2563c9", "#c2571a"
_ON_A_PAGE = {_INK: "var(--ink)", _FAINT: "var(--faint)", _LINE: "var(--line)", _SECOND: "var(--second)"}
_WIDTH, _HEIGHT = 4.6, 3.4


def learning_curve(rows: Sequence[Mapping[str, float | None]]) -> Figure:
    """Training loss and validation log loss above, validation AUC below, by epoch.

    Args:
        rows: The lines of metrics.jsonl: ``step``, ``epoch``, ``train/loss``, ``valid/log_loss``, ``valid/auc``; what
            a line lacks is left out.
    """
    axis = "epoch" if any(row.get("epoch") is not None for row in rows) else "step"
    has_auc = any(row.get("valid/auc") is not None for row in rows)
    figure = _figure()
    panels = figure.subplots(2 if has_auc else 1, 1, sharex=True, squeeze=False)[:, 0]
    _series(panels[0], rows, axis=axis, name="train/loss", label="train loss", color=_SECOND)
    _series(panels[0], rows, axis=axis, name="valid/log_loss", label="valid log loss", color=_LINE)
    if panels[0].get_lines():
        panels[0].legend(frameon=False, fontsize=9, labelcolor=_INK)
    if has_auc:
        _series(panels[1], rows, axis=axis, name="valid/auc", label="valid AUC", color=_LINE)
        best = max((row for row in rows if row.get("valid/auc") is not None), key=lambda row: row["valid/auc"] or 0.0)
        place, value = best[axis] or 0.0, best["valid/auc"] or 0.0
        panels[1].plot([place], [value], "o", color=_LINE, markersize=6)
        panels[1].set_title(f"best valid AUC {value:.5f} at {axis} {place:g}", fontsize=9, color=_INK, loc="left")
        panels[1].margins(y=0.15)
    panels[-1].set_xlabel(axis)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    for panel in panels:
        _style(panel)
    return figure


def roc(points: Mapping[str, Sequence[float]], *, auc: float | None = None) -> Figure:
    """The ROC curve.

    Args:
        points: ``false_positive_rate`` and ``true_positive_rate``.
        auc: Written into the figure.
    """
    figure = _figure()
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=_FAINT, linewidth=1)
    panel.plot(points["false_positive_rate"], points["true_positive_rate"], color=_LINE, linewidth=1.8)
    if auc is not None:
        panel.text(0.96, 0.06, f"AUC {auc:.5f}", ha="right", transform=panel.transAxes, color=_INK)
    panel.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    _style(panel)
    return figure


def reliability(curve: Mapping[str, Sequence[float]]) -> Figure:
    """Seen against predicted click rate with 95 % intervals; the diagonal is perfect calibration.

    Args:
        curve: ``predicted``, ``observed``, ``low`` and ``high``, by bin. Where all are above 0 and span more than a
            factor of 30, as rare clicks do, the axes are logarithmic.
    """
    figure = _figure()
    panel = figure.subplots()
    predicted, observed = list(curve["predicted"]), list(curve["observed"])
    values = predicted + observed
    if min(values) > 0 and max(values) > 30 * min(values):
        panel.set(xscale="log", yscale="log")
        ends = (min(values) / 1.5, min(1.0, max(values) * 1.5))
    else:
        margin = 0.05 * max(max(values) - min(values), 0.01)
        ends = (max(0.0, min(values) - margin), min(1.0, max(values) + margin))
    panel.plot(ends, ends, color=_FAINT, linewidth=1)
    panel.vlines(predicted, curve["low"], curve["high"], color=_LINE, linewidth=1, alpha=0.6)
    panel.plot(predicted, observed, "o-", color=_LINE, linewidth=1.2, markersize=4)
    panel.set(xlabel="predicted click rate", ylabel="seen click rate", xlim=ends, ylim=ends)
    _style(panel)
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
    return Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")


def _series(
    panel: Axes, rows: Iterable[Mapping[str, float | None]], *, axis: str, name: str, label: str, color: str
) -> None:
    known = [(row[axis], row[name]) for row in rows if row.get(name) is not None and row.get(axis) is not None]
    if known:
        places, values = zip(*known, strict=True)
        marker = "o" if len(known) < 30 else ""
        panel.plot(places, values, marker=marker, color=color, label=label, linewidth=1.6, markersize=3)


def _style(panel: Axes) -> None:
    panel.grid(color=_FAINT, linewidth=0.5, alpha=0.6)
    panel.tick_params(colors=_INK, labelsize=9, which="both")
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)
    for label in (panel.xaxis.label, panel.yaxis.label):
        label.set_color(_INK)
        label.set_fontsize(9.5)
