"""Write one page about a run: headline numbers with intervals, learning curve, ROC, calibration, segments, settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ctrgate import figures, page
from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError, DataError
from ctrgate.files import atomic_file
from ctrgate.gate_report.section import gate_section
from ctrgate.line_files import whole_lines
from ctrgate.masking import masked
from ctrgate.page import Section, Tile
from ctrgate.progress import console
from ctrgate.ranking_report import ranking_section
from ctrgate.tracking import TrackingConfig, open_tracker

__all__ = ["Config", "run"]

_SPLIT_ORDER = ("test", "valid", "train")
_GATES = "gates"
# What reading a value raises where a file does not hold what it should.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)


@settings
class Config:
    """The sections that ``report`` reads."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the page of an evaluated run is logged."""


def run(config: Config) -> dict[str, Any]:
    """Write ``runs/NAME/report/index.html`` from what training and evaluation left; one file, nothing from outside.

    The page is logged once the run is evaluated: before, its training may still go on.

    Returns:
        ``report``: the file; ``splits``: those evaluated, the headline's first; ``auc`` or ``ranking``: the headline's.

    Raises:
        ConfigError: No such run, or nothing to report yet.
        DataError: A file of the run is damaged.
    """
    folder = Path(config.runs) / config.name
    if not folder.is_dir():
        raise ConfigError(f"there is no run {folder}; `ctrgate train` makes it, name and runs in the run file name it")
    lines = _json_lines(folder / "metrics.jsonl")
    evaluations = {path.stem: _json(path, verb="evaluate") for path in _in_order(folder / "evaluation")}
    if not lines and not evaluations:
        raise ConfigError(f"{folder} has neither metrics.jsonl nor evaluation/*.json; run `ctrgate train` first")
    if not evaluations:
        console.print(
            f"{folder} is not evaluated yet, so the page has no metrics; run `ctrgate evaluate`", markup=False
        )
    gates = _found(folder, f"evaluation/{_GATES}.json", verb="evaluate")
    steps = {name: of["step"] for name, of in (*evaluations.items(), *((_GATES, of) for of in gates)) if "step" in of}
    evaluated = [
        _section(
            partial(_evaluation, split=split, steps=steps, first=not place), result, path=f"evaluation/{split}.json"
        )
        for place, (split, result) in enumerate(evaluations.items())
    ]
    watched = [_section(partial(_gates, steps=steps), of, path=f"evaluation/{_GATES}.json") for of in gates]
    training = [_training(lines)] if lines else []
    sections = [*evaluated[:1], *training, *watched, *_tables(folder), *evaluated[1:], *_surroundings(folder)]
    target = folder / "report" / "index.html"
    with atomic_file(target) as temporary:
        temporary.write_text(page.page(config.name, subtitle=_subtitle(folder), sections=sections), encoding="utf-8")
    console.print(f"report: {target}", markup=False)
    if evaluations:
        tracker = open_tracker(config.tracking, folder=folder)
        tracker.start(run_name=config.name, params={}, tags={}, resume=True)
        tracker.artifact(target, folder="report")
        tracker.end()
    headline = next(iter(evaluations.values()), {})
    name = "ranking" if "ranking" in headline else "auc"
    return {"report": str(target), "splits": list(evaluations), name: headline.get(name)}


def _section(
    make: Callable[[Mapping[str, Any]], Section], values: Mapping[str, Any], *, path: str, verb: str = "evaluate"
) -> Section:
    """The section about what a file holds; DataError, with the verb that writes the file, where that is damaged."""
    try:
        return make(values)
    except _DAMAGED as error:
        found = f"lacks {error}" if isinstance(error, KeyError) else f"is not what it should be ({error})"
        raise DataError(f"{path} {found}; write it anew with `ctrgate {verb}`") from error


def _evaluation(result: Mapping[str, Any], *, split: str, steps: Mapping[str, int], first: bool) -> Section:
    """The first one open and explained, the others folded."""
    if "ranking" in result:
        return _at_step(ranking_section(split, result, first=first), name=split, steps=steps)
    parts = [page.tiles(_tiles(result)), *([page.note(_NOTE)] if first else [])]
    drawn = {}
    if result.get("roc", {}).get("false_positive_rate"):
        roc = figures.roc(result["roc"], auc=result["auc"]["value"])
        drawn["ROC curve"] = figures.to_svg(roc, title=f"ROC curve, {split}")
    if result.get("reliability", {}).get("predicted"):
        reliability = figures.reliability(result["reliability"])
        drawn["Calibration: seen against predicted click rate, bins of equal weight, 95 % intervals"] = figures.to_svg(
            reliability, title=f"Calibration, {split}"
        )
    if drawn:
        parts.append(page.figures(drawn))
    for name, segment in result.get("segments", {}).items():
        parts.append(_segments(name, segment))
    return _at_step(Section(title=f"On the {split} rows", parts=parts, folded=not first), name=split, steps=steps)


