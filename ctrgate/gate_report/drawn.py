"""Gates as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ctrgate import figures
from ctrgate.gate_report.names import (
    Gate,
    families,
    file_name,
    is_mapped,
    kind_in_words,
    layer_names,
    scaling_and_choosing,
    short_name,
)

__all__ = ["cross_map", "field_bars", "field_map", "gate_figures", "load_bars", "place_bars"]


def gate_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """By file name the figures that stand for the whole: gates by field, experts' loads, which field crosses which."""
    factors, experts = scaling_and_choosing(report["gates"])
    drawn: dict[str, Figure] = {}
    for number, family in enumerate(families(factors)):
        name = file_name(f"gates {kind_in_words(family[0]['kind'])}") + (f"_{number}" if number else "")
        if is_mapped(family):
            drawn[name] = field_map(family, report)
        elif len(family) == 1:
            drawn[name] = field_bars(family[0])
        else:
            labelled = zip(layer_names(family, report), family, strict=True)
            drawn |= {f"{name}_{file_name(label)}": field_bars(gate) for label, gate in labelled}
    drawn |= {f"experts_{file_name(short_name(gate))}": load_bars(gate) for gate in experts}
    drawn |= {f"places_{file_name(short_name(gate))}": place_bars(gate) for gate in factors if gate.get("places")}
    return drawn | {f"cross_{file_name(short_name(layer))}": cross_map(layer, report) for layer in report["cross"]}


def field_bars(gate: Gate) -> Figure:
    """The mean factor of each field, from the neutral one."""
    lines = gate["fields"]
    return figures.horizontal_bars(
        [line["field"] for line in lines],
        [line["mean"] for line in lines],
        spread=[line["std"] for line in lines],
        start=gate["neutral"],
        xlabel="mean factor" + (f", of {gate['bounds'][0]:g} to {gate['bounds'][1]:g}" if gate["bounds"] else ""),
    )


def place_bars(gate: Gate) -> Figure:
    """The mean factor by place in the history."""
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


def field_map(family: Sequence[Gate], report: Mapping[str, Any]) -> Figure:
    """The mean factors of several gates by field."""
    means = [[line["mean"] for line in gate["fields"]] for gate in family]
    return figures.heat_map(
        means,
        rows=layer_names(family, report),
        columns=report["fields"],
        shades=[[value - gate["neutral"] for value in line] for gate, line in zip(family, means, strict=True)],
    )


def load_bars(gate: Gate) -> Figure:
    """The mean weight of each expert."""
    labels = [f"expert {number}" for number in range(1, gate["num_experts"] + 1)]
    return figures.horizontal_bars(
        labels, gate["load"], marks=gate["first"], xlabel="mean weight; the line: share of rows in which it leads"
    )


def cross_map(layer: Mapping[str, Any], report: Mapping[str, Any]) -> Figure:
    """How strongly each field scales each other one."""
    values = layer["importance"]
    lowest = min(value for line in values for value in line)  # random starts alone give every pair some norm
    shades = [[value - lowest for value in line] for line in values]
    return figures.heat_map(values, rows=report["fields"], columns=report["fields"], shades=shades, numbered=False)
