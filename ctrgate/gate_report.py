"""What ``evaluate`` saw the gates of a run do, as a section of its page and as figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from ctrgate import figures, page
from ctrgate.page import Html, Section, Tile

__all__ = ["Headline", "gate_figures", "gate_section", "headline"]

Gate = Mapping[str, Any]
_MANY = 8  # beyond, a table is folded
_SAME = 1e-6  # gates that differ less between segments do not depend on the row


@dataclass(frozen=True, kw_only=True)
class Headline:
    """All gates of a network in a few numbers.

    Args:
        num_gates: Those that choose experts included.
        slots: Where they stand.
        num_coordinates: Factors of all gates together.
        saturated: Share of the bounded factors that are within 1.8 % of an end; None where there are none.
        dead: Coordinates whose factor was near zero on every row.
        num_experts: Choices of all expert gates together.
        unused: Those that no row used.
        entropy: Mean over the expert gates, 1 where all experts have the same weight; None without.
    """

    num_gates: int
    slots: tuple[str, ...]
    num_coordinates: int
    saturated: float | None
    dead: int
    num_experts: int
    unused: int
    entropy: float | None

    def __str__(self) -> str:
        parts = [f"{self.num_gates} in {len(self.slots)} slot{'s' if len(self.slots) != 1 else ''}"]
        parts += [] if self.saturated is None else [f"{self.saturated:.1%} saturated"]
        parts += [f"{self.dead} dead"] if self.num_coordinates else []
        parts += [f"{self.unused} of {self.num_experts} experts unused"] if self.num_experts else []
        return ", ".join(parts)


def headline(report: Mapping[str, Any]) -> Headline:
    """Of what ``evaluation/gates.json`` holds."""
    factors, experts = _split(report["gates"])
    bounded = [gate for gate in factors if gate["saturated"] is not None]
    num_bounded = sum(gate["num_coordinates"] for gate in bounded)
    saturated = sum(gate["saturated"] * gate["num_coordinates"] for gate in bounded)
    entropies = [gate["entropy"] for gate in experts if gate["entropy"] is not None]
    return Headline(
        num_gates=len(report["gates"]),
        slots=tuple(sorted({gate["slot"] for gate in report["gates"]})),
        num_coordinates=sum(gate["num_coordinates"] for gate in factors),
        saturated=saturated / num_bounded if num_bounded else None,
        dead=sum(gate["dead"] for gate in factors),
        num_experts=sum(gate["num_experts"] for gate in experts),
        unused=sum(len(gate["unused"]) for gate in experts),
        entropy=sum(entropies) / len(entropies) if entropies else None,
    )


def gate_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name the figures that stand for the whole: gates by field, experts' loads, which field crosses which."""
    factors, experts = _split(report["gates"])
    drawn: dict[str, Figure] = {}
    for family in _families(factors):
        name = _plain(f"gates {_words(family[0]['kind'])}") + (f"_{len(drawn)}" if drawn else "")
        drawn[name] = _field_map(family, report) if len(family) > 1 else _field_bars(family[0])
    drawn |= {f"experts_{_plain(_short(gate))}": _load(gate) for gate in experts}
    drawn |= {f"places_{_plain(_short(gate))}": _place_bars(gate) for gate in factors if gate.get("places")}
    return drawn | {f"cross_{_plain(_short(layer))}": _cross_map(layer, report) for layer in report["cross"]}


