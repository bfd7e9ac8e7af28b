"""What checking a day gave: findings and measures, as data and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from ctrgate.features.dataset import DatasetConfig
from ctrgate.validation.checks import ColumnMeasures
from ctrgate.validation.profile import Profile
from ctrgate.validation.rules import SEVERITIES, Finding, Rule, Severity, worst_of
from ctrgate.validation.unseen import Unseen

__all__ = ["FORMAT_VERSION", "Validation", "validation_of"]

FORMAT_VERSION = 1
_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A checked day.

    Args:
        dataset: Its name.
        findings: The gravest first.
        files: Rows by file, those that could be read.
        effective_rows: Kish's effective number of users; the rows, where no column names users.
        duplicates: Share of rows that repeat an earlier one.
        gap_minutes: The longest time without rows; None without a clock.
        labels: By name: rows that have it and positive ones.
        columns: Measures by column.
        features: Which features read a column.
        unseen: By feature; None where no encoder was given.
    """

    dataset: str
    findings: tuple[Finding, ...]
    files: Mapping[str, int]
    effective_rows: float
    duplicates: float
    gap_minutes: float | None
    labels: Mapping[str, tuple[int, int]]
    columns: Mapping[str, ColumnMeasures]
    features: Mapping[str, tuple[str, ...]]
    unseen: Mapping[str, Unseen] | None

    @property
    def num_rows(self) -> int:
        """All rows."""
        return sum(self.files.values())

    @property
    def worst(self) -> Severity | None:
        """The gravest severity found; the day is held back by ``stop``."""
        return worst_of(self.findings)

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def to_json(self) -> dict[str, Any]:
        """Plain values that depend on rows and settings alone; numbers are rounded to eight digits."""
        values = {
            "format_version": FORMAT_VERSION,
            "dataset": self.dataset,
            "worst": self.worst,
            "num_findings": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "findings": [finding.to_json() for finding in self.findings],
            "num_rows": self.num_rows,
            "effective_rows": self.effective_rows,
            "files": dict(self.files),
            "duplicates": self.duplicates,
            "gap_minutes": self.gap_minutes,
            "labels": {
                name: {"num_rows": num_rows, "positives": positives, "rate": positives / num_rows if num_rows else None}
                for name, (num_rows, positives) in self.labels.items()
            },
            "unseen": None
            if self.unseen is None
            else {
                name: {"share": counts.share, "num_values": counts.num_values, "num_unseen": counts.num_unseen}
                for name, counts in self.unseen.items()
            },
            "columns": {
                name: {"features": list(self.features.get(name, ())), **asdict(measures)}
                for name, measures in self.columns.items()
            },
        }
        rounded: dict[str, Any] = _rounded(values)
        return rounded


def validation_of(
    dataset: DatasetConfig,
    *,
    seen: Profile,
    findings: Sequence[Finding],
    measures: Mapping[str, ColumnMeasures],
    unseen: Mapping[str, Unseen] | None,
) -> Validation:
    """Put together what was counted and found; findings are ordered by severity, rule and what they are about."""
    rules = {rule: place for place, rule in enumerate(get_args(Rule))}

    def order(finding: Finding) -> tuple[Any, ...]:
        return -SEVERITIES.index(finding.severity), rules[finding.rule], finding.subject, finding.file, finding.found

    gap = seen.times.longest_gap() if seen.times is not None else None
    return Validation(
        dataset=dataset.name,
        findings=tuple(sorted(findings, key=order)),
        files=seen.files,
        effective_rows=seen.effective_rows,
        duplicates=seen.hashes.repeated_share,
        gap_minutes=None if gap is None else gap[0],
        labels={name: label.total for name, label in seen.labels.items()},
        columns=measures,
        features={name: counts.watched.features for name, counts in seen.columns.items()},
        unseen=unseen,
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
