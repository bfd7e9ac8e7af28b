"""The size of what is measured. Needs nothing installed: the peers' environments read it too."""

from __future__ import annotations

__all__ = ["BATCH", "CATEGORIES", "CONTEXTS", "DIM", "GATE_HIDDEN", "HEADS", "HIDDEN", "NUMBERS", "TURN_ROWS"]

BATCH, DIM, HIDDEN, GATE_HIDDEN, HEADS = 4096, 16, (400, 400, 400), 800, 10
TURN_ROWS = 65_536
NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
CONTEXTS = {"constant": ((), ()), "context": (("C14",), ("C6",))}
"""Fields that decide the two gates: none, the published default for such data, or one for each."""
