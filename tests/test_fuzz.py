"""Damaged and hostile artifacts and rows: each is told, or does no harm, and nothing is written outside the output."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ctrgate import export, prepare, score, train
from ctrgate.artifact.bundle import Artifact
from ctrgate.config import load
from ctrgate.errors import ArtifactError, CtrgateError, DataError
from ctrgate.files import checksum
from tests.conftest import raw_rows

COLUMNS = ["id", "user", "item", "price", "words"]


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and exported run over columns that every format can hold."""
    folder = tmp_path_factory.mktemp("plain")
    raw_rows(300, seed=4).select(*COLUMNS, "click").write_parquet(folder / "raw.parquet")
    values = {
        "name": "plain",
        "runs": str(folder / "runs"),
        "dataset": {
            "name": "plain",
            "files": str(folder / "raw.parquet"),
            "split": {"by": "order", "valid": 0.1, "test": 0.1},
            "labels": [{"name": "click"}],
            "roles": {"keys": ["id"]},
            "features": [
                {"kind": "categorical", "name": "user"},
                {"kind": "categorical", "name": "item"},
                {"kind": "numeric", "name": "price"},
                {"kind": "bag", "name": "words", "separator": "|"},
            ],
        },
        "prepare": {"into": str(folder / "prepared")},
        "tables": {"dim": 4, "init_std": 0.1, "rule": {"name": "dense"}},
        "model": {"name": "dnn", "mlp": {"hidden": [8]}},
        "train": {"epochs": 1},
        "tracking": {"enabled": False},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    for verb in (prepare, train, export):
        verb.run(load(path, verb.Config))
    return path


@pytest.fixture(scope="module")
def artifact(run_file: Path) -> Path:
    return run_file.parent / "runs" / "plain" / "artifact"


def spoilt(whole: bytes, *, seed: int) -> bytes:
    """Bytes flipped, cut off, zeroed, moved, or added."""
    draw, data = random.Random(seed), bytearray(whole)
    place, length = draw.randrange(len(data)), draw.randint(1, 64)
    match draw.choice(["flip", "cut", "zero", "repeat", "insert"]):
        case "flip":
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case "cut":
            del data[place:]
        case "zero":
            data[place : place + length] = bytes(len(data[place : place + length]))
        case "repeat":
            data[place:place] = data[place : place + length]
        case _:
            data[place:place] = draw.randbytes(length)
    return bytes(data)


def signed(folder: Path, part: str) -> None:
    """Let the manifest name a part's new hash, as a forger would."""
    values = json.loads((folder / "manifest.json").read_text())
    values["parts"][part] = {"num_bytes": (folder / part).stat().st_size, "sha256": checksum(folder / part)}
    (folder / "manifest.json").write_text(json.dumps(values))


def test_an_artifact_damaged_anywhere_and_signed_anew_is_refused_or_keeps_its_golden_rows(
    artifact: Path, tmp_path: Path
) -> None:
    parts = [*json.loads((artifact / "manifest.json").read_text())["parts"], "manifest.json"]
    outcomes: Counter[str] = Counter()
    for part in parts:
        for seed in range(12):
            copy = tmp_path / f"{part.replace('/', '-')}-{seed}"
            shutil.copytree(artifact, copy)
            os.chmod(copy / part, 0o644)
            os.chmod(copy / "manifest.json", 0o644)
            (copy / part).write_bytes(spoilt((artifact / part).read_bytes(), seed=seed))
            before = sorted(tmp_path.rglob("*"))
            if part != "manifest.json":
                signed(copy, part)
            try:
                Artifact.load(copy)
                outcomes["loaded"] += 1
            except CtrgateError:
                outcomes["refused"] += 1
            assert sorted(tmp_path.rglob("*")) == before
    assert outcomes["refused"] > 0.8 * outcomes.total()


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv"])
def test_damaged_rows_are_told_with_their_file_or_scored_and_never_written_elsewhere(
    run_file: Path, artifact: Path, tmp_path: Path, format: str
) -> None:
    rows, place = raw_rows(60, seed=9).select(COLUMNS), tmp_path / "in" / f"rows.{format}"
    place.parent.mkdir()
    write: dict[str, Callable[[Path], object]] = {
        "parquet": rows.write_parquet,
        "arrow": rows.write_ipc,
        "csv": rows.write_csv,
    }
    write[format](place)
    whole, outcomes = place.read_bytes(), Counter[str]()
    for seed in range(40):
        place.write_bytes(spoilt(whole, seed=seed))
        into = tmp_path / "out" / str(seed)
        order = [f"score.files=['{place}']", f"score.model={artifact}", f"score.into={into}"]
        told = error_of(run_file, order)
        outcomes["told" if told else "scored"] += 1
        assert str(place) in told or not told
        assert (into / "_SUCCESS").exists() == (not told)
        assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}
        assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert min(outcomes["told"], outcomes["scored"]) > 0