def _gates(seen: Mapping[str, Any], *, steps: Mapping[str, int]) -> Section:
    return _at_step(gate_section(seen), name=_GATES, steps=steps)


def _at_step(section: Section, *, name: str, steps: Mapping[str, int]) -> Section:
    """With the step of the checkpoint on top, and those of the others where they are not all the same."""
    if name not in steps:
        return section
    text = f"Checkpoint of step {steps[name]:,}."
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{other} {step:,}" for other, step in steps.items())
        text += (
            f" Do not compare the sections: they are of different checkpoints ({told}). ctrgate evaluate measures all "
            "splits that evaluate.splits names, and the gates on the first of them, with one."
        )
    return replace(section, parts=[page.note(text), *section.parts])


_NOTE = (
    "AUC: the chance that a clicked row scores above one that was not, with DeLong's 95 % interval. Normalised "
    "entropy: log loss over that of always answering the click rate; below 1 is better. Calibration: clicks predicted "
    "over clicks seen. Grouped AUC: within users that have both, weighted by rows; its interval resamples users."
)


def _tiles(result: Mapping[str, Any]) -> list[Tile]:
    auc, gauc = result["auc"], result.get("gauc")
    tiles = [Tile(label="AUC", value=_number(auc["value"], 5), detail=_interval(auc))]
    if gauc is not None:
        detail = f"{_interval(gauc)} {gauc['num_groups']:,} groups".strip()
        tiles.append(Tile(label="Grouped AUC", value=_number(gauc["value"], 5), detail=detail))
    entropy = f"normalised entropy {_number(result.get('normalized_entropy'), 4)}"
    tiles.append(Tile(label="Log loss", value=_number(result["log_loss"], 5), detail=entropy))
    error = f"expected calibration error {_number(result.get('ece'), 4)}"
    tiles.append(Tile(label="Calibration", value=_number(result["calibration_ratio"], 3), detail=error))
    clicks = f"{result['num_positives']:,} clicks, {result['num_positives'] / result['num_rows']:.2%}"
    return [*tiles, Tile(label="Rows", value=f"{result['num_rows']:,}", detail=clicks)]


def _segments(name: str, segment: Mapping[str, Any]) -> page.Html:
    lines = segment["lines"]
    ends = [line["auc"][end] for line in lines for end in ("low", "high") if line["auc"][end] is not None]
    columns = (name, "rows", "AUC", "95 % interval", "", "log loss", "calibration", "clicks", "click rate")
    rows = []
    for line in lines:
        auc, bar = line["auc"], page.Html("")
        if auc["low"] is not None:
            bar = page.interval_bar(auc["low"], auc["value"], auc["high"], start=min(ends), end=max(ends))
        numbers = (_number(line["log_loss"], 4), _number(line["calibration_ratio"], 3))
        clicks = (f"{line['num_positives']:,}", f"{line['num_positives'] / line['num_rows']:.2%}")
        count = f"{line['num_rows']:,}"
        rows.append((line["value"], count, _number(auc["value"], 4), _interval(auc, 4), bar, *numbers, *clicks))
    text = page.table(columns, rows)
    if segment["num_values"] > len(lines):
        text = page.Html(text + page.note(f"The {len(lines)} values with most rows, of {segment['num_values']:,}."))
    return page.Html(page.heading(f"By {name}") + text)


def _training(lines: Sequence[Mapping[str, Any]]) -> Section:
    last = lines[-1]
    speeds = [line["rows_per_second"] for line in lines if line.get("rows_per_second")]
    facts = {
        "epochs": _number(last.get("epoch"), 0),
        "steps": f"{last['step']:,.0f}" if last.get("step") is not None else "n/a",
        "rows per second, median": f"{median(speeds):,.0f}" if speeds else "n/a",
        "last learning rate": f"{last['learning_rate']:g}" if last.get("learning_rate") is not None else "n/a",
    }
    curve = page.figures({"": figures.to_svg(figures.learning_curve(lines), title="Learning curve")})
    return Section(title="Training", parts=[page.beside(curve, page.pairs(facts))])


def _tables(folder: Path) -> list[Section]:
    """Kept values and widths, as far as the run has them."""
    known = {"selection.json": ("train", _selection), "widths.json": ("widths", _widths)}
    return [
        _section(make, values, path=name, verb=verb)
        for name, (verb, make) in known.items()
        for values in _found(folder, name, verb=verb)
    ]


def _found(folder: Path, name: str, *, verb: str) -> list[dict[str, Any]]:
    """What a file holds that a run need not have."""
    return [_json(folder / name, verb=verb)] if (folder / name).exists() else []


