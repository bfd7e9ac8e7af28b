"""The rules a day is checked by, how grave a breach of each is, and what a finding says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ctrgate.config import settings
from ctrgate.ranges import Count

__all__ = ["SEVERITIES", "CheckSettings", "Finding", "Rule", "Severities", "Severity", "worst_of"]

Severity = Literal["note", "warn", "stop"]
SEVERITIES: tuple[Severity, ...] = ("note", "warn", "stop")
"""From the lightest to the gravest."""
Rule = Literal[
    "readable",
    "schema",
    "types",
    "uncovered",
    "values",
    "empty",
    "rows",
    "nulls",
    "range",
    "domain",
    "label_rate",
    "one_class",
    "psi",
    "jensen_shannon",
    "unseen",
    "duplicates",
    "gap",
    "outside_period",
    "after_label",
    "leak",
]


@settings
class Severities:
    """How grave a breach of each rule is: ``note`` and ``warn`` are told, ``stop`` holds the day back."""

    readable: Severity = "stop"
    """A file is damaged, cut short or empty."""
    schema: Severity = "stop"
    """A column is missing, or of a type that its feature cannot read."""
    types: Severity = "warn"
    """A column can be read, but is of another type than it was."""
    uncovered: Severity = "warn"
    """The dataset reads a column that the expectations do not speak of, or the other way round."""
    values: Severity = "stop"
    """A value that ``prepare`` would refuse: an infinite number, a label other than 0 or 1, a missing user."""
    empty: Severity = "stop"
    """There are no rows."""
    rows: Severity = "warn"
    """More or fewer rows than a period has."""
    nulls: Severity = "warn"
    """More missing values than expected."""
    range: Severity = "warn"
    """Numbers outside their range."""
    domain: Severity = "warn"
    """Categories that are none of a closed list."""
    label_rate: Severity = "warn"
    """The share of positive rows is outside its range."""
    one_class: Severity = "stop"
    """All labels are equal, so nothing can be learnt or measured."""
    psi: Severity = "warn"
    """A feature's distribution moved, by the population stability index."""
    jensen_shannon: Severity = "note"
    """A feature's distribution moved, by the Jensen-Shannon divergence."""
    unseen: Severity = "warn"
    """Too many values have no row in the encoder's tables."""
    duplicates: Severity = "warn"
    """Rows that repeat an earlier one in every column."""
    gap: Severity = "warn"
    """A time without rows that is longer than any known."""
    outside_period: Severity = "warn"
    """Rows before the day began."""
    after_label: Severity = "stop"
    """Rows whose label is not known yet, or whose features were taken after them."""
    leak: Severity = "warn"
    """A single feature that ranks the labels too well."""


@settings
class CheckSettings:
    """How a day is checked, whatever its expectations are."""

    severities: Severities = Severities()
    """By rule; a column's own, in the expectations, comes first."""
    min_rows: Count = 200
    """Drift, label rate and leaks are not judged on fewer rows."""
    significance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """A share or distribution must differ beyond its limit at this level; sampling noise alone is no finding."""
    since: int | datetime | None = None
    """The day's first moment: a datetime (UTC) or seconds since 1970."""
    until: int | datetime | None = None
    """The moment after the day's last; labels of rows from then on are not complete."""
    features_at: str = ""
    """A column that tells when a row's features were taken, as ``roles.timestamp`` tells when it happened."""

    def __post_init__(self) -> None:
        since, until = self.seconds
        if since is not None and until is not None and since >= until:
            raise ValueError(f"since {self.since} is not before until {self.until}; a day is since <= time < until")

    @property
    def seconds(self) -> tuple[int | None, int | None]:
        """``since`` and ``until`` in seconds since 1970."""
        return _second(self.since), _second(self.until)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One breach of one rule.

    Args:
        rule: Which.
        severity: How grave.
        expected: What should have been.
        found: What was.
        remedy: What to do.
        feature: The feature or features that read the column; empty where none is meant.
        column: The raw column.
        label: The label.
        file: The file, where it is one file's fault, or where the first rows lie.
        rows: Some of the rows in that file, counted from 0.
    """

    rule: Rule
    severity: Severity
    expected: str
    found: str
    remedy: str
    feature: str = ""
    column: str = ""
    label: str = ""
    file: str = ""
    rows: tuple[int, ...] = ()

    @property
    def subject(self) -> str:
        """What it is about, in a few words."""
        if self.feature and self.column and self.feature != self.column:
            return f"{self.feature} (column {self.column})"
        return self.feature or self.column or self.label

    def __str__(self) -> str:
        rows = f", row{'s' if len(self.rows) > 1 else ''} {', '.join(map(str, self.rows))}" if self.rows else ""
        what = ", ".join(filter(None, [self.subject, f"{self.file}{rows}" if self.file else ""]))
        told = f"expected {self.expected}; found {self.found}; {self.remedy}"
        return f"{self.severity} {self.rule}: {what}: {told}" if what else f"{self.severity} {self.rule}: {told}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, what is empty left out."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value}


def worst_of(findings: Iterable[Finding]) -> Severity | None:
    """The gravest severity; None where nothing was found."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in reversed(SEVERITIES) if severity in found), None)


def _second(moment: int | datetime | None) -> int | None:
    if moment is None or isinstance(moment, int):
        return moment
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
