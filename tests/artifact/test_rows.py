"""Rounded rows: how far a value may move, what may not move at all, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctrgate.artifact.rows import form_of, look_up, restored, shape_of, store, sums
from ctrgate.errors import ArtifactError, HeldBackError

TINY = 1e-37
VALUES = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)


def tables(*, least_width: int = 9) -> st.SearchStrategy[torch.Tensor]:
    shapes = st.tuples(st.integers(1, 6), st.integers(least_width, 40))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=VALUES)).map(torch.from_numpy)


@settings(deadline=None)
@given(tables())
def test_no_value_moves_by_more_than_half_a_step_of_its_row(rows: torch.Tensor) -> None:
    steps = (rows.double().amax(dim=1) - rows.double().amin(dim=1)) / 255
    apart = (restored(store(rows, "int8", table="t")).double() - rows).abs()
    rounding = 4 * torch.finfo(torch.float32).eps * rows.double().abs().amax(dim=1) + TINY
    assert (apart <= (steps / 2 + rounding).unsqueeze(1)).all()


@settings(deadline=None)
@given(tables(least_width=1))
def test_float16_moves_no_value_by_more_than_its_own_last_place(rows: torch.Tensor) -> None:
    apart = (restored(store(rows, "float16", table="t")).double() - rows).abs()
    assert (apart <= rows.double().abs() * 2**-11 + 2**-25).all()


@settings(deadline=None)
@given(tables(least_width=1), st.sampled_from(["float32", "float16", "int8"]))
def test_padding_stays_zero_in_every_form(rows: torch.Tensor, form: str) -> None:
    rows = torch.cat([torch.zeros(1, rows.size(1)), rows])
    stored = store(rows, form, table="t")
    assert not restored(stored)[0].any()
    assert not look_up(stored, torch.tensor([0])).any()


@settings(deadline=None)
@given(VALUES, st.integers(9, 40))
def test_a_row_of_one_value_is_not_rounded_by_int8(value: float, width: int) -> None:
    rows = torch.full((3, width), value)
    assert torch.equal(restored(store(rows, "int8", table="t")), rows)


@settings(deadline=None)
@given(tables())
def test_both_ends_of_a_row_are_kept_and_equal_values_stay_equal(rows: torch.Tensor) -> None:
    rows[:, 1] = rows[:, 0]
    found = restored(store(rows, "int8", table="t"))
    assert torch.equal(found[:, 1], found[:, 0])
    near = 4 * torch.finfo(torch.float32).eps * rows.abs().amax(dim=1) + TINY
    assert ((found.amin(dim=1) - rows.amin(dim=1)).abs() <= near).all()
    assert ((found.amax(dim=1) - rows.amax(dim=1)).abs() <= near).all()


@settings(deadline=None)
@given(st.data(), st.sampled_from(["float32", "float16", "int8"]))
def test_rows_and_sums_over_bags_are_those_of_the_whole_table(data: st.DataObject, form: str) -> None:
    stored = store(data.draw(tables()), form, table="t")
    whole = restored(stored)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 5), max_size=4)), dtype=torch.int64)
    count = int(lengths.sum())
    ids = torch.tensor(data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=count, max_size=count)))
    ids, weights = ids.long(), torch.linspace(-1, 2, count)
    assert shape_of(stored) == tuple(whole.shape)
    near = {"rtol": 1e-5, "atol": 1e-5 * float(whole.abs().max())}
    torch.testing.assert_close(look_up(stored, ids), whole[ids], **near)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    for used in (None, weights):
        found = sums(stored, ids, offsets, weights=used)
        scaled = whole[ids] if used is None else whole[ids] * used.unsqueeze(1)
        parts = [part.sum(dim=0) for part in scaled.split(lengths.tolist())] if len(lengths) else []
        expected = torch.stack(parts) if parts else torch.zeros(0, whole.size(1))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(whole.abs().max()) + TINY)


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_with_its_place(form: str, value: float) -> None:
    rows = torch.zeros(5, 12)
    rows[3, 7] = value
    with pytest.raises(HeldBackError, match=r"table gate1/user, row 3 holds (nan|-?inf)"):
        store(rows, form, table="gate1/user")


@pytest.mark.parametrize(("form", "width"), [("float16", 12), ("int8", 8)])
def test_what_float16_cannot_hold_is_refused_with_a_remedy(form: str, width: int) -> None:
    rows = torch.full((4, width), 65_504.0)
    store(rows, form, table="user")
    rows[2, 0] = -65_521.0
    with pytest.raises(HeldBackError, match=r"table user, row 2 holds -65521.*export\.rows=float32"):
        store(rows, form, table="user")


def test_int8_holds_what_is_far_larger_or_far_smaller() -> None:
    rows = torch.stack([torch.linspace(-1, 1, 12) * 3e38, torch.linspace(0, 1e-40, 12), torch.full((12,), 1e-45)])
    assert (restored(store(rows, "int8", table="t")) - rows).abs().max() <= 6e38 / 255 / 2 * 1.001
    assert restored(store(rows, "int8", table="t"))[1:].isfinite().all()


def test_narrow_tables_take_the_form_that_is_smallest() -> None:
    sizes = {width: store(torch.ones(10, width), "int8", table="t") for width in (1, 8, 9, 16)}
    assert {width: form_of(of) for width, of in sizes.items()} == {1: "float16", 8: "float16", 9: "int8", 16: "int8"}
    assert {width: of.nbytes for width, of in sizes.items()} == {1: 20, 8: 160, 9: 170, 16: 240}


def test_tables_of_many_rows_are_rounded_as_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(10, 12, generator=torch.Generator().manual_seed(0))
    whole = store(rows, "int8", table="t")
    monkeypatch.setattr("ctrgate.artifact.rows._ROWS_AT_ONCE", 3)
    assert torch.equal(store(rows, "int8", table="t"), whole)
    assert shape_of(store(rows[:0], "float16", table="t")) == (0, 12)


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
@pytest.mark.parametrize("row", [-1, 5, 2**40])
def test_a_row_that_is_not_there_is_an_error_in_every_form(form: str, row: int) -> None:
    stored = store(torch.ones(5, 12), form, table="t")
    with pytest.raises((IndexError, RuntimeError)):
        look_up(stored, torch.tensor([2, row]))


def test_a_type_that_is_none_of_the_forms_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"rows of torch\.bfloat16 are of no form"):
        form_of(torch.zeros(1, dtype=torch.bfloat16))
