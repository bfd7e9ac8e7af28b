"""A checked day as one page: what was found, how far each column moved, and all measures."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from ctrgate import figures, page
from ctrgate.page import Html, Section, Tile
from ctrgate.validation.checks import DEFAULT_UNSEEN, ColumnMeasures
from ctrgate.validation.expectations import Expectations
from ctrgate.validation.result import Validation
from ctrgate.validation.rules import SEVERITIES, Finding

__all__ = ["validation_page"]

_MOST_DRAWN = 6  # distributions
_MOST_BARS = 40
_VERDICTS = {
    "stop": "The day is held back",
    "warn": "The day passes, with warnings",
    "note": "The day passes, with notes",
    None: "The day passes",
}
_HEADINGS = {"stop": "Stops", "warn": "Warnings", "note": "Notes"}
_MEASURES = (
    "PSI: population stability index against the reference, in nats; JS: Jensen-Shannon divergence in bits. A column "
    "is told as drifted where one of them is above its limit and a χ² test, at the effective number of rows, says that "
    "sampling noise does not explain it. AUC: how well the column alone ranks the first label, .5 for pure noise."
)


def validation_page(checked: Validation, *, expectations: Expectations, title: str) -> str:
    """The whole document; one file, nothing from outside.

    Args:
        checked: The day.
        expectations: What it was checked by.
        title: Its heading.
    """
    sections = [Section(title=_VERDICTS[checked.worst], parts=_headline(checked, expectations))]
    if checked.columns:
        sections += [*_drift(checked, expectations), *_unseen(checked, expectations), _columns(checked, expectations)]
    sections.append(Section(title="Files", parts=[_files(checked)], folded=True))
    many = "s" if len(checked.files) != 1 else ""
    files = f"{len(checked.files):,} file{many}"
    subtitle = f"{checked.num_rows:,} rows in {files}, against what {checked.dataset} looks like"
    return page.page(title, subtitle=subtitle, sections=sections)


def _headline(checked: Validation, expectations: Expectations) -> list[Html]:
    limits = expectations.rows
    period = expectations.reference.period or "file"
    tiles = [
        Tile(label=_HEADINGS[severity], value=str(len(checked.of(severity))), detail=_rules(checked.of(severity)))
        for severity in reversed(SEVERITIES)
    ]
    expected = f"{limits.min:,.0f} to {limits.max:,.0f} a {period}"
    tiles.append(Tile(label="Rows", value=f"{checked.num_rows:,}", detail=expected))
    for name, (num_rows, positives) in checked.labels.items():
        rate = f"{positives / num_rows:.2%}" if num_rows else "n/a"
        known = expectations.labels.get(name)
        detail = f"{known.min:.2%} to {known.max:.2%} expected" if known is not None else ""
        tiles.append(Tile(label=f"Rate of {name}", value=rate, detail=detail))
    parts = [page.tiles(tiles)]
    for severity in reversed(SEVERITIES):
        found = checked.of(severity)
        if found:
            parts += [page.heading(_HEADINGS[severity]), page.pairs(_told(found))]
    return parts if checked.findings else [*parts, page.note("Every rule is kept.")]


def _rules(findings: list[Finding]) -> str:
    return ", ".join(dict.fromkeys(finding.rule for finding in findings))


def _told(findings: list[Finding]) -> dict[str, str]:
    """Findings by rule and subject; several of one kind are numbered."""
    told: dict[str, str] = {}
    for finding in findings:
        name = f"{finding.rule}: {finding.subject}" if finding.subject else finding.rule
        again = sum(1 for other in told if other == name or other.startswith(f"{name} ("))
        where = f" In {finding.file}" if finding.file else ""
        where += f", rows {', '.join(map(str, finding.rows))}." if finding.rows else "." if where else ""
        text = f"Expected {finding.expected}. Found {finding.found}.{where} {_sentence(finding.remedy)}"
        told[f"{name} ({again + 1})" if again else name] = text
    return told


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _drift(checked: Validation, expectations: Expectations) -> list[Section]:
    """How far columns moved, the farthest over its limit first, and the distributions of those beyond."""
    ratios = {}
    for name, measures in checked.columns.items():
        limits = expectations.columns[name].drift
        if limits is not None and measures.psi is not None:
            ratios[name] = measures.psi / limits.psi if limits.psi else float(measures.psi > 0)
    if not ratios:
        return []
    ordered = sorted(ratios, key=lambda name: (-ratios[name], name))
    shown = ordered[:_MOST_BARS]
    bars = figures.horizontal_bars(
        shown,
        [ratios[name] for name in shown],
        xlabel="PSI over its limit; drift begins at the line",
        marks=[1.0] * len(shown),
    )
    drawn = {"": figures.to_svg(bars, title="Drift by column")}
    drifted = {finding.column for finding in checked.findings if finding.rule in ("psi", "jensen_shannon")}
    for name in [name for name in ordered if name in drifted][:_MOST_DRAWN] or ordered[:1]:
        caption = f"{name}: bars are the day's shares, upright lines the reference's"
        drawn[caption] = figures.to_svg(_distribution(checked.columns[name]), title=f"Distribution of {name}")
    return [Section(title="Drift", parts=[page.figures(drawn)])]


def _distribution(measures: ColumnMeasures) -> Figure:
    return figures.horizontal_bars(measures.bins, measures.shares, xlabel="share", marks=measures.reference)


def _unseen(checked: Validation, expectations: Expectations) -> list[Section]:
    if not checked.unseen:
        return []
    lines = [
        (
            name,
            f"{counts.num_values:,}",
            f"{counts.num_unseen:,}",
            f"{counts.share:.2%}",
            f"{expectations.unseen.get(name, DEFAULT_UNSEEN):.2%}",
        )
        for name, counts in sorted(checked.unseen.items(), key=lambda item: (-item[1].share, item[0]))
    ]
    columns = ("feature", "values", "unseen", "share", "at most")
    about = "Values without a row of their own in the encoder's tables: they all read the unknown row."
    return [Section(title="Unseen values", parts=[page.note(about), page.table(columns, lines)])]


def _columns(checked: Validation, expectations: Expectations) -> Section:
    columns = ("column", "missing", "at most", "PSI", "at most", "JS", "at most", "p-value", "AUC", "least", "greatest")
    lines = []
    for name, measures in checked.columns.items():
        expected = expectations.columns[name]
        drift = expected.drift if measures.psi is not None else None
        moved = (measures.psi, drift.psi if drift else None, measures.js, drift.js if drift else None)
        rest = (_number(measures.low), _number(measures.high))
        cells = (*map(_share, moved), _share(measures.p_value), _share(_first(measures.auc)), *rest)
        lines.append((name, f"{measures.nulls:.2%}", f"{expected.nulls:.2%}", *cells))
    return Section(title="Columns", parts=[page.note(_MEASURES), page.table(columns, lines)])


def _first(aucs: Mapping[str, float]) -> float | None:
    return next(iter(aucs.values()), None)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _files(checked: Validation) -> Html:
    return page.table(("file", "rows"), [(name, f"{count:,}") for name, count in checked.files.items()])
