"""How held-out rows looked: counted as they are, in bins that tell what matters, and refused where it is damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.artifact.snapshot import Counter, IdBins, NumberBins, Snapshot, _number_bins
from ctrgate.errors import ArtifactError
from ctrgate.features.layout import Field, Layout
from ctrgate.files import checksum
from ctrgate.metrics.histogram import counts


@pytest.fixture(scope="module")
def seen(dense_run: Any) -> tuple[Artifact, pl.DataFrame]:
    """An artifact, and the encoded rows that its snapshot is of."""
    artifact = Artifact.load(dense_run.artifact)
    return artifact, artifact.encoder.transform(dense_run.rows[480:540].lazy()).collect()


def test_it_counts_the_held_out_rows(seen: tuple[Artifact, pl.DataFrame]) -> None:
    artifact, rows = seen
    snapshot = artifact.snapshot
    assert snapshot is not None
    assert (snapshot.split, snapshot.rows) == ("valid", 60)
    for name in ("user", "item", "hour", "age", "tags", "history/item"):
        column = snapshot.columns[name]
        ids = rows[name].explode().drop_nulls().to_list() if rows[name].dtype == pl.List else rows[name].to_list()
        own = [ids.count(row) for row in column.bins.ids]
        assert list(column.counts) == [*own, len(ids) - sum(own)], name
    for name, lengths in (("tags:length", rows["tags"].list.len()), ("history:length", rows["history/ago"].list.len())):
        column = snapshot.columns[name]
        below = [sum(length <= bound for length in lengths) for bound in column.bins.upto]
        assert np.cumsum(column.counts).tolist() == [*below, 60], name
    price = snapshot.columns["price"]
    assert np.cumsum(price.counts).tolist() == [*((rows["price"] <= bound).sum() for bound in price.bins.upto), 60]


def test_padding_unknown_and_missing_have_bins_of_their_own_and_then_the_most_frequent(
    seen: tuple[Artifact, pl.DataFrame],
) -> None:
    artifact, rows = seen
    assert artifact.snapshot is not None
    bins = artifact.snapshot.columns["user"].bins
    missing = artifact.encoder.transform(pl.LazyFrame({**_nulls(artifact)}), scoring=True).collect()["user"].item()
    assert missing > 1
    assert bins.ids[:3] == (0, 1, missing)
    often = [rows["user"].to_list().count(row) for row in bins.ids[3:]]
    assert often == sorted(often, reverse=True)


def _nulls(artifact: Artifact) -> dict[str, Any]:
    return {name: artifact.golden[name][:1] for name in artifact.golden.columns}  # the first golden row is all null


def test_what_scoring_replaces_by_a_constant_is_left_out(seen: tuple[Artifact, pl.DataFrame]) -> None:
    artifact, rows = seen
    assert artifact.snapshot is not None
    assert "position" in rows.columns
    assert "position" not in artifact.snapshot.columns


def test_the_logits_are_those_of_the_same_rows(seen: tuple[Artifact, pl.DataFrame]) -> None:
    artifact, rows = seen
    assert artifact.snapshot is not None
    logits = artifact.logits_of(to_batch(rows, layout=artifact.layout))
    assert list(artifact.snapshot.logits["click"]) == counts(logits[:, 0])


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200))
def test_bins_of_numbers_hold_a_tenth_or_one_value(values: list[float]) -> None:
    numbers = np.array(values, dtype=np.float32)
    bins = _number_bins(numbers)
    found = np.array(_counter(bins).column("price", numbers))
    assert list(bins.upto) == sorted(set(bins.upto))
    assert found.sum() == len(values)
    bounds = [-np.inf, *bins.upto, np.inf]
    for low, high, count in zip(bounds[:-1], bounds[1:], found, strict=True):
        inside = numbers[(numbers > low) & (numbers <= high)]
        assert count == len(inside)
        assert len(np.unique(inside)) <= 1 or count < 2 * len(values) / 10 + 1


def test_a_value_that_fills_a_bin_has_it_to_itself() -> None:
    numbers = np.array([3.0] * 50 + list(range(4, 54)), dtype=np.float32)
    bins = _number_bins(numbers)
    low, high = bins.upto[:2]
    assert high == 3.0 > low
    assert _counter(bins).column("price", np.array([2.9, 3.0, 3.0], dtype=np.float32))[:2] == [1, 2]


def _counter(bins: IdBins | NumberBins) -> Counter:
    layout = Layout(fields=(Field(name="price", kind="number"),), sequences=(), tables={}, roles={})
    return Counter({"price": bins}, layout=layout)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values.update(format_version=2), "has format 2, this version reads 1"),
        (lambda values: values["columns"]["user"]["bins"]["ids"].__setitem__(2, 999), "rows that user does not have"),
        (lambda values: values["columns"]["user"]["bins"]["ids"].__setitem__(2, -1), "rows that user does not have"),
        (lambda values: values["columns"].update(ghost=values["columns"]["user"]), "rows that ghost does not have"),
        (lambda values: values["columns"]["user"].update(counts=[1]), "damaged.*1 counts of"),
        (lambda values: values["columns"]["price"]["bins"]["upto"].reverse(), "damaged.*bounds must rise"),
        (lambda values: values.pop("logits"), "damaged"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(dense_run: Any, tmp_path: Path, change: Any, says: str) -> None:
    shutil.copytree(dense_run.artifact, tmp_path / "artifact")
    for path in (tmp_path / "artifact").rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    path, manifest = tmp_path / "artifact/snapshot.json", tmp_path / "artifact/manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    signed = json.loads(manifest.read_text())
    signed["parts"]["snapshot.json"] = {"num_bytes": path.stat().st_size, "sha256": checksum(path)}
    manifest.write_text(json.dumps(signed))
    with pytest.raises(ArtifactError, match=rf"(?s)snapshot\.json.*({says})"):
        Artifact.load(tmp_path / "artifact")


def test_what_is_written_is_read_again(seen: tuple[Artifact, pl.DataFrame], tmp_path: Path) -> None:
    artifact, _ = seen
    assert artifact.snapshot is not None
    artifact.snapshot.write(tmp_path)
    assert Snapshot.read(tmp_path, layout=artifact.layout) == artifact.snapshot