def gate_section(report: Mapping[str, Any]) -> Section:
    """The section about what ``evaluation/gates.json`` holds; details are folded."""
    factors, experts = _split(report["gates"])
    by_field = _families(factors)
    parts = [page.tiles(_tiles(report))] if report["gates"] else []
    parts += [page.note(_note(factors))] if factors else []
    for family in by_field:
        parts.append(_family(family, report))
    by_place = [gate for gate in factors if gate.get("places")]
    if by_place:
        drawn = {
            f"{_short(gate)}, {_words(gate['kind']).lower()}": _svg(_place_bars(gate), f"Places of {gate['name']}")
            for gate in by_place
        }
        parts += [page.heading("Gates upon histories, by place"), page.note(_PLACES), page.figures(drawn)]
    if experts:
        loads = {
            f"{_short(gate)}, {_words(gate['kind']).lower()}": _svg(_load(gate), f"Load of {gate['name']}")
            for gate in experts
        }
        note = _EXPERTS + (_FACTORS if any("factors" in gate for gate in experts) else "")
        parts += [page.heading("Experts"), page.note(note), page.figures(loads), _expert_table(experts)]
    named = {
        f"{_words(gate['kind'])}, {label}": gate
        for family in by_field
        for gate, label in zip(family, _layers(family, report), strict=True)
    }
    parts += _segments(named | {_short(gate): gate for gate in experts}, report["fields"])
    if report["cross"]:
        parts += _crossings(report)
    if factors:
        table = _gate_table(factors)
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
    "Entropy: of a row's weights, 1 where all experts have the same, 0 where one has all."
)
_FACTORS = (
    " Where a gate gives factors of any sign and sum, a weight is a factor's share of the magnitudes of all factors of "
    "its row."
)


def _note(factors: Sequence[Gate]) -> str:
    texts = []
    if any(gate["saturated"] is not None for gate in factors):
        texts.append("Saturated: within 1.8 % of an end of its range, where a sigmoid hardly learns.")
    texts.append("Dead: below a hundredth of the neutral factor on every row.")
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
    """Gates of one kind: a heat map of layers by fields where there are several, and bars for each of them."""
    kind = family[0]["kind"]
    named = dict(zip(_layers(family, report), family, strict=True))
    bars = {label: _svg(_field_bars(gate), f"Fields of {gate['name']}") for label, gate in named.items()}
    tables = [page.heading(label) + _field_table(gate) for label, gate in named.items()]
    parts = [page.heading(f"{_words(kind)}, by field")]
    if len(family) > 2:
        caption = "Mean factor by layer and field; blue above the neutral factor, orange below, deeper the farther off"
        drawn = _svg(_field_map(family, report), f"{kind} by layer and field")
        parts += [page.natural_figures({caption: drawn}), page.folded("Each layer with its spread", page.figures(bars))]
    else:
        parts.append(page.figures(bars))
    parts.append(page.folded("Fields in numbers", *(Html(table) for table in tables)))
    return Html("".join(parts))


def _field_bars(gate: Gate) -> Figure:
    lines = gate["fields"]
    return figures.horizontal_bars(
        [line["field"] for line in lines],
        [line["mean"] for line in lines],
        spread=[line["std"] for line in lines],
        start=gate["neutral"],
        xlabel="mean factor" + (f", of {gate['bounds'][0]:g} to {gate['bounds'][1]:g}" if gate["bounds"] else ""),
    )


def _place_bars(gate: Gate) -> Figure:
    lines = gate["places"]
    return figures.horizontal_bars(
        [_place(line) for line in lines],
        [line["mean"] for line in lines],
        spread=[line["std"] for line in lines],
        start=gate["neutral"],
        xlabel="mean factor",
    )


def _place(line: Mapping[str, Any]) -> str:
    if line["from"] == line["to"]:
        return "last event" if line["from"] == 0 else f"{line['from']} before it"
    return f"{line['from']} or more before" if line["to"] is None else f"{line['from']} to {line['to']} before"


def _field_map(family: Sequence[Gate], report: Mapping[str, Any]) -> Figure:
    means = [[line["mean"] for line in gate["fields"]] for gate in family]
    return figures.heat_map(
        means,
        rows=_layers(family, report),
        columns=report["fields"],
        shades=[[value - gate["neutral"] for value in line] for gate, line in zip(family, means, strict=True)],
    )


def _load(gate: Gate) -> Figure:
    labels = [f"expert {number}" for number in range(1, gate["num_experts"] + 1)]
    return figures.horizontal_bars(
        labels, gate["load"], marks=gate["first"], xlabel="mean weight; the line: share of rows in which it leads"
    )


def _cross_map(layer: Mapping[str, Any], report: Mapping[str, Any]) -> Figure:
    values = layer["importance"]
    lowest = min(value for line in values for value in line)  # random starts alone give every pair some norm
    shades = [[value - lowest for value in line] for line in values]
    return figures.heat_map(values, rows=report["fields"], columns=report["fields"], shades=shades, numbered=False)


