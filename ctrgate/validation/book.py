"""The findings of a check, and what chance explains of a share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctrgate.metrics.intervals import share_interval
from ctrgate.validation.expectations import Expectations
from ctrgate.validation.rules import CheckSettings, Finding, Rule

__all__ = ["Book"]


class Book:
    """Findings, each as grave as the settings or its column's expectation say.

    Args:
        expectations: Of the dataset.
        how: The settings of the check.
    """

    def __init__(self, expectations: Expectations, how: CheckSettings) -> None:
        self.expectations, self.how = expectations, how
        self.findings: list[Finding] = []

    def write(
        self, rule: Rule, *, expected: str, found: str, remedy: str, by_chance: bool = False, **about: Any
    ) -> None:
        """Add a finding, a note where chance explains it; ``about`` are the fields that say what it is about."""
        own = self.expectations.severity_of(rule, column=about.get("column", ""))
        severity = "note" if by_chance else own or getattr(self.how.severities, rule)
        self.findings.append(
            Finding(rule=rule, severity=severity, expected=expected, found=found, remedy=remedy, **about)
        )

    def exceeds(self, count: int, of: int, *, limit: float) -> bool:
        """Whether a share is above its limit by more than sampling noise."""
        if not of or count / of <= limit:
            return False
        return limit == 0 or self.interval(count, of)[0] > limit

    def interval(self, count: int, of: int) -> tuple[float, float]:
        """Wilson's interval of a share, at the level of the check."""
        ends = share_interval(np.array([count / of]), num_rows=np.array([float(of)]), level=1 - self.how.significance)
        return float(ends[0][0]), float(ends[1][0])
