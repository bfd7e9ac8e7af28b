"""The figures of a search: what each setting does to the metric, and how its trials learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctrgate.figures import HEIGHT, LINE, SECOND, WIDTH, cut, style

__all__ = ["learning_curves", "slice_plot"]


def slice_plot(
    places: Sequence[Any],
    values: Sequence[float],
    *,
    label: str,
    ylabel: str,
    log: bool,
    best: int,
    pale: Sequence[bool],
) -> Figure:
    """What runs reached over one of their settings.

    Args:
        places: Each run's setting: numbers, or anything else, which is set out evenly.
        values: What each reached.
        label: Of the setting.
        ylabel: Of the values.
        log: Whether the setting's axis is logarithmic.
        best: The run that has the second colour.
        pale: Runs that deserve less attention.
    """
    figure = Figure(figsize=(WIDTH, 0.8 * HEIGHT), layout="constrained")
    panel = figure.subplots()
    numbers = all(isinstance(place, int | float) and not isinstance(place, bool) for place in places)
    names = [] if numbers else sorted({str(place) for place in places})
    at = list(places) if numbers else [names.index(str(place)) for place in places]
    for place, value, is_pale in zip(at, values, pale, strict=True):
        panel.plot([place], [value], "o", color=LINE, markersize=5, alpha=0.3 if is_pale else 0.8, markeredgewidth=0)
    panel.plot([at[best]], [values[best]], "o", color=SECOND, markersize=8)
    if log and numbers:
        panel.set_xscale("log")
    elif not numbers:
        panel.set_xticks(range(len(names)), [cut(name) for name in names])
        panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set(xlabel=label, ylabel=ylabel)
    style(panel)
    return figure


def learning_curves(curves: Sequence[Sequence[float]], *, ylabel: str, best: int) -> Figure:
    """The metric of many runs by epoch; the best one has the second colour.

    Args:
        curves: Each run's values from its first epoch on; short ones ended early.
        ylabel: Of the metric.
        best: The place of the best run.
    """
    figure = Figure(figsize=(1.6 * WIDTH, HEIGHT), layout="constrained")
    panel = figure.subplots()
    for number, curve in enumerate(curves):
        chosen = number == best
        panel.plot(
            range(1, len(curve) + 1),
            curve,
            "o-",
            color=SECOND if chosen else LINE,
            alpha=1.0 if chosen else 0.35,
            linewidth=2.0 if chosen else 1.0,
            markersize=3 if chosen else 2,
            zorder=3 if chosen else 2,
        )
    panel.set(xlabel="epoch", ylabel=ylabel)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    style(panel)
    return figure