def _selection(selection: Mapping[str, Any]) -> Section:
    """The section about ``selection.json``: how many values of each vocabulary kept their rows."""
    tables = selection["tables"]
    kept, total = sum(table["kept"] for table in tables), sum(table["values"] for table in tables)
    search = f"penalty {selection['penalty']:g}, {selection['search_epochs']} epochs"
    tiles = [
        Tile(label="Values kept", value=f"{kept:,}", detail=f"of {total:,}, {_share(kept, total)}"),
        Tile(label="Rows kept", value=f"{selection['feature_ratio']:.1%}", detail="of the tables, unknown included"),
        Tile(label="Search", value=selection["form"], detail=search),
    ]
    names = [table["table"] for table in tables]
    shares = [table["kept"] / table["values"] if table["values"] else 0.0 for table in tables]
    bars = figures.horizontal_bars(names, shares, xlabel="share of values kept", end=1.0)
    lines = [
        (
            table["table"],
            f"{table['values']:,}",
            f"{table['kept']:,}",
            _share(table["kept"], table["values"]),
            "kept" if table["unknown_kept"] else "dropped",
        )
        for table in tables
    ]
    table = page.table(("vocabulary", "values", "kept", "share", "unknown"), lines)
    return Section(
        title="Values kept",
        parts=[page.tiles(tiles), page.beside(page.figures({"": figures.to_svg(bars, title="Kept")}), table)],
    )


def _widths(widths: Mapping[str, Any]) -> Section:
    """The section about ``widths.json``: each field's width before and after, and the variance behind it."""
    lines = widths["fields"]
    before, after = widths["parameters_before"], widths["parameters_after"]
    columns = sum(line["before"] for line in lines), sum(line["after"] for line in lines)
    tiles = [
        Tile(label="Parameters of tables", value=f"{after:,}", detail=f"of {before:,}, {_share(after, before)}"),
        Tile(label="Width of all fields", value=f"{columns[1]:,}", detail=f"of {columns[0]:,}"),
        Tile(label="Variance kept", value=f"{widths['explained']:.1%}", detail="of each field's table, at least"),
    ]
    bars = figures.horizontal_bars(
        [line["field"] for line in lines],
        [line["after"] for line in lines],
        marks=[line["before"] for line in lines],
        xlabel="width after; the line is the width before",
    )
    curves = figures.explained_variance(
        [line["explained"] for line in lines], kept=[line["after"] for line in lines], aim=widths["explained"]
    )
    drawn = {
        "Widths": figures.to_svg(bars, title="Widths of fields"),
        "Variance that the first components explain, a line for each field; dots where it is cut": figures.to_svg(
            curves, title="Explained variance"
        ),
    }
    rows = [
        (
            line["field"],
            f"{line['rows']:,}",
            str(line["before"]),
            str(line["after"]),
            f"{line['explained'][line['after'] - 1]:.1%}" if 0 < line["after"] <= len(line["explained"]) else "n/a",
        )
        for line in lines
    ]
    table = page.table(("field", "rows", "width before", "after", "variance kept"), rows)
    return Section(title="Widths", parts=[page.tiles(tiles), page.figures(drawn), page.folded("By field", table)])


def _surroundings(folder: Path) -> list[Section]:
    """The settings and the environment, folded."""
    sections = []
    if (folder / "config.yaml").exists():
        text = masked((folder / "config.yaml").read_text(encoding="utf-8"))
        sections.append(Section(title="Settings", parts=[page.code(text)], folded=True))
    if (folder / "environment.json").exists():
        facts = {name: _plain(value) for name, value in _json(folder / "environment.json", verb="train").items()}
        sections.append(Section(title="Environment", parts=[page.pairs(facts)], folded=True))
    return sections


def _subtitle(folder: Path) -> str:
    return f"ctrgate run in {folder}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "n/a"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_plain(inner) for inner in value)
    return str(value)


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _interval(estimate: Mapping[str, float | None], digits: int = 5) -> str:
    low, high = estimate["low"], estimate["high"]
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def _in_order(folder: Path) -> list[Path]:
    """The evaluations, test first; what was seen of gates lies beside them."""
    known = {name: place for place, name in enumerate(_SPLIT_ORDER)}
    found = [path for path in folder.glob("*.json") if path.stem != _GATES]
    return sorted(found, key=lambda path: (known.get(path.stem, len(known)), path.stem))


def _json(path: Path, *, verb: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); write it anew with `ctrgate {verb}`") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold a JSON object; it holds a {type(value).__name__}")
    return value


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that may be missing; a last line cut by a kill is left out."""
    values = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not valid JSON ({error}); remove that line") from error
    return values
