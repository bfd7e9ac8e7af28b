"""When a factor of a gate is saturated, near zero or dead, and an expert unused; a report's notes are made of this."""

from __future__ import annotations

__all__ = ["DEAD", "NEAR_ZERO", "SATURATED", "UNUSED"]

SATURATED = 0.018
"""How near an end, as a share of its range, a bounded factor counts as saturated: sigmoid(-4)."""
NEAR_ZERO = 1e-3
"""Below this size a factor without bounds is near zero."""
DEAD = 0.01
"""A coordinate is dead whose factor was smaller on every row, as a share of the neutral factor."""
UNUSED = 0.01
"""An expert is unused whose weight was smaller on every row, as a share of the weight that all would have alike."""
