"""What is counted of a column, by hand: bins, what lies outside, lists by their entries, halves by label."""

from __future__ import annotations

import numpy as np
import polars as pl

from ctrgate.validation.counts import Batch, ColumnCounts, bin_names, reference_shares
from ctrgate.validation.expectations import Bins, ColumnExpectation, Limits
from ctrgate.validation.watched import Content, Watched


def counted(values: pl.Series, *, content: Content, expected: ColumnExpectation, periods: list[int]) -> ColumnCounts:
    watched = Watched(column="c", content=content, features=("f",))
    counts = ColumnCounts(watched=watched, expected=expected, num_labels=1)
    for start in (0, 3):  # in two batches
        part = values[start : start + 3] if start == 0 else values[3:]
        rows = np.arange(start, start + len(part))
        labels = np.where(rows % 3 == 2, -1, rows % 2)[None]
        batch = Batch(file="x", rows=rows, periods=np.array(periods[start : start + len(part)]), labels=labels)
        counts.add(part, batch)
    return counts


def test_numbers_fall_in_the_bin_whose_upper_end_they_do_not_pass() -> None:
    bins = Bins(start=1.0, upto=(1.0, 2.0, 4.0), shares=(0.5, 0.25, 0.2))
    expected = ColumnExpectation(type="float", bins=bins, missing=0.05, range=Limits(min=1, max=4.5))
    values = pl.Series([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, None, 4.25])
    counts = counted(values, content="number", expected=expected, periods=[7, 7, 7, 7, 8, 8, 8, 8])
    assert bin_names(expected) == ["below 1", "up to 1", "up to 2", "up to 4", "above 4", "missing"]
    assert reference_shares(expected) == [0.0, 0.5, 0.25, 0.2, 0.0, 0.05]
    assert counts.total_bins.tolist() == [1, 1, 1, 2, 2, 1]
    assert counts.bins[7].tolist() == [1, 1, 1, 1, 0, 0]
    assert (counts.num_rows, counts.num_missing) == ({7: 4, 8: 4}, {7: 0, 8: 1})
    assert (counts.low, counts.high) == (0.0, 5.0)
    assert (counts.outside.count, counts.outside.rows, counts.outside.values) == (2, (0, 5), "0.0, 5.0")


def test_categories_are_the_top_ones_all_others_and_missing_ones() -> None:
    expected = ColumnExpectation(type="string", top={"b": 0.5, "a": 0.3}, rest=0.1, missing=0.1, domain=("a", "b", "c"))
    values = pl.Series(["a", "b", None, "c", "b", "d", "b"])
    counts = counted(values, content="category", expected=expected, periods=[0] * 7)
    assert bin_names(expected) == ["b", "a", "other values", "missing"]
    assert counts.total_bins.tolist() == [3, 1, 2, 1]
    assert (counts.unlisted.count, counts.unlisted.rows, counts.unlisted.values) == (1, (5,), "d")


def test_lists_are_counted_by_their_entries() -> None:
    expected = ColumnExpectation(type="list of string", top={"a": 1.0}, domain=("a",))
    values = pl.Series([["a", "b"], [], None, ["a", None], ["c", "a"]])
    counts = counted(values, content="categories", expected=expected, periods=[1, 1, 1, 2, 2])
    assert counts.total_bins.tolist() == [3, 2, 0]
    assert counts.bins[1].tolist() == [1, 1, 0]
    assert (counts.num_rows, counts.num_missing) == ({1: 3, 2: 2}, {1: 2, 2: 0})
    assert (counts.unlisted.rows, counts.unlisted.values) == ((0, 4), "b, c")


def test_rows_are_parted_by_label_and_half_and_those_without_a_label_left_out() -> None:
    bins = Bins(start=0.0, upto=(0.0, 1.0), shares=(0.5, 0.5))
    values = pl.Series([0.0, 1.0] * 300)
    counts = counted(values, content="number", expected=ColumnExpectation(type="float", bins=bins), periods=[0] * 600)
    halves = counts.by_label[0].sum(axis=(1, 2))
    assert halves.sum() == 400  # every third row has no label
    assert abs(int(halves[0]) - int(halves[1])) < 20
    # the label is the parity of the row, and so is the value
    assert counts.by_label[0][:, 0, 2].sum() == counts.by_label[0][:, 1, 1].sum() == 0
    assert counts.by_label[0].sum(axis=0).sum() == 400
