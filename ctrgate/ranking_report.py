"""The part of a report about a split whose next items were ranked: tiles, what the numbers rest on, and segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctrgate import page
from ctrgate.page import Html, Section, Tile

__all__ = ["ranking_section"]

_TITLES = {"hit_rate": "Hit rate", "ndcg": "NDCG", "mrr": "MRR"}
_NOTE = (
    "Each row's next item among all items that train has seen. Hit rate: share of rows whose item is among the first "
    "K, which is also recall; NDCG counts a hit by 1 / log2(1 + rank), MRR by 1 / rank. An item that scores as high "
    "counts as ahead. The 95 % intervals resample users."
)


def ranking_section(split: str, result: Mapping[str, Any], *, first: bool) -> Section:
    """The section of one split; the first one open and explained.

    Args:
        split: Its name.
        result: What ``evaluation/SPLIT.json`` says.
        first: Whether it is the first.
    """
    ranking: Mapping[str, Mapping[str, float]] = result["ranking"]
    tiles = [Tile(label=_title(name), value=f"{of['value']:.4f}", detail=_interval(of)) for name, of in ranking.items()]
    tiles.append(Tile(label="Rows", value=f"{result['num_rows']:,}", detail=f"{result['num_candidates']:,} candidates"))
    facts = {
        "seen items": str(result["seen"]),
        "targets that train has not seen (misses)": f"{result['unknown_targets']:,}",
        "targets masked as seen (misses)": f"{result['seen_targets']:,}",
    }
    parts = [page.tiles(tiles), *([page.note(_NOTE)] if first else []), page.pairs(facts)]
    parts += [_segments(name, segment) for name, segment in result["segments"].items()]
    return Section(title=f"On the {split} rows", parts=parts, folded=not first)


def _segments(name: str, segment: Mapping[str, Any]) -> Html:
    """A line per value, with the interval of NDCG drawn."""
    lines = segment["lines"]
    metrics = list(lines[0]["ranking"])
    drawn = next(metric for metric in metrics if metric.startswith("ndcg"))
    intervals = [line["ranking"][drawn] for line in lines]
    start, end = min(of["low"] for of in intervals), max(of["high"] for of in intervals)
    rows = [
        (
            line["value"],
            f"{line['num_rows']:,}",
            *(f"{line['ranking'][metric]['value']:.4f}" for metric in metrics),
            _interval(of),
            page.interval_bar(of["low"], of["value"], of["high"], start=start, end=end),
        )
        for line, of in zip(lines, intervals, strict=True)
    ]
    columns = (name, "rows", *map(_title, metrics), f"95 % interval of {_title(drawn)}", "")
    text = page.table(columns, rows)
    if segment["num_values"] > len(lines):
        text = Html(text + page.note(f"The {len(lines)} values with most rows, of {segment['num_values']:,}."))
    return Html(page.heading(f"By {name}") + text)


def _title(metric: str) -> str:
    name, cutoff = metric.split("@")
    return f"{_TITLES[name]}@{cutoff}"


def _interval(of: Mapping[str, float]) -> str:
    return f"[{of['low']:.4f}, {of['high']:.4f}]"
