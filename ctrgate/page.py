"""Building blocks of a page in one HTML file: no script, nothing from outside, light and dark, laptop and phone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "Html",
    "Section",
    "Tile",
    "beside",
    "code",
    "figures",
    "folded",
    "heading",
    "interval_bar",
    "natural_figures",
    "note",
    "page",
    "pairs",
    "table",
    "tiles",
]


class Html(str):
    """Text that is HTML already; anything else is escaped."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One headline number.

    Args:
        label: What it is.
        value: As it is to be read.
        detail: Smaller, below: its interval, say.
    """

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Args:
        title: Its heading.
        parts: From the functions of this module.
        folded: Whether it opens only on a click.
    """

    title: str
    parts: Sequence[Html]
    folded: bool = False


def tiles(items: Iterable[Tile]) -> Html:
    """Headline numbers side by side."""
    cells = [
        f'<div class="tile"><div class="label">{escape(item.label)}</div><div class="value">{escape(item.value)}</div>'
        f'<div class="detail">{escape(item.detail)}</div></div>'
        for item in items
    ]
    return Html(f'<div class="tiles">{"".join(cells)}</div>')


def figures(items: Mapping[str, str]) -> Html:
    """SVG elements by caption, as many side by side as fit."""
    cells = [f"<figure>{svg}{_caption(caption)}</figure>" for caption, svg in items.items()]
    return Html(f'<div class="figures">{"".join(cells)}</div>')


def natural_figures(items: Mapping[str, str]) -> Html:
    """SVG elements by caption in their own size, so that many cells stay readable; a wide one scrolls sideways."""
    cells = [
        f'<figure class="own"><div class="scroll">{svg}</div>{_caption(caption)}</figure>'
        for caption, svg in items.items()
    ]
    return Html(f'<div class="natural">{"".join(cells)}</div>')


def folded(title: str, *parts: Html) -> Html:
    """Parts within a section that open only on a click."""
    return Html(f'<details class="inner"><summary>{escape(title)}</summary>\n{"".join(parts)}\n</details>')


def beside(*parts: Html) -> Html:
    """Parts side by side where the screen is wide enough, else one below the other."""
    return Html(f'<div class="figures">{"".join(f"<div>{part}</div>" for part in parts)}</div>')


def heading(text: str) -> Html:
    """A heading below a section's."""
    return Html(f"<h3>{escape(text)}</h3>")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table whose first column is text and whose others are numbers; it scrolls sideways where it must."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return Html(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def pairs(values: Mapping[str, str]) -> Html:
    """Names and values, one below the other."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{_cell(value)}</dd>" for name, value in values.items())
    return Html(f"<dl>{lines}</dl>")


def code(text: str) -> Html:
    """Preformatted text."""
    return Html(f"<pre>{escape(text)}</pre>")


def note(text: str) -> Html:
    """A paragraph of explanation."""
    return Html(f'<p class="note">{_cell(text)}</p>')


def interval_bar(low: float, value: float, high: float, *, start: float, end: float) -> Html:
    """A value with its interval as a small bar on the axis from ``start`` to ``end``, for a table's cell."""
    span = max(end - start, 1e-12)
    left, middle, right = (100 * (part - start) / span for part in (low, value, high))
    return Html(
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M{left:.2f} 5H{right:.2f}" class="range"/><path d="M{middle:.2f} 1V9" class="point"/></svg>'
    )


def page(title: str, *, subtitle: str, sections: Iterable[Section]) -> str:
    """The whole document."""
    body = "\n".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p></header>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    inner = "\n".join(section.parts)
    if section.folded:
        return f"<details><summary><h2>{escape(section.title)}</h2></summary>\n{inner}\n</details>"
    return f"<section><h2>{escape(section.title)}</h2>\n{inner}\n</section>"


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else escape(value)


_STYLE = """
:root{--paper:#fff;--card:#f5f7fa;--ink:#1d2733;--soft:#5b6b7c;--faint:#c9d1da;--line:#2563c9;--second:#c2571a}
@media (prefers-color-scheme:dark){:root{--paper:#12171d;--card:#1b232c;--ink:#e4eaf0;--soft:#9aaaba;--faint:#3a4654;
--line:#7fb0ff;--second:#f0a06a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:68rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0;letter-spacing:-.015em;overflow-wrap:anywhere}
.subtitle{margin:.4rem 0 0;color:var(--soft)}
h2{font-size:1.15rem;margin:2.6rem 0 .9rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.8rem}
.tiles+.figures{margin-top:1.4rem}
section:first-of-type h2{margin-top:1.8rem}
.tile{background:var(--card);border-radius:.6rem;padding:.9rem 1.1rem}
.tile .label{color:var(--soft);font-size:.85rem}
.tile .value{font-size:1.6rem;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums}
.tile .detail{color:var(--soft);font-size:.82rem;font-variant-numeric:tabular-nums}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19.5rem),1fr));gap:1.2rem}
figure{margin:0;min-width:0}
figure svg{display:block;font-family:inherit}figure:not(.own){max-width:34rem}
figure:not(.own) svg{width:100%;height:auto}
.natural{display:flex;flex-wrap:wrap;gap:1.4rem 2rem;align-items:flex-start}
.natural figure{width:min-content;max-width:100%}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.4rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--faint)}
th{color:var(--soft);font-weight:500;font-size:.82rem}
th:first-child,td:first-child{text-align:left;padding-left:0;position:sticky;left:0;background:var(--paper)}
tbody tr:last-child td{border-bottom:0}
svg.bar{width:7rem;height:.8rem;vertical-align:middle}
svg.bar path{vector-effect:non-scaling-stroke;fill:none}
svg.bar .range{stroke:var(--line);stroke-width:3;opacity:.4}
svg.bar .point{stroke:var(--line);stroke-width:2.5}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.45rem 1.4rem;margin:.3rem 0;align-content:start;
font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--card);border-radius:.6rem;padding:1rem 1.1rem;overflow-x:auto;font:.82rem/1.5 ui-monospace,
SFMono-Regular,Menlo,Consolas,monospace;margin:0}
.note{color:var(--soft);font-size:.88rem;max-width:50rem;margin:1rem 0 1.4rem}
h3{font-size:1rem;margin:2rem 0 .5rem}
details{border-top:1px solid var(--faint);margin-top:2rem}
summary{cursor:pointer;padding:.9rem 0}summary h2{display:inline;margin:0}
details+details{margin-top:0}
details.inner{border-top:0;margin-top:.6rem}details.inner summary{padding:.35rem 0;color:var(--soft);font-size:.9rem}
@media (max-width:40rem){main{padding:1.4rem 1rem 3rem}h1{font-size:1.5rem}
.tiles{grid-template-columns:1fr 1fr}.tile:last-child:nth-child(odd){grid-column:1/-1}
td:first-child{min-width:6.5rem;max-width:9rem;white-space:normal;overflow-wrap:break-word}
.tile{padding:.7rem .8rem}.tile .value{font-size:1.3rem}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
@media print{details{display:block}main{max-width:none}}
"""
