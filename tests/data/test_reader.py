"""The order of data: every row once, sliced by worker, resumable at a batch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ctrgate.contracts import Batch
from ctrgate.data.prefetch import prefetch
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import DataError
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup

LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="price", kind="number"),
        Field(name="tags", kind="weighted_bag", table="tags"),
        Field(name="image", kind="vector", width=2),
    ),
    sequences=(
        SequenceGroup(name="history", members=(Member(name="item", column="history", table="item"),), max_length=4),
    ),
    tables={"user": 10_000, "tags": 10_000, "item": 10_000},
    labels=("click",),
    roles={"group": ("group:user",)},
)


def table(start: int, stop: int) -> pa.Table:
    """Rows whose every column can be told from the row's number."""
    rows = np.arange(start, stop)
    return pa.table(
        {
            "user": pa.array(rows, pa.int64()),
            "price": pa.array(rows * 0.5, pa.float32()),
            "tags": pa.array([[r] * (r % 3) for r in rows], pa.list_(pa.int64())),
            "tags:weights": pa.array([[r + 0.25] * (r % 3) for r in rows], pa.list_(pa.float32())),
            "image": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(rows, 2), pa.float32()), 2),
            "history": pa.array([[r + i for i in range(r % 5)] for r in rows], pa.list_(pa.int64())),
            "label:click": pa.array(rows % 2, pa.float32()),
            "group:user": pa.array(rows, pa.int64()),
        }
    )


def reader(folder: Path, *, files: list[int], row_group: int) -> Reader:
    """A reader over files of the given numbers of rows."""
    paths, start = [], 0
    for number, rows in enumerate(files):
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(table(start, start + rows), path, row_group_size=row_group)
        paths.append(path)
        start += rows
    return Reader(paths, layout=LAYOUT)


def rows_of(batches: list[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.rows.tolist()]


def assert_columns_belong_together(batch: Batch) -> None:
    rows = batch.rows
    assert torch.equal(batch.ids["user"].values, rows)
    assert torch.equal(batch.numbers[:, 0], rows * 0.5)
    assert torch.equal(batch.vectors["image"], rows[:, None].expand(-1, 2).float())
    assert torch.equal(batch.labels[:, 0], (rows % 2).float())
    assert torch.equal(batch.groups, rows)
    assert torch.equal(batch.ids["tags"].lengths, rows % 3)
    assert batch.ids["tags"].values.tolist() == [r for r in rows.tolist() for _ in range(r % 3)]
    assert batch.ids["tags"].weights.tolist() == [r + 0.25 for r in rows.tolist() for _ in range(r % 3)]
    assert batch.ids["history"].values.tolist() == [r + i for r in rows.tolist() for i in range(r % 5)]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.integers(1, 23), min_size=1, max_size=4),
    row_group=st.integers(1, 9),
    batch_size=st.integers(2, 20),
    num_workers=st.integers(1, 5),
    buffer=st.integers(1, 4),
    seed=st.one_of(st.none(), st.integers(0, 3)),
)
def test_every_row_comes_once_at_any_number_of_workers(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[int],
    row_group: int,
    batch_size: int,
    num_workers: int,
    buffer: int,
    seed: int | None,
) -> None:
    source = reader(tmp_path_factory.mktemp("rows"), files=files, row_group=row_group)
    order = Order(batch_size=batch_size, seed=seed, buffer_row_groups=buffer)
    whole = list(source.batches(order))
    assert Counter(rows_of(whole)) == Counter(range(sum(files)))
    assert len(whole) == source.num_batches(order)
    for batch in whole:
        assert_columns_belong_together(batch)
    shares = [
        list(
            source.batches(
                Order(batch_size=batch_size, seed=seed, buffer_row_groups=buffer, worker=w, num_workers=num_workers)
            )
        )
        for w in range(num_workers)
    ]
    for number, batch in enumerate(whole):  # the slices side by side are the global batch
        assert rows_of([share[number] for share in shares]) == batch.rows.tolist()


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    files=st.lists(st.integers(1, 23), min_size=1, max_size=4),
    row_group=st.integers(1, 9),
    batch_size=st.integers(2, 20),
    buffer=st.integers(1, 4),
    data=st.data(),
)
def test_a_resumed_epoch_goes_on_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[int],
    row_group: int,
    batch_size: int,
    buffer: int,
    data: st.DataObject,
) -> None:
    source = reader(tmp_path_factory.mktemp("rows"), files=files, row_group=row_group)
    whole = list(source.batches(Order(batch_size=batch_size, seed=7, epoch=2, buffer_row_groups=buffer)))
    first = data.draw(st.integers(0, len(whole)))
    resumed = source.batches(Order(batch_size=batch_size, seed=7, epoch=2, buffer_row_groups=buffer, first_batch=first))
    assert [batch.rows.tolist() for batch in resumed] == [batch.rows.tolist() for batch in whole[first:]]


