"""All gates of a network in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctrgate.gate_report.names import scaling_and_choosing

__all__ = ["Headline", "headline"]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """All gates of a network in a few numbers.

    Args:
        num_gates: Those that choose experts included.
        slots: Where they stand.
        num_coordinates: Factors of all gates together.
        saturated: Share of the bounded factors that are near an end; None where there are none. What counts, here and
            below, is in ``metrics.gate_limits``.
        dead: Coordinates whose factor was next to nothing on every row.
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
    factors, experts = scaling_and_choosing(report["gates"])
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
