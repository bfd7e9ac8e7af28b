"""The page about a search: what was best, each setting's slice, the learning curves, and every trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ctrgate import page
from ctrgate.figures import to_svg
from ctrgate.page import Section, Tile
from ctrgate.tuning.figures import learning_curves, slice_plot
from ctrgate.tuning.plan import trial_name
from ctrgate.tuning.results import Line
from ctrgate.tuning.search import Search
from ctrgate.tuning.space import Range

__all__ = ["document", "shown"]

_NOTE = (
    "Only valid was looked at; test is for the one run that is chosen in the end. The best of many trials looks "
    "better on valid than it is, the more so the more trials there are and the closer they lie together. A trial that "
    "was stopped early is paler: its value is the best of the epochs it had."
)


def document(search: Search, found: Sequence[Line]) -> str:
    """The whole page.

    Args:
        search: Whose it is.
        found: Its trials, the best first; at least that one has a value.
    """
    best, title = found[0], _title(search.metric)
    ended = sum(line.state != "open" for line in found)
    drawn = ", ".join(f"{path} {shown(value)}" for path, value in best.settings.items())
    subtitle = f"Trial {trial_name(best.trial)} of {len(found)} is best: {drawn}"
    sections = [
        Section(title="The best trial", parts=[page.tiles(_tiles(found, title=title, ended=ended)), page.note(_NOTE)]),
        Section(title="By setting", parts=[_slices(found, title=title, space=search.settings.space)]),
        Section(title="Learning curves", parts=[_curves(found, title=title)]),
        Section(title="All trials", parts=[_table(found, title=title, larger_is_better=search.larger_is_better)]),
    ]
    failed = {trial_name(line.trial): line.reason for line in found if line.reason}
    if failed:
        sections.append(Section(title="Errors", parts=[page.pairs(failed)]))
    return page.page(f"{search.name}: search", subtitle=subtitle, sections=sections)


def shown(value: Any) -> str:
    """A setting as it is to be read."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _tiles(found: Sequence[Line], *, title: str, ended: int) -> list[Tile]:
    best = found[0]
    states = {state: sum(line.state == state for line in found) for state in ("stopped", "failed", "broken")}
    told = {"stopped": "stopped early", "failed": "failed", "broken": "broke off"}
    detail = ", ".join(f"{count} {told[state]}" for state, count in states.items() if count)
    known = [line for line in found if line.value is not None]
    middle = known[len(known) // 2]
    seconds, epochs = sum(line.seconds for line in found), sum(len(line.curve) for line in found)
    return [
        Tile(label=title, value=f"{best.value:.5f}", detail=f"in epoch {best.epoch} of {len(best.curve)}"),
        Tile(label="Middle trial", value=f"{middle.value:.5f}", detail=f"of {len(known)} with a value"),
        Tile(label="Trials ended", value=f"{ended} of {len(found)}", detail=detail),
        Tile(label="Training", value=f"{epochs:,} epochs", detail=f"{seconds / 60:,.1f} minutes of trials"),
    ]


def _slices(found: Sequence[Line], *, title: str, space: Mapping[str, Range]) -> page.Html:
    known = [line for line in found if line.value is not None]
    drawn = {}
    for path, of in space.items():
        figure = slice_plot(
            [_place(line.settings[path]) for line in known],
            [line.value for line in known if line.value is not None],
            label=path,
            ylabel=title,
            log=of.logarithmic,
            best=0,
            pale=[line.state == "stopped" for line in known],
        )
        drawn[f"{path}: {of.told}"] = to_svg(figure, title=f"{title} by {path}")
    return page.figures(drawn)


def _place(value: Any) -> Any:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)


def _curves(found: Sequence[Line], *, title: str) -> page.Html:
    figure = learning_curves([line.curve for line in found if line.curve], ylabel=title, best=0)
    caption = "Each line is a trial; where it ends before the others, it was stopped or had stopped to improve"
    return page.natural_figures({caption: to_svg(figure, title=f"{title} by epoch")})


def _table(found: Sequence[Line], *, title: str, larger_is_better: bool) -> page.Html:
    paths = list(found[0].settings)
    columns = ("trial", title, *paths, "best epoch", "epochs", "seconds", "state")
    rows = [
        (
            trial_name(line.trial),
            "" if line.value is None else f"{line.value:.5f}",
            *(shown(line.settings[path]) for path in paths),
            "" if line.epoch is None else str(line.epoch),
            str(len(line.curve)),
            f"{line.seconds:,.0f}",
            line.state,
        )
        for line in found
    ]
    order = "largest" if larger_is_better else "smallest"
    return page.Html(page.table(columns, rows) + page.note(f"The {order} {title} first."))


def _title(metric: str) -> str:
    names = {"auc": "AUC", "gauc": "grouped AUC", "log_loss": "log loss", "ndcg": "NDCG", "mrr": "MRR"}
    return f"valid {names.get(metric, metric.replace('_', ' '))}"
