"""Gates as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctrgate import page
from ctrgate.gate_report.names import Gate, short_name
from ctrgate.page import Html

__all__ = ["expert_table", "field_table", "gate_table"]

_COUNTS = ("saturated", "near zero", "dead")


def gate_table(gates: Sequence[Gate]) -> Html:
    """A line for each gate that scales."""
    columns = ("gate", "kind", "slot", "mean", "± over rows", "± between coordinates", *_COUNTS)
    rows = []
    for gate in gates:
        kind = gate["kind"] + (f", alpha {gate['alpha']:.3f}" if "alpha" in gate else "")
        rows.append((short_name(gate), kind, gate["slot"], *_numbers(gate)))
    return _table(columns, rows)


def field_table(gate: Gate) -> Html:
    """A line for each field of a gate."""
    columns = ("field", "mean", "± over rows", "± between coordinates", *_COUNTS)
    return _table(columns, [(line["field"], *_numbers(line)) for line in gate["fields"]])


def _numbers(line: Mapping[str, Any]) -> tuple[str, ...]:
    shares = ("" if line[name] is None else f"{line[name]:.1%}" for name in ("saturated", "near_zero"))
    moments = (f"{line[name]:.3f}" for name in ("mean", "std", "between"))
    return (*moments, *shares, f"{line['dead']} of {line['num_coordinates']}")


def expert_table(gates: Sequence[Gate]) -> Html:
    """A line for each expert of each gate, folded."""
    columns = ("gate", "expert", "mean weight", "mean factor", "leads in", "takes part in", "")
    rows = [
        (
            short_name(gate),
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
