"""A day's counts against expectations: what differs, by how much, and whether sampling noise explains it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ctrgate.metrics.stability import psi
from ctrgate.validation.book import Book
from ctrgate.validation.counts import ColumnCounts, Places, bin_names, reference_shares
from ctrgate.validation.drift import homogeneity, jensen_shannon
from ctrgate.validation.leak import single_auc
from ctrgate.validation.profile import LabelCounts, Profile, Times
from ctrgate.validation.rules import Rule
from ctrgate.validation.unseen import Unseen

__all__ = ["DEFAULT_UNSEEN", "ColumnMeasures", "check_profile", "check_unseen"]

DEFAULT_UNSEEN = 0.5
"""Most share of unseen values where the expectations name none."""
_MAIN = 0.9  # a period with this share of the rows is the day; the others hold stray rows


@dataclass(frozen=True, kw_only=True)
class ColumnMeasures:
    """What was measured of one column.

    Args:
        nulls: Share of rows without a value.
        low: The least number.
        high: The greatest.
        psi: Population stability index against the reference, None where it is not compared.
        js: Jensen-Shannon divergence in bits.
        p_value: Of the two distributions being one.
        bins: What each bin holds.
        reference: Shares by bin, of the reference.
        shares: Of the day.
        auc: By label, where it can be told.
    """

    nulls: float
    low: float | None = None
    high: float | None = None
    psi: float | None = None
    js: float | None = None
    p_value: float | None = None
    bins: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    auc: Mapping[str, float] = field(default_factory=dict)


def check_profile(seen: Profile, book: Book) -> dict[str, ColumnMeasures]:
    """Check what was counted of a day; findings go into the book.

    Returns:
        The measures of each column that was there.
    """
    if not seen.num_rows:
        files = ", ".join(seen.files) or "no file that can be read"
        book.write(
            "empty",
            expected="rows",
            found=f"none in {files}",
            remedy="see whether the files were written whole and hold the day",
        )
        return {}
    _check_rows(seen, book)
    for name, label in seen.labels.items():
        _check_label(name, label, book)
    if seen.times is not None:
        _check_times(seen.times, book)
    return {name: _check_column(counts, book, seen=seen) for name, counts in seen.columns.items() if counts.num_rows}


def check_unseen(unseen: Mapping[str, Unseen], book: Book) -> None:
    """Check the shares of values without a row in the encoder's tables."""
    for feature, counts in unseen.items():
        limit = book.expectations.unseen.get(feature, DEFAULT_UNSEEN)
        if counts.num_values >= book.how.min_rows and book.exceeds(counts.num_unseen, counts.num_values, limit=limit):
            book.write(
                "unseen",
                expected=f"at most {limit:.2%} of values without a row in the encoder's tables",
                found=f"{counts.share:.2%} ({counts.num_unseen:,} of {counts.num_values:,})",
                remedy=f"let the vocabulary grow by these rows, see whether the ids changed their form, or raise "
                f"unseen.{feature} in the expectations",
                feature=feature,
                column=", ".join(counts.columns),
                file=counts.file,
                rows=counts.rows,
            )


def _check_rows(seen: Profile, book: Book) -> None:
    limits, period = book.expectations.rows, book.expectations.reference.period
    for name, count, cut in _counted_periods(seen, by_file=period is None):
        if count > limits.max or (count < limits.min and not cut):
            book.write(
                "rows",
                expected=f"{limits.min:,.0f} to {limits.max:,.0f} rows a {period or 'file'}",
                found=f"{count:,} in {name}",
                remedy="see whether files are missing, cut short or doubled, or change rows in the expectations",
                file=name if period is None else "",
            )