def test_epochs_and_seeds_have_orders_of_their_own(tmp_path: Path) -> None:
    source = reader(tmp_path, files=[50], row_group=10)
    orders = [rows_of(list(source.batches(Order(batch_size=10, seed=s, epoch=e)))) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(rows) for rows in orders}) == 3
    assert rows_of(list(source.batches(Order(batch_size=7)))) == list(range(50))


def test_a_training_epoch_never_ends_in_a_batch_of_one_row(tmp_path: Path) -> None:
    source = reader(tmp_path, files=[41], row_group=10)
    assert [batch.num_rows for batch in source.batches(Order(batch_size=10, seed=0))] == [10, 10, 10, 11]
    assert [batch.num_rows for batch in source.batches(Order(batch_size=10))] == [10, 10, 10, 10, 1]


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    pq.write_table(table(0, 20), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-00000\.parquet"):
        Reader([path], layout=LAYOUT)


@pytest.mark.parametrize(("column", "values", "row"), [("user", [3, 10_000, 4], 1), ("history", [[1], [], [2, -1]], 2)])
def test_an_id_beyond_its_table_is_named(tmp_path: Path, column: str, values: list[object], row: int) -> None:
    rows = table(0, 3)
    place = rows.column_names.index(column)
    path = tmp_path / "part-00000.parquet"
    pq.write_table(rows.set_column(place, column, pa.array(values, rows.schema.field(column).type)), path)
    with pytest.raises(DataError, match=rf"part-00000\.parquet, row group 0: row {row} of column {column}"):
        list(Reader([path], layout=LAYOUT).batches(Order(batch_size=10)))


@pytest.mark.parametrize("column", ["user", "history", "label:click"])
def test_a_column_that_is_gone_is_named(tmp_path: Path, column: str) -> None:
    rows = table(0, 3)
    path = tmp_path / "part-00000.parquet"
    pq.write_table(rows.drop_columns([column]), path)
    with pytest.raises(DataError, match=rf"part-00000\.parquet lacks the columns \['{column}'\]"):
        list(Reader([path], layout=LAYOUT).batches(Order(batch_size=10)))


def test_prefetch_hands_over_items_in_order_and_the_error_at_its_place() -> None:
    def source():
        yield from range(10)
        raise DataError("row group 3 is damaged")

    stream = prefetch(source(), depth=2)
    assert [next(stream) for _ in range(10)] == list(range(10))
    with pytest.raises(DataError, match="row group 3"):
        next(stream)


def test_leaving_a_prefetched_loop_stops_its_source() -> None:
    made = []

    def source():
        for number in range(1_000):
            made.append(number)
            yield number

    stream = prefetch(source(), depth=2)
    assert next(stream) == 0
    stream.close()
    assert len(made) < 10


def test_the_thread_of_prefetch_keeps_to_itself() -> None:
    """It starts no second team of OpenMP's threads, and leaves the caller's as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(prefetch(torch.get_num_threads() for _ in range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
