"""Expectations from a dataset's train rows, with tolerances as wide as the rows themselves vary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ctrgate.config import Place, settings
from ctrgate.errors import DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.sources import Source
from ctrgate.metrics.stability import psi
from ctrgate.ranges import Count
from ctrgate.validation.counts import ColumnCounts
from ctrgate.validation.drift import jensen_shannon
from ctrgate.validation.expectations import (
    ColumnExpectation,
    Drift,
    Expectations,
    Limits,
    Period,
    Reference,
)
from ctrgate.validation.leak import single_auc
from ctrgate.validation.profile import LabelCounts, Profile, Times, profile
from ctrgate.validation.reference import reference_bins
from ctrgate.validation.unseen import Unseen
from ctrgate.validation.watched import watched_columns

__all__ = ["SchemaSettings", "infer"]

_USUAL = 0.9  # the share of periods whose drift is taken as usual; the others may be broken days


@settings
class SchemaSettings:
    """The ``schema`` section of a run file: where a dataset's expectations are kept, and how they are inferred."""

    file: Place = ""
    """The expectations; ``expectations/NAME.yaml`` by default, with the dataset's name."""
    period: Period = "day"
    """What is validated at a time (UTC): rows, label rates and drift are looked at by it, where there is a clock."""
    overwrite: bool = False
    """Whether a file of other content, edited by hand perhaps, is replaced."""
    num_bins: Annotated[int, Field(ge=2, le=100)] = 10
    """Most bins of a number, by its quantiles."""
    num_top: Annotated[int, Field(ge=1, le=1000)] = 20
    """Most categories kept by name."""
    max_domain: Annotated[int, Field(ge=0, le=1000)] = 50
    """Most categories of a closed list."""
    min_rows: Count = 200
    """Periods with fewer rows say nothing of how rates and distributions vary."""

    def place(self, dataset: DatasetConfig) -> str:
        """The file of a dataset's expectations."""
        return self.file or f"expectations/{dataset.name}.yaml"


def infer(
    dataset: DatasetConfig,
    sources: Sequence[Source],
    *,
    how: SchemaSettings,
    unseen: Mapping[str, Unseen] | None = None,
) -> Expectations:
    """Expectations of one period's rows, from the rows of many; two passes over them.

    Args:
        dataset: What the columns mean.
        sources: The rows, as those of train; their schemas must have been checked.
        how: Bins and periods.
        unseen: What an encoder learnt on these rows had not seen of later ones.

    Raises:
        DataError: Where there are no rows.
    """
    watched = watched_columns(dataset)
    period = how.period if dataset.roles.timestamp else None
    bins = reference_bins(watched, sources, num_bins=how.num_bins, num_top=how.num_top, max_domain=how.max_domain)
    times = Times(since=None, until=None) if dataset.roles.timestamp else None
    seen = profile(dataset, sources, watched=watched, expected=bins, period=period, times=times)
    if not seen.num_rows:
        raise DataError(f"there are no rows to infer expectations of {dataset.name} from; see dataset.split")
    gap = times.longest_gap() if times is not None else None
    return Expectations(
        format_version=1,
        dataset=dataset.name,
        reference=Reference(
            num_rows=seen.num_rows,
            effective_rows=round(seen.effective_rows, 1),
            period=period,
            num_periods=len(seen.periods),
        ),
        rows=_rows(seen),
        duplicates=_above(seen.hashes.repeated_share),
        gap_minutes=None if gap is None else math.ceil(2 * gap[0] + 10),
        labels={name: _rates(label, how=how) for name, label in seen.labels.items()},
        unseen=_unseen_limits(unseen),
        columns={name: _column(counts, how=how) for name, counts in seen.columns.items()},
    )


def _rows(seen: Profile) -> Limits:
    """Half of the smallest period to twice the largest; of a single one, which says little, a tenth to ten times.

    The first and the last period of a clock may be cut, so they count only where there is no other.
    """
    periods = sorted(seen.periods)
    whole = periods[1:-1] if seen.times is not None else periods
    inner = [seen.periods[period] for period in whole or periods]
    wide = 2 if len(inner) > 1 else 10
    return Limits(min=max(1, math.floor(min(inner) / wide)), max=wide * max(inner))


