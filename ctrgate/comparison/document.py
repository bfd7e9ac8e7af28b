"""The page about a comparison: the differences with their intervals, the calibration of both, and the segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctrgate import figures, page
from ctrgate.comparison.wording import TITLES, difference, interval, number
from ctrgate.metrics.comparison import SMALL
from ctrgate.page import Html, Section, Tile

__all__ = ["document"]

_NOTE = (
    "B less A on the same rows. The interval's error sums what each user's rows add to the difference (for AUC "
    "DeLong's components), so rows of one user may go together; users are taken for independent. Beside it is the same "
    "interval with the error that resampled users give, as a check. Lower log loss and normalised entropy are better; "
    "calibration, clicks predicted over clicks seen, is best at 1. Grouped AUC: within users that have both, weighted "
    "by rows."
)
_NOTE_INDEPENDENT = (
    "B less A on the same rows, with paired DeLong's interval for AUC. No column names the user "
    "(dataset.roles.group), so that rows are taken for independent: where rows of one user go together, the intervals "
    "are too narrow. Lower log loss and normalised entropy are better; calibration, clicks predicted over clicks seen, "
    "is best at 1."
)


def document(result: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        result: What ``comparison.json`` holds.
    """
    a, b = result["a"]["name"], result["b"]["name"]
    title = f"{b} against {a}" if a != b else f"{b} against another {a}"
    sections = [
        _differences(result),
        _calibration(result),
        *_segments(result),
        _made(result),
    ]
    return page.page(title, subtitle=result["sentence"], sections=sections)


def _differences(result: Mapping[str, Any]) -> Section:
    level = f"{100 * result['level']:g} % interval"
    metrics = {name: metric for name, metric in result["metrics"].items() if metric is not None}
    tiles = [
        Tile(label=f"{TITLES[name]}, B less A", value=difference(of["difference"]), detail=interval(of["difference"]))
        for name, of in metrics.items()
        if name not in ("normalized_entropy", "calibration_ratio")
    ]
    promised = {side: number(metrics["calibration_ratio"][side]["value"], 3) for side in ("a", "b")}
    tiles.append(Tile(label="Calibration of B", value=promised["b"], detail=f"of A {promised['a']}"))
    users = f", {result['users']['count']:,} users" if result["users"] else ""
    clicks = f"{result['click_rate']:.2%} clicks{users}"
    tiles.append(Tile(label="Rows", value=f"{result['num_rows']:,}", detail=clicks))
    columns = ("", "B less A", level, "B is", "A", "B", "resampled users")
    rows = [
        (
            TITLES[name],
            difference(of["difference"]),
            interval(of["difference"]),
            _verdict(of["verdict"]),
            number(of["a"]["value"], 5),
            number(of["b"]["value"], 5),
            interval(of["bootstrap"]) if of["bootstrap"] else "",
        )
        for name, of in metrics.items()
    ]
    parts = [page.tiles(tiles)]
    known = {
        name: of
        for name, of in metrics.items()
        if of["larger_is_better"] is not None and of["difference"]["low"] is not None and of["a"]["value"]
    }
    if known:
        drawn = [_percent(of) for of in known.values()]
        forest = figures.forest(
            [TITLES[name] for name in known],
            [value for value, _ in drawn],
            intervals=[ends for _, ends in drawn],
            xlabel="change from A in percent of A; right is better",
        )
        parts.append(page.figures({f"Change from A to B, {level}": figures.to_svg(forest, title="Change from A to B")}))
    parts += [page.note(_NOTE if result["users"] else _NOTE_INDEPENDENT), page.table(columns, rows)]
    return Section(title="Differences", parts=parts)


