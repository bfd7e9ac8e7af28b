"""XXH64 of whole columns: the same bucket for the same value in every version, on every machine."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["hash_bytes", "hash_column", "hash_text"]

_Words = NDArray[np.uint64]
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
_ROWS_AT_ONCE = 1 << 16


def hash_column(values: pl.Series, *, seed: int) -> pl.Series:
    """XXH64 of every value; null stays null.

    Strings are hashed as UTF-8, integers as their eight little-endian bytes whatever their width, so that a column
    that changes from 32 to 64 bits keeps its hashes.

    Args:
        values: Strings or integers.
        seed: The seed of XXH64.

    Returns:
        UInt64, as long as ``values``.

    Example:
        >>> hash_column(pl.Series(["a", None]), seed=0).to_list()
        [15154266338359012955, None]
    """
    present = values.drop_nulls()
    hashes = np.empty(len(present), dtype=np.uint64)
    for start in range(0, len(present), _ROWS_AT_ONCE):
        part = present.slice(start, _ROWS_AT_ONCE)
        hashes[start : start + len(part)] = _strings(part, seed) if part.dtype == pl.String else _integers(part, seed)
    if len(present) == len(values):
        return pl.Series(values.name, hashes, dtype=pl.UInt64)
    places = (values.is_not_null().cum_sum().cast(pl.Int64) - 1).set(values.is_null(), None)
    return pl.Series(values.name, hashes, dtype=pl.UInt64).gather(places)


def hash_text(text: str) -> int:
    """XXH64 of one string."""
    data = np.frombuffer(text.encode(), dtype=np.uint8).reshape(1, -1)
    return int(hash_bytes(data, seed=0)[0])


def hash_bytes(rows: NDArray[np.uint8], *, seed: int) -> _Words:
    """XXH64 of each row of bytes (Collet, xxHash fast digest algorithm, version 0.1.1).

    Shape:
        - rows: ``(n, L)``
        - returns: ``(n,)``
    """
    count, length = rows.shape
    start = np.uint64(seed)
    with np.errstate(over="ignore"):
        done = length // 32 * 32
        if done:
            lanes = _words(rows[:, :done]).reshape(count, -1, 4)
            sums = np.array([start + _P1 + _P2, start + _P2, start, start - _P1])
            accumulators = np.broadcast_to(sums, (count, 4))
            for stripe in range(lanes.shape[1]):
                accumulators = _round(accumulators, lanes[:, stripe])
            turns = zip(accumulators.T, (1, 7, 12, 18), strict=True)
            result = sum((_rotate(part, bits) for part, bits in turns), np.zeros(count, dtype=np.uint64))
            for part in accumulators.T:
                result = (result ^ _round(np.zeros_like(part), part)) * _P1 + _P4
        else:
            result = np.full(count, start + _P5)
        return _finish(result + np.uint64(length), rows[:, done:])


def _finish(result: _Words, rest: NDArray[np.uint8]) -> _Words:
    """Mix in the last ``L mod 32`` bytes and spread the bits."""
    length = rest.shape[1]
    eights, fours = length // 8 * 8, length // 4 * 4
    for word in _words(rest[:, :eights]).T:
        result = _rotate(result ^ _round(np.zeros_like(word), word), 27) * _P1 + _P4
    if fours > eights:
        word = np.ascontiguousarray(rest[:, eights:fours]).view("<u4")[:, 0].astype(np.uint64)
        result = _rotate(result ^ word * _P1, 23) * _P2 + _P3
    for byte in rest[:, fours:].T:
        result = _rotate(result ^ byte.astype(np.uint64) * _P5, 11) * _P1
    result = (result ^ result >> np.uint64(33)) * _P2
    result = (result ^ result >> np.uint64(29)) * _P3
    return result ^ result >> np.uint64(32)


def _round(accumulator: _Words, lane: _Words) -> _Words:
    return _rotate(accumulator + lane * _P2, 31) * _P1


def _rotate(words: _Words, bits: int) -> _Words:
    return words << np.uint64(bits) | words >> np.uint64(64 - bits)


def _words(rows: NDArray[np.uint8]) -> _Words:
    """Bytes ``(n, 8 k)`` as little-endian words ``(n, k)``."""
    return np.ascontiguousarray(rows).reshape(-1).view("<u8").reshape(len(rows), rows.shape[1] // 8)


def _integers(values: pl.Series, seed: int) -> _Words:
    whole = values if values.dtype == pl.UInt64 else values.cast(pl.Int64)
    return hash_bytes(whole.to_numpy().astype("<u8").view(np.uint8).reshape(-1, 8), seed=seed)


def _strings(values: pl.Series, seed: int) -> _Words:
    """Strings of one length together, so that every step works on whole columns."""
    lengths = values.str.len_bytes().to_numpy().astype(np.int64)
    data = np.frombuffer(values.str.join("").item().encode(), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths
    result = np.empty(len(values), dtype=np.uint64)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        result[chosen] = hash_bytes(data[starts[chosen, None] + np.arange(length)], seed=seed)
    return result
