"""Moments, sketches and scalings against numpy and hand-worked numbers."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrgate.features.statistics import SKETCH_POINTS, Moments, Scaling, compress, quantiles, total

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_merged_moments_are_those_of_all_numbers(parts: list[list[float]]) -> None:
    found = total(Moments.of(np.array(part)) for part in parts)
    whole = np.concatenate([np.array(part) for part in parts])
    assert found is not None
    assert (found.count, found.low, found.high) == (len(whole), whole.min(), whole.max())
    assert found.mean == pytest.approx(whole.mean(), rel=1e-9, abs=1e-6)
    assert found.squares == pytest.approx(len(whole) * whole.var(), rel=1e-7, abs=1e-3)


@given(st.lists(numbers, min_size=2, max_size=6), st.randoms())
def test_any_order_of_the_parts_gives_the_same_bits(parts: list[list[float]], random: Random) -> None:
    moments = [Moments.of(np.array(part)) for part in parts]
    shuffled = random.sample(moments, len(moments))
    assert total(shuffled) == total(moments)


def test_negative_zero_is_zero() -> None:
    found = Moments.of(np.array([-0.0]))
    assert str((found.mean, found.low, found.high)) == "(0.0, 0.0, 0.0)"


def test_moments_far_from_zero_keep_their_spread() -> None:
    found = total([Moments.of(np.array([1e9, 1e9 + 1])), Moments.of(np.array([1e9 + 2, 1e9 + 3]))])
    assert found is not None
    assert found.squares == pytest.approx(5.0)


def scaled(values: list[float | None], scaling: Scaling) -> list[float]:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    return frame.select(scaling.apply(pl.col("x")))["x"].to_list()


def test_standard_numbers_have_mean_zero_and_spread_one() -> None:
    scaling = Scaling.fit(Moments.of(np.array([1.0, 3.0])), transform="standard", fill=None)
    assert scaled([1, 3, 5, None], scaling) == [-1, 1, 3, 0]


def test_a_fill_value_is_transformed_like_any_number() -> None:
    standard = Scaling.fit(Moments.of(np.array([1.0, 3.0])), transform="standard", fill=5.0)
    log = Scaling.fit(Moments.of(np.array([1.0])), transform="log", fill=-(math.e - 1))
    assert scaled([None], standard) == [3]
    assert scaled([None, math.e - 1, -(math.e - 1), 0], log) == pytest.approx([-1, 1, -1, 0])


def test_minmax_numbers_stay_between_zero_and_one() -> None:
    scaling = Scaling.fit(Moments.of(np.array([2.0, 4.0, 6.0])), transform="minmax", fill=None)
    assert scaled([2, 3, 6, 100, -100, None], scaling) == [0, 0.25, 1, 1, 0, 0.5]


def test_a_constant_number_is_not_divided_by_zero() -> None:
    moments = Moments.of(np.array([7.0, 7.0]))
    assert scaled([7, 8, None], Scaling.fit(moments, transform="standard", fill=None)) == [0, 1, 0]
    assert scaled([7, None], Scaling.fit(moments, transform="minmax", fill=None)) == [0, 0]


def test_a_number_that_is_always_missing_becomes_zero() -> None:
    assert scaled([None], Scaling.fit(None, transform="standard", fill=None)) == [0]


def test_numbers_beyond_float32_are_clipped_to_it() -> None:
    found = scaled([1e300, -1e300], Scaling.fit(None, transform="none", fill=None))
    assert np.isfinite(found).all()


def sketch(values: np.ndarray) -> pl.DataFrame:
    return compress(pl.Series("value", values, dtype=pl.Float64).value_counts(name="weight"))


def test_quantiles_of_few_values_are_exact() -> None:
    assert quantiles(sketch(np.arange(1, 101)), count=4) == (25, 50, 75)


def test_a_frequent_value_fills_one_bucket_and_the_greatest_is_no_boundary() -> None:
    values = np.array([0] * 60 + [1] * 20 + [2] * 20)
    assert quantiles(sketch(values), count=4) == (0, 1)
    assert quantiles(sketch(np.array([0] * 60 + [1] * 10 + [2] * 30)), count=4) == (0,)


def test_no_values_give_no_boundaries() -> None:
    assert quantiles(sketch(np.array([])), count=4) == ()


def test_ranks_of_merged_sketches_are_off_by_no_more_than_one_point() -> None:
    generator = np.random.default_rng(0)
    parts = [generator.normal(mean, 2, size=30_000) for mean in (0, 5, 1)]
    sketches = [sketch(part) for part in parts]
    assert all(part.height <= SKETCH_POINTS for part in sketches)
    whole = np.sort(np.concatenate(parts))
    for place, boundary in enumerate(quantiles(pl.concat(sketches), count=100), start=1):
        assert abs(np.searchsorted(whole, boundary, side="right") / len(whole) - place / 100) <= 1 / SKETCH_POINTS
