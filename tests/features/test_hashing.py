"""XXH64 over columns, against published digests and a plain scalar form."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrgate.features.hashing import hash_column, hash_text

MASK = 2**64 - 1
PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def plain_xxh64(data: bytes, seed: int) -> int:
    """XXH64 of one byte string, step by step as its specification has it."""
    p1, p2, p3, p4, p5 = PRIMES

    def turn(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & MASK

    def mix(accumulator: int, lane: int) -> int:
        return turn((accumulator + lane * p2) & MASK, 31) * p1 & MASK

    place = 0
    if len(data) >= 32:
        sums = [(seed + p1 + p2) & MASK, (seed + p2) & MASK, seed, (seed - p1) & MASK]
        while place + 32 <= len(data):
            for lane in range(4):
                start = place + 8 * lane
                sums[lane] = mix(sums[lane], int.from_bytes(data[start : start + 8], "little"))
            place += 32
        result = sum(turn(word, bits) for word, bits in zip(sums, (1, 7, 12, 18), strict=True)) & MASK
        for word in sums:
            result = ((result ^ mix(0, word)) * p1 + p4) & MASK
    else:
        result = (seed + p5) & MASK
    result = (result + len(data)) & MASK
    while place + 8 <= len(data):
        word = int.from_bytes(data[place : place + 8], "little")
        result, place = (turn(result ^ mix(0, word), 27) * p1 + p4) & MASK, place + 8
    if place + 4 <= len(data):
        word = int.from_bytes(data[place : place + 4], "little")
        result, place = (turn(result ^ word * p1 & MASK, 23) * p2 + p3) & MASK, place + 4
    for byte in data[place:]:
        result = turn(result ^ byte * p5 & MASK, 11) * p1 & MASK
    result = (result ^ result >> 33) * p2 & MASK
    result = (result ^ result >> 29) * p3 & MASK
    return result ^ result >> 32


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", 0xEF46DB3751D8E999),
        ("a", 0xD24EC4F1A98C6E5B),
        ("abc", 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_published_digests_come_out(text: str, digest: int) -> None:
    assert hash_text(text) == digest
    assert hash_column(pl.Series([text]), seed=0).to_list() == [digest]


@given(st.lists(st.none() | st.text(max_size=70)), st.integers(0, MASK))
def test_a_column_of_texts_equals_the_plain_form(texts: list[str | None], seed: int) -> None:
    found = hash_column(pl.Series(texts, dtype=pl.String), seed=seed).to_list()
    assert found == [None if text is None else plain_xxh64(text.encode(), seed) for text in texts]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)), st.integers(0, MASK))
def test_a_column_of_integers_is_hashed_as_eight_bytes(values: list[int | None], seed: int) -> None:
    found = hash_column(pl.Series(values, dtype=pl.Int64), seed=seed).to_list()
    assert found == [
        None if value is None else plain_xxh64(value.to_bytes(8, "little", signed=True), seed) for value in values
    ]


def test_a_wider_integer_column_keeps_its_hashes() -> None:
    values = [0, 1, 200]
    wide = hash_column(pl.Series(values, dtype=pl.UInt64), seed=5).to_list()
    assert hash_column(pl.Series(values, dtype=pl.UInt8), seed=5).to_list() == wide


def test_columns_longer_than_one_portion_are_hashed_whole() -> None:
    values = [str(number) for number in range(70_000)]
    found = hash_column(pl.Series(values), seed=3)
    assert found[-1] == plain_xxh64(b"69999", 3)
    assert found.n_unique() == 70_000