def _counted_periods(seen: Profile, *, by_file: bool) -> Iterator[tuple[str, int, bool]]:
    """What is compared: its name, its rows, and whether it may be cut (the first and the last of several periods)."""
    if by_file:
        yield from ((name, count, False) for name, count in seen.files.items())
        return
    main = [period for period, count in seen.periods.items() if count >= _MAIN * seen.num_rows]
    inner = main or sorted(seen.periods)
    for place, period in enumerate(inner):
        cut = not main and place in (0, len(inner) - 1)
        yield f"the period from {_moment(period)}", seen.periods[period], cut


def _check_label(name: str, label: LabelCounts, book: Book) -> None:
    num_rows, positives = label.total
    if not num_rows:
        return
    limits = book.expectations.labels.get(name)
    if positives in (0, num_rows):
        usual = 0.0 if limits is None else limits.max if positives else 1 - limits.min
        by_chance = usual**num_rows >= book.how.significance
        book.write(
            "one_class",
            expected=f"rows with and without the label {name}",
            found=f"all {num_rows:,} rows are {int(positives > 0)}" + (", by chance perhaps" if by_chance else ""),
            remedy="see whether labels were joined, and whether their delay has passed",
            by_chance=by_chance,
            label=name,
        )
        return
    if limits is None or num_rows < book.how.min_rows:
        return
    low, high = book.interval(positives, num_rows)
    if high < limits.min or low > limits.max:
        book.write(
            "label_rate",
            expected=f"{limits.min:.3%} to {limits.max:.3%} of rows with the label {name}",
            found=f"{positives / num_rows:.3%} ({positives:,} of {num_rows:,}; interval {low:.3%} to {high:.3%})",
            remedy=f"see whether labels are late or joined twice, or change labels.{name} in the expectations",
            label=name,
        )


def _check_times(times: Times, book: Book) -> None:
    gap, limit = times.longest_gap(), book.expectations.gap_minutes
    if gap is not None and limit is not None and gap[0] > limit:
        book.write(
            "gap",
            expected=f"at most {limit:,.0f} minutes without rows",
            found=f"{gap[0]:,.0f} minutes from {_moment(60 * gap[1])}",
            remedy="see whether a part of the log is missing, or raise gap_minutes in the expectations",
        )
    until = "" if times.until is None else _moment(times.until)
    _check_places(
        times.early,
        book,
        rule="outside_period",
        expected=f"rows from {_moment(times.since or 0)} on",
        what="earlier rows",
        remedy="take them out, or validate them with the day they belong to",
    )
    _check_places(
        times.late,
        book,
        rule="after_label",
        expected=f"rows before {until}, when labels are complete",
        what="later rows, whose labels are not known yet",
        remedy="take them out: they would teach that nothing is clicked",
    )
    _check_places(
        times.taken_later,
        book,
        rule="after_label",
        expected=f"features taken no later than their row ({book.how.features_at})",
        what="rows with features from after them",
        remedy="join the features as they were at the row's time: what is known later gives the label away",
        column=book.how.features_at,
    )


def _check_places(
    places: Places, book: Book, *, rule: Rule, expected: str, what: str, remedy: str, column: str = ""
) -> None:
    if places.count:
        found, told = f"{places.count:,} {what}", f", such as {places.values}" if places.values else ""
        about: dict[str, Any] = {"file": places.file, "rows": places.rows, "column": column}
        book.write(rule, expected=expected, found=found + told, remedy=remedy, **about)


