"""Raw tables: formats, joins, and what is said of files that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from ctrgate.errors import DataError, SchemaError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.encoder import Encoder
from ctrgate.features.observe import observe
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import check_agreement, expand, open_sources, read_raw

ROWS = {"user": [1, 2, 3], "item": ["a", None, "c"], "price": [0.5, None, 2.0], "label": [0, 1, 0]}


def dataset(files: Any, **values: Any) -> DatasetConfig:
    given: dict[str, Any] = {
        "name": "d",
        "files": [str(file) for file in files] if isinstance(files, list) else str(files),
        "split": {"by": "order"},
        "labels": [{"name": "label"}],
        "features": [
            {"kind": "categorical", "name": "user"},
            {"kind": "categorical", "name": "item"},
            {"kind": "numeric", "name": "price"},
        ],
    }
    return TypeAdapter(DatasetConfig).validate_python(given | values)


def rows(config: DatasetConfig) -> pl.DataFrame:
    return pl.concat([source.rows.drop(ROW).collect() for source in open_sources(config)])


def test_parquet_arrow_and_csv_hold_the_same_rows(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.arrow")
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_csv(tmp_path / "a.txt", separator="|", include_header=False)
    assert rows(dataset(tmp_path / "a.parquet")).to_dict(as_series=False) == ROWS
    assert rows(dataset(tmp_path / "a.arrow")).to_dict(as_series=False) == ROWS
    as_text = ROWS | {"user": ["1", "2", "3"], "label": [0.0, 1.0, 0.0]}
    assert rows(dataset(tmp_path / "a.csv")).to_dict(as_series=False) == as_text
    assert rows(dataset(tmp_path / "a.tsv")).to_dict(as_series=False) == as_text
    csv = {"separator": "|", "header": False, "columns": list(ROWS), "types": {"user": "int"}}
    assert rows(dataset(tmp_path / "a.txt", csv=csv)).to_dict(as_series=False) == ROWS | {"label": [0.0, 1.0, 0.0]}


def test_text_columns_stay_text_whatever_their_rows_look_like(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,price,label\n007,1e3,1e3,1\n,NA,NA,0\n")
    found = rows(dataset(tmp_path / "a.csv", csv={"null_values": ["NA"]}))
    assert found["user"].to_list() == ["007", None]
    assert found["item"].to_list() == ["1e3", None]
    assert found["price"].to_list() == [1000.0, None]


def test_a_glob_gives_files_in_name_order_and_a_list_keeps_its_own(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.csv").write_text("x\n")
    names = [path.stem for path in expand([str(tmp_path / "c.csv"), str(tmp_path / "[ab].csv")])]
    assert names == ["c", "a", "b"]


def test_a_place_without_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        open_sources(dataset(tmp_path / "none.parquet"))
    with pytest.raises(DataError, match=r"\*\.csv: no such file"):
        open_sources(dataset(tmp_path / "*.csv"))


def test_a_file_named_twice_is_told(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is named 2 times"):
        open_sources(dataset([tmp_path / "a.parquet", tmp_path / "*.parquet"]))
    place = str(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is named 2 times"):
        open_sources(dataset([], split=None, splits={"train": place, "test": place}))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.arrow"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name} is empty"):
        open_sources(dataset(tmp_path / name))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_truncated_file_is_told(tmp_path: Path, name: str) -> None:
    frame, path = pl.DataFrame({"user": range(1000)}), tmp_path / name
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_ipc(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{name} cannot be read: .*cut short"):
        open_sources(dataset(path))


def test_a_text_that_is_no_number_is_told_with_its_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,price,label\n1,a,0.5,1\n2,b,cheap,0\n")
    (source,) = open_sources(dataset(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv cannot be read: row 1 .*holds 'cheap' as price"), source.reading():
        source.rows.collect()


def test_a_row_with_too_many_values_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,price,label\n1,a,0.5,1\n2,b,0.5,0,9,9\n")
    (source,) = open_sources(dataset(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv cannot be read: found more fields"), source.reading():
        source.rows.collect()


def joined(folder: Path, table: dict[str, Any], **join: Any) -> DatasetConfig:
    pl.DataFrame(ROWS).write_parquet(folder / "a.parquet")
    pl.DataFrame(table).write_csv(folder / "users.csv")
    return dataset(folder / "a.parquet", joins=[{"files": str(folder / "users.csv"), "on": "user"} | join])


def test_a_join_adds_columns_in_row_order_and_nulls_for_keys_it_lacks(tmp_path: Path) -> None:
    table = {"user": [3, 1, None, None], "age": [30, 10, 99, 98], "zip": ["x", "y", "z", "z"]}
    config = joined(tmp_path, table, take="age", prefix="u_")
    found = rows(config)
    assert found["user"].to_list() == [1, 2, 3]
    assert found["u_age"].to_list() == ["10", None, "30"]
    assert found.columns == [*ROWS, "u_age"]


def test_a_joined_column_used_as_a_number_is_read_as_one(tmp_path: Path) -> None:
    config = joined(tmp_path, {"user": [3, 1], "age": [30, 10]}, prefix="u_")
    features = [{"kind": "numeric", "name": "u_age"}]
    found = rows(TypeAdapter(DatasetConfig).validate_python(_plain(config) | {"features": features}))
    assert found["u_age"].to_list() == [10.0, None, 30.0]


def _plain(config: DatasetConfig) -> dict[str, Any]:
    values: dict[str, Any] = TypeAdapter(DatasetConfig).dump_python(config, mode="json")
    return values


def test_a_join_may_read_its_key_from_an_earlier_one_and_have_several_keys(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"user": [1, 2], "city": [7, 8]}).write_parquet(tmp_path / "users.parquet")
    pl.DataFrame({"user": [1, 2], "city": [7, 9], "name": ["x", "y"]}).write_parquet(tmp_path / "cities.parquet")
    joins = [
        {"files": str(tmp_path / "users.parquet"), "on": "user"},
        {"files": str(tmp_path / "cities.parquet"), "on": ["user", "city"]},
    ]
    assert rows(dataset(tmp_path / "a.parquet", joins=joins))["name"].to_list() == ["x", None, None]


def test_a_duplicated_join_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"users\.csv has several rows for the key user='3'"):
        open_sources(joined(tmp_path, {"user": [3, 1, 3], "age": [30, 10, 31]}))


def test_a_join_that_lacks_its_key_or_its_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"users\.csv lacks columns \['user'\] that the join declares; it has \['id'"):
        open_sources(joined(tmp_path, {"id": [3], "age": [30]}))
    with pytest.raises(SchemaError, match=r"users\.csv lacks columns \['zip'\]"):
        open_sources(joined(tmp_path, {"user": [3], "age": [30]}, take=["zip"]))
    with pytest.raises(SchemaError, match=r"a\.parquet lacks columns \['member'\] that the join with .*users\.csv"):
        open_sources(joined(tmp_path, {"member": [3], "age": [30]}, on="member"))


def test_a_join_key_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"a\.parquet cannot be joined with .*users\.csv: the key has types"):
        open_sources(joined(tmp_path, {"user": ["x"], "age": [30]}))


def test_a_join_does_not_shadow_columns_that_are_there(tmp_path: Path) -> None:
    config = joined(tmp_path, {"user": [1], "price": [9]})
    with pytest.raises(SchemaError, match=r"a\.parquet has columns \['price'\] already"):
        open_sources(config)


def test_rows_to_score_are_joined_unless_they_have_the_columns_and_need_no_label(tmp_path: Path) -> None:
    config = joined(tmp_path, {"user": [3, 1], "age": [30, 10]})
    pl.DataFrame({"user": [3, 2]}).write_csv(tmp_path / "new1.csv")
    pl.DataFrame({"user": [3, 2], "age": ["1", "2"]}).write_parquet(tmp_path / "new2.parquet")
    first, second = read_raw(config, [str(tmp_path / "new*")])
    assert first.rows.drop(ROW).collect().rows() == [("3", "30"), ("2", None)]
    assert second.rows.drop(ROW).collect().rows() == [(3, "1"), (2, "2")]


def test_rows_to_score_that_have_a_part_of_a_joins_columns_are_refused(tmp_path: Path) -> None:
    config = joined(tmp_path, {"user": [3, 1], "age": [30, 10], "zip": ["x", "y"]})
    pl.DataFrame({"user": [3, 2], "age": ["1", "2"]}).write_parquet(tmp_path / "new.parquet")
    with pytest.raises(SchemaError, match=r"new\.parquet has columns \['age'\] already"):
        read_raw(config, [str(tmp_path / "new.parquet")])


def test_text_to_score_is_read_as_integers_where_the_encoder_learnt_integers(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(ROWS).drop("label").write_csv(tmp_path / "new.csv")
    config = dataset(tmp_path / "a.parquet")
    (source,) = open_sources(config)
    encoder = Encoder.fit(config.features, [observe(config.features, source.rows)])
    (scored,) = read_raw(config, [str(tmp_path / "new.csv")], encoder=encoder)
    columns = ["user", "item", "price"]
    assert encoder.transform(scored.rows).collect().equals(encoder.transform(source.rows).collect())
    assert scored.rows.select(columns).collect().equals(source.rows.select(columns).collect())


def test_rows_are_numbered_through_row_groups_and_pieces_in_every_format(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": range(40_000)})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=17_001)
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ipc(tmp_path / "a.arrow")
    for name in ("a.parquet", "a.csv", "a.arrow"):
        (source,) = open_sources(dataset(tmp_path / name))
        rows = source.rows.with_columns(pl.col("user").cast(pl.Int64))
        assert rows.filter(pl.col(ROW) != pl.col("user")).collect().height == 0
        assert rows.select(pl.len()).collect().item() == 40_000
        assert rows.filter(pl.col("user") > 39_990).select(ROW).collect()[ROW].to_list() == list(range(39_991, 40_000))
        assert rows.head(20_000).collect()["user"].to_list() == list(range(20_000))
        assert rows.slice(16_380, 10).collect()[ROW].to_list() == list(range(16_380, 16_390))


def test_files_that_disagree_on_text_or_numbers_are_told(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"user": [None]}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"user": ["1"]}).write_parquet(tmp_path / "c.parquet")
    config = dataset(tmp_path / "*.parquet")
    with pytest.raises(SchemaError, match=r"c\.parquet: column user holds String, but .*a\.parquet holds Int64 there"):
        check_agreement(config, open_sources(config))


def test_a_date_with_the_day_or_the_month_first_is_refused_and_a_misspelt_type_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,price,label,seen\n1,2,3,0,2025-02-01 08:15:00\n1,2,3,1,02/01/2025 08:15:00\n")
    config = dataset(path, csv={"types": {"seen": "datetime"}})
    with pytest.raises(DataError, match=r"a\.csv row 1 .* holds '02/01/2025 08:15:00' as seen.* the year first"):
        rows(config)
    path.write_text("user,item,price,label,seen\n1,2,3,0,2025-02-01 08:15:00\n1,2,3,1,\n")
    assert rows(config)["seen"].dt.month().to_list() == [2, None]
    with pytest.raises(SchemaError, match=r"dataset\.csv\.types names 'sen', which it lacks; did you mean 'seen'"):
        rows(dataset(path, csv={"types": {"sen": "datetime"}}))
    path.write_text("user,item,price,label\n1,2,NA,0\n")
    (source,) = open_sources(dataset(path))
    said = r"'NA' as price, which is read as float; .*dataset\.csv\.null_values"
    with pytest.raises(DataError, match=said), source.reading():
        source.rows.collect()


def test_latin_1_is_read_where_it_is_declared(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("user,item,price,label\n1,café,1,1\n".encode("latin-1"))
    assert rows(dataset(tmp_path / "a.csv", csv={"encoding": "latin-1"}))["item"].to_list() == ["café"]
    (source,) = open_sources(dataset(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv cannot be read: invalid utf-8"), source.reading():
        source.rows.collect()
