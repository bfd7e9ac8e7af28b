"""The section of a run's page about its gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ctrgate import figures, page
from ctrgate.gate_report.drawn import cross_map, field_bars, field_map, load_bars, place_bars
from ctrgate.gate_report.headline import headline
from ctrgate.gate_report.names import (
    Gate,
    families,
    is_mapped,
    kind_in_words,
    layer_names,
    scaling_and_choosing,
    short_name,
)
from ctrgate.gate_report.tables import expert_table, field_table, gate_table
from ctrgate.metrics.gate_limits import DEAD, NEAR_ZERO, SATURATED, UNUSED
from ctrgate.page import Html, Section, Tile

__all__ = ["gate_section"]

_MANY = 8  # beyond, a table is folded
_SAME = 1e-6  # gates that differ less between segments do not depend on the row


def gate_section(report: Mapping[str, Any]) -> Section:
    """The section about what ``evaluation/gates.json`` holds; details are folded."""
    factors, experts = scaling_and_choosing(report["gates"])
    by_field = families(factors)
    parts = [page.tiles(_tiles(report))] if report["gates"] else []
    parts += [page.note(_note(factors))] if factors else []
    for family in by_field:
        parts.append(_family(family, report))
    by_place = [gate for gate in factors if gate.get("places")]
    if by_place:
        drawn = {_title(gate): _svg(place_bars(gate), f"Places of {gate['name']}") for gate in by_place}
        parts += [page.heading("Gates upon histories, by place"), page.note(_PLACES), page.figures(drawn)]
    if experts:
        loads = {_title(gate): _svg(load_bars(gate), f"Load of {gate['name']}") for gate in experts}
        note = _EXPERTS + (_FACTORS if any("factors" in gate for gate in experts) else "")
        parts += [page.heading("Experts"), page.note(note), page.figures(loads), expert_table(experts)]
    named = {
        f"{kind_in_words(gate['kind'])}, {label}": gate
        for family in by_field
        for gate, label in zip(family, layer_names(family, report), strict=True)
    }
    parts += _segments(named | {short_name(gate): gate for gate in experts}, report["fields"])
    if report["cross"]:
        parts += _crossings(report)
    if factors:
        table = gate_table(factors)
        parts.append(
            page.folded(f"Every gate in numbers ({len(factors)})", table) if by_field or len(factors) > _MANY else table
        )
    return Section(title="Gates" if report["gates"] else "Crosses", parts=parts)


_PLACES = (
    "The mean factor of an event by how many events follow it in its history; the last event comes first. Only real "
    "events count. The thin line is one standard deviation over the events to each side."
)
_EXPERTS = (
    "Bars: the mean weight of each expert over the rows. Lines: the share of rows in which it has the largest weight. "
    "Entropy: of a row's weights, 1 where all experts have the same, 0 where one has all. "
    f"Unused: below {100 * UNUSED:g} % of an equal share on every row."
)
_FACTORS = (
    " Where a gate gives factors of any sign and sum, a weight is a factor's share of the magnitudes of all factors of "
    "its row."
)


def _note(factors: Sequence[Gate]) -> str:
    texts = []
    if any(gate["saturated"] is not None for gate in factors):
        texts.append(f"Saturated: within {100 * SATURATED:g} % of an end of its range, where a sigmoid hardly learns.")
    if any(gate["near_zero"] is not None for gate in factors):
        texts.append(f"Near zero: smaller than {NEAR_ZERO:g}, whatever the sign, of a factor without bounds.")
    texts.append(f"Dead: below {100 * DEAD:g} % of the neutral factor on every row.")
    if any("fields" in gate for gate in factors):
        texts.append(
            "Bars begin at the neutral factor, so their colour tells what is strengthened and what is weakened; the "
            "thin line is one standard deviation over the rows to each side."
        )
    return " ".join(texts)


def _tiles(report: Mapping[str, Any]) -> list[Tile]:
    known = headline(report)
    tiles = [Tile(label="Gates", value=str(known.num_gates), detail=f"slot: {', '.join(known.slots)}")]
    if known.saturated is not None:
        tiles.append(Tile(label="Saturated", value=f"{known.saturated:.1%}", detail="of the bounded factors"))
    if known.num_coordinates:
        detail = f"of {known.num_coordinates:,} coordinates"
        tiles.append(Tile(label="Dead", value=f"{known.dead:,}", detail=detail))
    if known.num_experts:
        detail = "" if known.entropy is None else f"entropy of the weights {known.entropy:.2f}"
        used = f"{known.num_experts - known.unused} of {known.num_experts}"
        tiles.append(Tile(label="Experts in use", value=used, detail=detail))
    return [*tiles, Tile(label="Rows looked at", value=f"{report['num_rows']:,}", detail=f"of {report['split']}")]


def _family(family: Sequence[Gate], report: Mapping[str, Any]) -> Html:
    """Gates of one kind: a heat map of layers by fields where that is easier to read, and bars for each of them."""
    kind = family[0]["kind"]
    named = dict(zip(layer_names(family, report), family, strict=True))
    bars = {label: _svg(field_bars(gate), f"Fields of {gate['name']}") for label, gate in named.items()}
    tables = [page.heading(label) + field_table(gate) for label, gate in named.items()]
    parts = [page.heading(f"{kind_in_words(kind)}, by field")]
    if is_mapped(family):
        caption = "Mean factor by layer and field; blue above the neutral factor, orange below, deeper the farther off"
        drawn = _svg(field_map(family, report), f"{kind} by layer and field")
        parts += [page.natural_figures({caption: drawn}), page.folded("Each layer with its spread", page.figures(bars))]
    else:
        parts.append(page.figures(bars))
    parts.append(page.folded("Fields in numbers", *(Html(table) for table in tables)))
    return Html("".join(parts))


def _crossings(report: Mapping[str, Any]) -> list[Html]:
    layers = report["cross"]
    drawn = {
        _strongest(label, layer, report): _svg(cross_map(layer, report), f"Cross importance of {layer['name']}")
        for layer, label in zip(layers, layer_names(layers, report), strict=True)
    }
    gated = " times the mean gate of the field that is scaled" if all(layer["gated"] for layer in layers) else ""
    text = (
        "How strongly the field of a column, with what it has met in the layers below, scales the field of a line: the "
        f"norm of their block of the layer's matrix{gated}. Deeper is stronger, from each map's weakest pair on."
    )
    shown = page.natural_figures(drawn)
    parts = [page.heading("Which field crosses which"), page.note(text)]
    return [*parts, page.folded(f"{len(layers)} layers", shown) if len(layers) > 6 else shown]


def _strongest(label: str, layer: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """A caption that names the pairs one looks for first."""
    fields, values = report["fields"], layer["importance"]
    pairs = [(value, fields[i], fields[j]) for i, line in enumerate(values) for j, value in enumerate(line)]
    named = ", ".join(f"{scaled} by {other} {value:.2f}" for value, scaled, other in sorted(pairs, reverse=True)[:3])
    return f"{label}: {named}; the weakest {min(pairs)[0]:.2f}"


def _segments(gates: Mapping[str, Gate], fields: Sequence[str]) -> list[Html]:
    """Where gates differ between the values of a segment: a heat map for each gate that looks at the row."""
    drawn: dict[str, dict[str, str]] = {}
    cut: dict[str, str] = {}
    for label, gate in gates.items():
        for column, segment in gate["segments"].items():
            lines = segment["lines"]
            overall = gate["load"] if "load" in gate else [line["mean"] for line in gate["fields"]]
            columns = fields if "fields" in gate else [f"expert {number + 1}" for number in range(len(overall))]
            means = [line["means"] for line in lines]
            shades = [[value - mean for value, mean in zip(line, overall, strict=True)] for line in means]
            if len(lines) < 2 or max(abs(shade) for line in shades for shade in line) < _SAME:
                continue
            figure = figures.heat_map(means, rows=[line["value"] for line in lines], columns=columns, shades=shades)
            drawn.setdefault(column, {})[label] = _svg(figure, f"{gate['name']} by {column}")
            if segment["num_values"] > len(lines):
                cut[column] = f" The {len(lines)} values with most rows, of {segment['num_values']:,}."
    text = "Mean factor or weight; blue above the mean over all rows, orange below, deeper the farther off."
    parts = []
    for column, maps in drawn.items():
        shown = page.natural_figures(maps)
        few = len(maps) <= 3
        parts += [page.heading(f"By {column}"), page.note(text + cut.get(column, ""))]
        parts.append(shown if few else page.folded("Each gate", shown))
    return parts


def _title(gate: Gate) -> str:
    return f"{short_name(gate)}, {kind_in_words(gate['kind']).lower()}"


def _svg(figure: Figure, title: str) -> str:
    return figures.to_svg(figure, title=title)