def _above(share: float) -> float:
    """Twice a share and one in a hundred: generous for what is common, and for what was never seen."""
    return _rounded(min(1.0, 2 * share + 0.01))


def _rates(label: LabelCounts, *, how: SchemaSettings) -> Limits:
    """The positive shares of periods, widened by half of their value on both sides."""
    num_rows, positives = label.total
    rates = [label.positives[period] / count for period, count in label.num_rows.items() if count >= how.min_rows]
    rates = rates or [positives / max(num_rows, 1)]
    low, high = min(rates), max(rates)
    if len(rates) > 9:
        low, high = (float(end) for end in np.quantile(rates, [1 - _USUAL, _USUAL]))
    # near 1, half of the value would be above 1: half of the distance to it then
    return Limits(min=_rounded(low / 1.5), max=_rounded(min(1.5 * high, (1 + high) / 2)))


def _unseen_limits(unseen: Mapping[str, Unseen] | None) -> dict[str, float]:
    return {name: _rounded(min(1.0, 2 * counts.share + 0.05)) for name, counts in (unseen or {}).items()}


def _column(counts: ColumnCounts, *, how: SchemaSettings) -> ColumnExpectation:
    expected = counts.expected
    num_rows, missing = sum(counts.num_rows.values()), sum(counts.num_missing.values())
    by_period = [counts.num_missing[period] / rows for period, rows in counts.num_rows.items() if rows >= how.min_rows]
    known = _with_shares(counts)
    return dataclasses.replace(
        known,
        nulls=_above(max([missing / max(num_rows, 1), *by_period])),
        range=_range(counts),
        domain=expected.domain if counts.watched.drifts else None,
        drift=_drift(counts, how=how) if counts.watched.drifts and counts.total_bins.sum() else None,
        auc=_auc(counts),
    )


def _with_shares(counts: ColumnCounts) -> ColumnExpectation:
    """The expectation with the reference's shares filled in; the order is that of ``ColumnCounts.bins``."""
    expected, bins = counts.expected, counts.total_bins
    if not counts.watched.drifts or not bins.sum():
        return dataclasses.replace(expected, bins=None, top=None)
    shares = [_rounded(float(share)) for share in bins / bins.sum()]
    if expected.bins is not None:
        filled = dataclasses.replace(expected.bins, shares=tuple(shares[1:-2]))
        return dataclasses.replace(expected, bins=filled, missing=shares[-1])
    top = dict(zip(expected.top or (), shares, strict=False))
    return dataclasses.replace(expected, top=top, rest=shares[-2], missing=shares[-1])


def _range(counts: ColumnCounts) -> Limits | None:
    """The range seen, as much wider on both sides; what was never negative stays so, and likewise never positive."""
    if counts.low is None or counts.high is None or not math.isfinite(counts.high - counts.low):
        return None
    low, high = counts.low, counts.high
    span = high - low or max(abs(high), 1.0)
    least = low - span if low < 0 else max(0.0, low - span)
    return Limits(min=least, max=high + span if high > 0 else min(0.0, high + span))


def _drift(counts: ColumnCounts, *, how: SchemaSettings) -> Drift:
    """The usual limits, or one and a half times what nine of ten periods differ from all together."""
    reference = counts.total_bins
    periods = [
        bins for period, bins in counts.bins.items() if counts.num_rows[period] >= how.min_rows and bins.sum() > 0
    ]
    usual = Drift()
    if len(periods) < 2:
        return usual
    indices = float(np.quantile([psi(reference, bins) for bins in periods], _USUAL))
    divergences = float(np.quantile([jensen_shannon(reference, bins) for bins in periods], _USUAL))
    return Drift(psi=_rounded(max(usual.psi, 1.5 * indices)), js=_rounded(min(1.0, max(usual.js, 1.5 * divergences))))


def _auc(counts: ColumnCounts) -> float | None:
    """Half of the way from what the column ranks alone to 1, at least .85, at most .98."""
    if not counts.watched.features:
        return None
    alone = [single_auc(part, level=0.95) for part in counts.by_label]
    values = [part.value for part in alone if part is not None]
    if counts.watched.content not in ("number", "category"):
        return None
    return _rounded(min(0.98, max([0.85, *((1 + value) / 2 for value in values)])))


def _rounded(share: float) -> float:
    return float(f"{share:.4g}")
