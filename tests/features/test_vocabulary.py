"""Vocabularies: admission by count, append-only growth, tombstones, compaction."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrgate.features.encodings import Missing, VocabularyEncoding
from ctrgate.features.vocabulary import Vocabulary

Counts = Mapping[str | None, int]


def grown(*days: Counts, known: Vocabulary | None = None, start: int = 0, **rules: int) -> Vocabulary:
    """A vocabulary of integers after some fits."""
    vocabulary = known or Vocabulary.empty("int")
    for fit, counts in enumerate(days, start=start):
        frame = pl.DataFrame(
            {"value": list(counts), "count": list(counts.values())}, schema={"value": pl.String, "count": pl.Int64}
        )
        vocabulary = vocabulary.grow(frame, encoding=VocabularyEncoding(**rules), fit=fit)
    return vocabulary


def rows(vocabulary: Vocabulary, *values: int | None, missing: Missing = "value") -> list[int]:
    """The rows that values read."""
    frame = pl.DataFrame({"x": list(values)}, schema={"x": pl.Int64})
    return frame.select(x=vocabulary.ids(pl.col("x"), missing=missing))["x"].to_list()


def test_frequent_values_come_first_and_equal_ones_rise_as_numbers() -> None:
    vocabulary = grown({"10": 5, "9": 5, "-1": 5, "7": 8})
    assert rows(vocabulary, 7, -1, 9, 10, 11) == [2, 3, 4, 5, 1]
    assert vocabulary.num_rows == 6


def test_equal_texts_rise_by_their_bytes() -> None:
    frame = pl.DataFrame({"value": ["é", "10", "9", "Z"], "count": [1, 1, 1, 1]})
    vocabulary = Vocabulary.empty("string").grow(frame, encoding=VocabularyEncoding(), fit=0)
    found = vocabulary.entries.filter(pl.col("id").is_not_null()).sort("id")["value"].to_list()
    assert found == ["10", "9", "Z", "é"]


def test_a_rare_value_is_listed_but_reads_unknown_until_it_was_seen_often_enough() -> None:
    first = grown({"5": 3, "6": 1}, min_count=2)
    assert rows(first, 5, 6) == [2, 1]
    second = grown({"6": 1}, known=first, start=1, min_count=2)
    assert rows(second, 5, 6) == [2, 3]


@pytest.mark.parametrize(("missing", "row"), [("value", 3), ("unknown", 1), ("zero", 0)])
def test_a_missing_value_reads_what_its_policy_says(missing: Missing, row: int) -> None:
    assert rows(grown({"5": 3, None: 2, "6": 1}), None, 5, 6, missing=missing) == [row, 2, 4]


def test_a_missing_value_that_train_never_had_reads_unknown() -> None:
    vocabulary = grown({"5": 3})
    assert rows(vocabulary, None) == [1]
    assert vocabulary.num_rows == 3


def test_no_more_than_max_size_values_live_and_retired_ones_make_room() -> None:
    first = grown({"5": 3, "6": 2, "7": 1}, max_size=2, retire_after=1)
    assert rows(first, 5, 6, 7) == [2, 3, 1]
    later = grown({"5": 1, "7": 1}, {"5": 1, "7": 1}, known=first, start=1, max_size=2, retire_after=1)
    assert rows(later, 5, 6, 7) == [2, 1, 4]


def test_a_retired_value_reads_unknown_and_gets_its_row_back_when_it_returns() -> None:
    gone = grown({"5": 3, "6": 3}, {"5": 1}, {"5": 1}, min_count=2, retire_after=1)
    assert rows(gone, 5, 6) == [2, 1]
    assert gone.num_rows == 4
    seen_once = grown({"5": 1, "6": 1, "8": 9}, known=gone, start=3, min_count=2, retire_after=1)
    assert rows(seen_once, 6, 8) == [1, 4]
    back = grown({"5": 1, "6": 1}, known=seen_once, start=4, min_count=2, retire_after=1)
    assert rows(back, 5, 6, 8) == [2, 3, 4]


def test_values_that_were_never_admitted_are_forgotten_when_retired() -> None:
    vocabulary = grown({"5": 3, "6": 1}, {"5": 1}, {"5": 1}, min_count=2, retire_after=1)
    assert vocabulary.entries["value"].to_list() == ["5"]


def test_compaction_closes_the_gaps_and_says_which_row_went_where() -> None:
    vocabulary = grown({"5": 9, "6": 8, None: 7, "7": 6}, {"5": 1, None: 1, "7": 1}, retire_after=1)
    vocabulary = grown({"5": 1, None: 1, "7": 1}, known=vocabulary, start=2, retire_after=1)
    assert rows(vocabulary, 5, 6, None, 7) == [2, 1, 4, 5]
    compacted, old = vocabulary.compact()
    assert rows(compacted, 5, 6, None, 7) == [2, 1, 3, 4]
    assert old.tolist() == [0, 1, 2, 4, 5]
    assert compacted.num_rows == 5


def test_a_dropped_value_reads_padding_for_good() -> None:
    compacted, old = grown({"5": 9, None: 8, "6": 7}).compact(dropped=[2])
    assert rows(compacted, 5, None, 6, 7) == [0, 2, 3, 1]
    assert old.tolist() == [0, 1, 3, 4]
    assert rows(grown({"5": 99, "7": 1}, known=compacted, start=1), 5, None, 6, 7) == [0, 2, 3, 4]


def test_integers_beyond_floats_keep_apart_and_decode() -> None:
    values = [2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
    vocabulary = grown({str(value): 1 for value in values})
    found = rows(vocabulary, *values)
    assert sorted(found) == [2, 3, 4, 5, 6, 7]
    assert vocabulary.decode(pl.Series(found)).to_list() == values


def test_unsigned_integers_beyond_the_signed_ones_decode() -> None:
    vocabulary = grown({str(2**64 - 1): 2, "1": 1})
    frame = pl.DataFrame({"x": [2**64 - 1, 1]}, schema={"x": pl.UInt64})
    found = frame.select(x=vocabulary.ids(pl.col("x"), missing="value"))["x"]
    assert found.to_list() == [2, 3]
    assert vocabulary.decode(found).to_list() == [2**64 - 1, 1]


def test_rows_without_a_value_decode_to_null() -> None:
    assert grown({"5": 2, None: 1}).decode(pl.Series([0, 1, 2, 3, 99])).to_list() == [None, None, 5, None, None]


days = st.lists(st.dictionaries(st.none() | st.integers(-20, 20).map(str), st.integers(1, 5), max_size=8), max_size=6)


@given(days, st.integers(1, 6), st.none() | st.integers(1, 5), st.none() | st.integers(1, 2))
def test_no_fit_ever_moves_a_row(days: list[Counts], min_count: int, max_size: int | None, retire: int | None) -> None:
    rules = {"min_count": min_count, "max_size": max_size, "retire_after": retire}
    vocabulary = Vocabulary.empty("int")
    known: dict[str | None, int] = {}
    for fit, counts in enumerate(days):
        vocabulary = grown(counts, known=vocabulary, start=fit, **rules)  # type: ignore[arg-type]
        placed = vocabulary.entries.filter(pl.col("id").is_not_null())
        now = dict(zip(placed["value"], placed["id"], strict=True))
        assert known.items() <= now.items()
        assert sorted(now.values()) == list(range(2, vocabulary.num_rows))
        live = placed.filter(~pl.col("retired"))
        assert max_size is None or live.height <= max_size
        known = now


def test_the_digest_tells_contents_apart_and_nothing_else() -> None:
    one, same = grown({"5": 2, "6": 1}), grown({"6": 1, "5": 2})
    assert one.digest() == same.digest()
    assert one.digest() != grown({"5": 2, "6": 2}).digest()
    texts = [
        Vocabulary.empty("string").grow(
            pl.DataFrame({"value": values, "count": [2, 1]}), encoding=VocabularyEncoding(), fit=0
        )
        for values in (["ab", "c"], ["a", "bc"])
    ]
    assert texts[0].digest() != texts[1].digest()