def _crossings(report: Mapping[str, Any]) -> list[Html]:
    layers = report["cross"]
    drawn = {
        _strongest(label, layer, report): _svg(_cross_map(layer, report), f"Cross importance of {layer['name']}")
        for layer, label in zip(layers, _layers(layers, report), strict=True)
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
    text = "Mean factor or weight; blue above the mean over all rows, orange below, deeper the farther off."
    parts = []
    for column, maps in drawn.items():
        shown = page.natural_figures(maps)
        few = len(maps) <= 3
        parts += [page.heading(f"By {column}"), page.note(text), shown if few else page.folded("Each gate", shown)]
    return parts


def _gate_table(gates: Sequence[Gate]) -> Html:
    columns = ("gate", "kind", "slot", "mean", "± over rows", "± between coordinates", *_COUNTS)
    rows = []
    for gate in gates:
        kind = gate["kind"] + (f", alpha {gate['alpha']:.3f}" if "alpha" in gate else "")
        rows.append((_short(gate), kind, gate["slot"], *_numbers(gate)))
    return _table(columns, rows)


_COUNTS = ("saturated", "near zero", "dead")


def _field_table(gate: Gate) -> Html:
    columns = ("field", "mean", "± over rows", "± between coordinates", *_COUNTS)
    return _table(columns, [(line["field"], *_numbers(line)) for line in gate["fields"]])


def _numbers(line: Mapping[str, Any]) -> tuple[str, ...]:
    shares = ("" if line[name] is None else f"{line[name]:.1%}" for name in ("saturated", "near_zero"))
    moments = (f"{line[name]:.3f}" for name in ("mean", "std", "between"))
    return (*moments, *shares, f"{line['dead']} of {line['num_coordinates']}")


def _expert_table(gates: Sequence[Gate]) -> Html:
    columns = ("gate", "expert", "mean weight", "mean factor", "leads in", "takes part in", "")
    rows = [
        (
            _short(gate),
            str(number + 1),
            f"{gate['load'][number]:.3f}",
            f"{gate['factors'][number]:.3f}" if "factors" in gate else "",
            f"{gate['first'][number]:.1%}",
            f"{gate['nonzero'][number]:.1%}",
            "unused" if number in gate["unused"] else "",
        )
        for gate in gates
        for number in range(gate["num_experts"])
    ]
    return page.folded("Experts in numbers", _table(columns, rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table without the columns that no line has anything in."""
    kept = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    return page.table([columns[number] for number in kept], [[row[number] for number in kept] for row in rows])


def _split(gates: Sequence[Gate]) -> tuple[list[Gate], list[Gate]]:
    """Gates that scale, and gates that choose experts."""
    return [gate for gate in gates if gate["slot"] != "expert"], [gate for gate in gates if gate["slot"] == "expert"]


def _families(gates: Sequence[Gate]) -> list[list[Gate]]:
    """Gates that know fields, those together whose names differ in numbers alone."""
    found: dict[tuple[str, str], list[Gate]] = {}
    for gate in gates:
        if "fields" in gate:
            found.setdefault((gate["kind"], re.sub(r"\d+", "*", gate["name"])), []).append(gate)
    return list(found.values())


def _layers(modules: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> list[str]:
    """What tells some modules apart; of cross layers the order of their products."""
    crossing = {layer["name"] for layer in report["cross"]}
    names = [module["name"].removesuffix(".gate") for module in modules]
    differing = [parts for parts in zip(*(name.split(".") for name in names), strict=True) if len(set(parts)) > 1]
    apart = [list(parts) for parts in zip(*differing, strict=True)] or [[] for _ in names]
    labels = []
    for name, parts in zip(names, apart, strict=True):
        last = name.rpartition(".")[2]
        if name in crossing and last.isdigit():
            labels.append(", ".join([*(f"part {int(part) + 1}" for part in parts[:-1]), f"order {int(last) + 2}"]))
        else:
            labels.append(", ".join(f"layer {int(part) + 1}" if part.isdigit() else part for part in parts) or last)
    return labels


def _short(module: Mapping[str, Any]) -> str:
    return str(module["name"]).removeprefix("body.")


def _words(kind: str) -> str:
    """``ContextGate`` as "Context gate"."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f" {found[0].lower()}", kind)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower())


def _svg(figure: Figure, title: str) -> str:
    return figures.to_svg(figure, title=title)