def _percent(metric: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """The change in percent of A, turned so that more is better."""
    scale = 100 / metric["a"]["value"] * (1 if metric["larger_is_better"] else -1)
    ends = sorted(scale * metric["difference"][end] for end in ("low", "high"))
    return scale * metric["difference"]["value"], (ends[0], ends[1])


def _calibration(result: Mapping[str, Any]) -> Section:
    curves = {f"{side.upper()}: {result[side]['name'][:24]}": result["reliability"][side] for side in ("b", "a")}
    drawn = figures.to_svg(figures.reliabilities(curves), title="Calibration of A and B")
    ratio = result["metrics"]["calibration_ratio"]
    facts = {}
    for side in ("a", "b"):
        of = ratio[side]
        told = f"{number(of['value'])} {interval(of, signed=False, digits=4)}".strip()
        facts[f"predicted over seen, {side.upper()}"] = told
    facts |= {
        "expected calibration error, A": number(result["ece"]["a"], 5),
        "expected calibration error, B": number(result["ece"]["b"], 5),
        "mean probability, A": number(result["scores"]["mean_a"], 5),
        "mean probability, B": number(result["scores"]["mean_b"], 5),
        "population stability index of B's scores": number(result["scores"]["stability_index"]),
    }
    caption = "Seen against predicted click rate, bins of equal weight"
    return Section(title="Calibration", parts=[page.beside(page.figures({caption: drawn}), page.pairs(facts))])


def _segments(result: Mapping[str, Any]) -> list[Section]:
    segments = result["segments"]["segments"]
    if not segments:
        return []
    count = result["segments"]["num_intervals"]
    text = (
        f"Each line has its own {100 * result['level']:g} % interval, not adjusted for how many lines there are: among "
        f"twenty, one may miss by chance. The verdict goes by intervals that hold for all {count} lines together "
        f"(Bonferroni). Lines with fewer than {SMALL} {'users' if result['users'] else 'rows'} with or without a click "
        "are small: they are drawn faint and get no verdict."
    )
    parts: list[Html] = [page.note(text)]
    for name, segment in segments.items():
        parts.append(_segment(name, segment, level=result["level"]))
    return [Section(title="Segments", parts=parts)]


def _segment(name: str, segment: Mapping[str, Any], *, level: float) -> Html:
    lines = segment["lines"]
    parts = [page.heading(f"By {name}")]
    known = [line for line in lines if line["auc"]["difference"]["low"] is not None]
    # A handful of users may have an interval so wide that it would hide all others.
    drawn = [line for line in known if not line["small"]] or known
    drawn = known if _widest(known) <= 3 * _widest(drawn) else drawn
    if drawn:
        apart = [line["auc"]["difference"] for line in drawn]
        forest = figures.forest(
            [line["value"] for line in drawn],
            [of["value"] for of in apart],
            intervals=[(of["low"], of["high"]) for of in apart],
            xlabel="AUC, B less A",
            faint=[line["small"] for line in drawn],
        )
        parts.append(page.figures({"": figures.to_svg(forest, title=f"AUC by {name}")}))
    columns = (
        name,
        "AUC, B less A",
        f"{100 * level:g} % interval",
        "B is",
        "rows",
        "users" if lines and lines[0]["num_users"] is not None else "clicks",
        "AUC A",
        "AUC B",
        "log loss, B less A",
        "calibration A",
        "calibration B",
    )
    rows = [
        (
            line["value"],
            difference(line["auc"]["difference"]),
            interval(line["auc"]["difference"]),
            "small" if line["small"] else _verdict(line["auc"]["verdict"]),
            f"{line['num_rows']:,}",
            f"{line['num_positives'] if line['num_users'] is None else line['num_users']:,}",
            number(line["auc"]["a"]["value"]),
            number(line["auc"]["b"]["value"]),
            f"{difference(line['log_loss']['difference'])} {interval(line['log_loss']['difference'])}",
            number(line["calibration_ratio"]["a"]["value"], 3),
            number(line["calibration_ratio"]["b"]["value"], 3),
        )
        for line in lines
    ]
    parts.append(page.table(columns, rows))
    if segment["num_values"] > len(lines):
        parts.append(page.note(f"The {len(lines)} values with most rows, of {segment['num_values']:,}."))
    return Html("".join(parts))


def _widest(lines: list[Mapping[str, Any]]) -> float:
    return max((line["auc"]["difference"]["high"] - line["auc"]["difference"]["low"] for line in lines), default=0.0)


def _made(result: Mapping[str, Any]) -> Section:
    facts = {}
    for side in ("a", "b"):
        of = result[side]
        step = "" if of["step"] is None else f", step {of['step']:,}"
        facts[f"{side.upper()}"] = f"{of['kind']} {of['place']}{step}; logits from: {of['read']}"
    rows = result["rows"]
    facts["rows"] = f"{rows['split']} of {rows['prepared']}, label {rows['label']}"
    facts["the same rows by"] = ", ".join(rows["identified_by"])
    facts["users"] = result["users"]["column"] if result["users"] else "not declared"
    return Section(title="How it was compared", parts=[page.pairs(facts)], folded=True)


def _verdict(verdict: str | None) -> str:
    return {"open": "not shown to differ", None: ""}.get(verdict, verdict or "")
