"""The pages: one for each day, and an index over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctrgate import figures
from ctrgate.files import atomic_file
from ctrgate.page import Html, Section, Tile, natural_figures, note, page, pairs, table, tiles
from pipelines.daily.plan import Plan
from pipelines.daily.steps import seconds_of

__all__ = ["STATUS", "write_pages"]

STATUS = {"promoted": "promoted", "held": "held", "stopped": "stopped by its data"}


def write_pages(plan: Plan) -> Path:
    """Write the index anew, and the page of each decided day; returns the index."""
    records = plan.all_decided()
    for record in records:
        _write(plan.home / record["date"] / "index.html", _day(plan, record))
    index = plan.home / "index.html"
    _write(index, _index(plan, records))
    return index


def _index(plan: Plan, records: Sequence[Mapping[str, Any]]) -> str:
    counts = {status: sum(record["status"] == status for record in records) for status in STATUS}
    champion = next((r["champion_after"] for r in reversed(records) if r["champion_after"]), None)
    parts = [
        tiles(
            [
                Tile(label="Champion", value=f"version {champion['version']}" if champion else "none"),
                *(Tile(label=told.capitalize(), value=str(counts[status])) for status, told in STATUS.items()),
            ]
        )
    ]
    sections = [Section(title="Where it stands", parts=parts)]
    if any("auc" in record for record in records):
        sections.append(Section(title="AUC by " + plan.daily.period, parts=[_auc_figure(records)]))
    rows = [_line(each, seconds=seconds_of(plan.home / each["date"] / "steps")) for each in reversed(records)]
    columns = ("date", "decision", "difference", "challenger", "champion", "shift", "new rows", "findings", "time")
    told = note(
        "Challenger and champion: AUC, whose intervals are in the figure; difference: of the two. Shift: the stability "
        "index of their scores. Findings: of the rows' validation. Time: of the verbs that were run."
    )
    sections.append(Section(title="All " + plan.daily.period + "s", parts=[table(columns, rows), told]))
    last = records[-1]["date"] if records else "no day yet"
    return page(f"{plan.name}: {plan.daily.period} by {plan.daily.period}", subtitle=f"up to {last}", sections=sections)


def _auc_figure(records: Sequence[Mapping[str, Any]]) -> Html:
    series = {
        name: [(record["date"], record[key]) for record in records if record.get(key)]
        for name, key in (("challenger", "auc"), ("champion", "champion_auc"))
    }
    marks = {record["date"]: record["status"] for record in records}
    figure = figures.over_time(
        [record["date"] for record in records],
        {name: {date: (of["value"], of["low"], of["high"]) for date, of in points} for name, points in series.items()},
        ylabel="AUC on the period's rows",
        marked=[date for date, status in marks.items() if status == "promoted"],
    )
    title = "AUC with 95 % intervals; triangles below are promotions"
    return natural_figures({title: figures.to_svg(figure, title=title)})


def _line(record: Mapping[str, Any], *, seconds: float) -> list[str]:
    found = record.get("validation", {}).get("findings", {})
    told = ", ".join(f"{count} {severity}" for severity, count in found.items() if count and severity != "note")
    shift = record.get("scores_shift")
    return [
        Html(f'<a href="{record["date"]}/index.html">{record["date"]}</a>'),
        _decision(record),
        _interval(record.get("difference"), signed=True),
        _number(record.get("auc")),
        _number(record.get("champion_auc")),
        "" if shift is None else f"{shift:.3f}",
        f"{record['rows']['train']:,}" if "rows" in record else "",
        told,
        _duration(seconds),
    ]


def _decision(record: Mapping[str, Any]) -> str:
    """The decision and, in a word or two, its ground: the rules that failed, or the first that stopped the rows."""
    if record["status"] == "promoted":
        return "promoted"
    ground = str(record["why"]).removeprefix("held: ")
    return f"{record['status']}: {ground.split(':')[0][:40]}"


def _day(plan: Plan, record: Mapping[str, Any]) -> str:
    folder = plan.home / record["date"]
    values = {
        "decision": STATUS[record["status"]],
        "why": record["why"],
        "challenger's AUC": _interval(record.get("auc")),
        "champion's AUC": _interval(record.get("champion_auc")),
        "difference": _interval(record.get("difference"), signed=True),
        "run": str(record.get("run", "")),
        "refit on the day's rows": record.get("refit") or "",
        "champion before": _version(record["champion_before"]),
        "champion after": _version(record["champion_after"]),
        "rows learnt from": f"{record['rows']['train']:,} in {record['num_new_files']} files"
        if "rows" in record
        else "",
    }
    parts: list[Html] = [pairs({name: value for name, value in values.items() if value})]
    if record.get("sentence"):
        parts.append(note(record["sentence"]))
    links = {
        "What was found in the rows": folder / "validation" / "index.html",
        "Challenger and champion compared": folder / "comparison" / "index.html",
    }
    told = [f'<a href="{path.relative_to(folder)}">{name}</a>' for name, path in links.items() if path.exists()]
    told.append('<a href="../index.html">All days</a>')
    return page(
        f"{plan.name}, {record['date']}",
        subtitle=STATUS[record["status"]],
        sections=[
            Section(title="Decision", parts=parts),
            Section(title="More", parts=[Html("<p>" + "<br>".join(told) + "</p>")]),
        ],
    )


def _number(of: Mapping[str, Any] | None) -> str:
    return "" if of is None or of["value"] is None else f"{of['value']:.4f}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _version(champion: Mapping[str, Any] | None) -> str:
    return f"version {champion['version']}, {champion['run']}" if champion else "none"


def _interval(of: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if of is None or of["value"] is None:
        return ""
    form = "+.4f" if signed else ".4f"
    if of["low"] is None:
        return format(of["value"], form)
    return f"{format(of['value'], form)} [{format(of['low'], form)}, {format(of['high'], form)}]"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