def error_of(run_file: Path, order: list[str]) -> str:
    """What a scoring job says of its input; nothing where it has scored it."""
    try:
        score.run(load(run_file, score.Config, order))
    except CtrgateError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name",
    [
        "..parquet",
        "-rf.parquet",
        "a b;$(touch x)`touch y`.parquet",
        "ä\n..\u2028\\..\\x.parquet",
        "n" * 247 + ".parquet",
    ],
)
def test_whatever_a_file_is_called_its_scores_lie_in_the_output(
    run_file: Path, artifact: Path, tmp_path: Path, name: str
) -> None:
    place, into = tmp_path / "in" / name, tmp_path / "out"
    place.parent.mkdir()
    raw_rows(30, seed=2).select(COLUMNS).write_parquet(place)
    order = [f"score.model={artifact}", f"score.into={into}", "score.files=" + json.dumps([str(place)])]
    score.run(load(run_file, score.Config, [*order, "dataset.format=parquet"]))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert pl.read_parquet(into / "part-*.parquet").height == 30
    assert all(path.parent == into for path in into.rglob("*"))


def test_hostile_values_are_told_or_scored_as_unknown(run_file: Path, artifact: Path, tmp_path: Path) -> None:
    """Numbers and texts at the ends of what their types hold; those that give no score are told with their row."""
    odd = ["", "\x00", "../../etc/passwd", "=cmd()", "x" * 100_000, "\U0001f4a5", "NaN", "null"]
    rows = pl.DataFrame(
        {
            "id": range(len(odd)),
            "user": [2**63 - 1, -(2**63), 0, -1, None, 7, 8, 9],
            "item": odd,
            "price": [1e30, -1e30, 5e-324, float("nan"), None, 0.0, -0.0, 1.0],
            "words": ["|" * 9, *odd[1:]],
        }
    )
    place, into = tmp_path / "odd.parquet", tmp_path / "out"
    rows.write_parquet(place)
    order = [f"score.files=['{place}']", f"score.model={artifact}", f"score.into={into}"]
    score.run(load(run_file, score.Config, order))
    scores = pl.read_parquet(into / "part-*.parquet")
    assert scores["score"].is_between(0, 1).all()
    order[-1] = f"score.into={tmp_path / 'other'}"
    rows.with_columns(price=pl.lit(float("inf"))).write_parquet(place)
    with pytest.raises(DataError, match=r"odd.parquet.*price"):
        score.run(load(run_file, score.Config, order))
    order[-1] = f"score.into={tmp_path / 'third'}"
    rows.with_columns(price=pl.when(pl.col("id") == 5).then(1e308).otherwise("price")).write_parquet(place)
    with pytest.raises(DataError, match=r"odd.parquet: row 5 \(counted from 0\) has a score that is no number"):
        score.run(load(run_file, score.Config, order))


def test_a_panic_of_polars_is_an_error_like_others(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panicking(*_: Any, **__: Any) -> pl.DataFrame:
        raise pl.exceptions.PanicException("offset + length <= self.length")

    monkeypatch.setattr(pl, "read_parquet", panicking)
    with pytest.raises(ArtifactError, match=r"vocabulary-000.parquet cannot be read as a vocabulary: offset"):
        Artifact.load(artifact)