def _check_column(counts: ColumnCounts, book: Book, *, seen: Profile) -> ColumnMeasures:
    column, expected = counts.watched.column, book.expectations.columns[counts.watched.column]
    about: dict[str, Any] = {"column": column, "feature": ", ".join(counts.watched.features)}
    num_rows, missing = sum(counts.num_rows.values()), sum(counts.num_missing.values())
    if book.exceeds(missing, num_rows, limit=expected.nulls):
        book.write(
            "nulls",
            expected=f"at most {expected.nulls:.2%} of rows without a value",
            found=f"{missing / num_rows:.2%} ({missing:,} of {num_rows:,})",
            remedy=f"see what fills the column, or raise columns.{column}.nulls in the expectations",
            **about,
        )
    if counts.outside.count and expected.range is not None:
        book.write(
            "range",
            expected=f"numbers from {expected.range.min:g} to {expected.range.max:g}",
            found=f"{counts.outside.count:,} outside, such as {counts.outside.values}",
            remedy=f"see whether the unit changed, or widen columns.{column}.range in the expectations",
            file=counts.outside.file,
            rows=counts.outside.rows,
            **about,
        )
    if counts.unlisted.count:
        book.write(
            "domain",
            expected=f"one of the {len(expected.domain or ())} known categories",
            found=f"{counts.unlisted.count:,} others, such as {counts.unlisted.values}",
            remedy=f"add them to columns.{column}.domain in the expectations if they are meant, or mend the column",
            file=counts.unlisted.file,
            rows=counts.unlisted.rows,
            **about,
        )
    drifted = _check_drift(counts, book, about=about, seen=seen)
    return ColumnMeasures(
        nulls=missing / num_rows,
        low=counts.low,
        high=counts.high,
        auc=_check_leak(counts, book, labels=list(seen.labels), about=about),
        **drifted,
    )


def _check_drift(counts: ColumnCounts, book: Book, *, about: Mapping[str, Any], seen: Profile) -> dict[str, Any]:
    """Measures of drift; empty where the column has no reference, or too few rows were seen."""
    expected, bins = book.expectations.columns[counts.watched.column], counts.total_bins
    num_rows = sum(counts.num_rows.values())
    if expected.drift is None or num_rows < book.how.min_rows or not bins.sum():
        return {}
    reference = reference_shares(expected)
    values = {"psi": psi(reference, bins), "js": jensen_shannon(reference, bins)}
    p_value = homogeneity(
        reference,
        bins,
        num_expected=book.expectations.reference.effective_rows,
        num_found=min(seen.effective_rows, float(num_rows)),
    )
    names: tuple[tuple[Rule, str, float, str], ...] = (
        ("psi", "psi", expected.drift.psi, ""),
        ("jensen_shannon", "js", expected.drift.js, " bits"),
    )
    for rule, name, limit, unit in names:
        if values[name] > limit and p_value < book.how.significance:
            book.write(
                rule,
                expected=f"at most {limit:.3g}{unit} from the reference",
                found=f"{values[name]:.3g}{unit}; {_most_moved(counts, reference)}",
                remedy=f"see what changed, and if it stays, infer the expectations anew or raise "
                f"columns.{counts.watched.column}.drift.{name}",
                **about,
            )
    shares = bins / bins.sum()
    return {
        **values,
        "p_value": p_value,
        "bins": tuple(bin_names(expected)),
        "reference": tuple(reference),
        "shares": tuple(float(share) for share in shares),
    }


def _most_moved(counts: ColumnCounts, reference: list[float]) -> str:
    """The bin that moved most, as text."""
    shares = counts.total_bins / counts.total_bins.sum()
    place = int(np.abs(shares - np.asarray(reference)).argmax())
    return f"{bin_names(counts.expected)[place]} went from {reference[place]:.1%} to {shares[place]:.1%}"


def _check_leak(counts: ColumnCounts, book: Book, *, labels: list[str], about: Mapping[str, Any]) -> dict[str, float]:
    limit = book.expectations.columns[counts.watched.column].auc
    found = {}
    for label, cells in zip(labels, counts.by_label, strict=True):
        if cells.sum() < book.how.min_rows:
            continue
        alone = single_auc(cells, level=1 - book.how.significance)
        if alone is None:
            continue
        found[label] = alone.value
        if limit is not None and alone.low > limit:
            book.write(
                "leak",
                expected=f"an AUC of at most {limit:.3f} from this column alone",
                found=f"{alone.value:.4f} for the label {label}",
                remedy="see whether the column is filled after the label is known; if it is as good as that, raise "
                f"columns.{counts.watched.column}.auc in the expectations",
                label=label,
                **about,
            )
    return found


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M UTC")
