"""A registered model as MLflow loads it: frames of raw rows in, exactly the scores of the command out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from ctrgate import export, prepare, score, train
from ctrgate.artifact.bundle import Artifact
from ctrgate.config import load
from ctrgate.errors import DataError, SchemaError
from ctrgate.registry import Registry
from ctrgate.scoring.pyfunc import PyfuncModel
from ctrgate.tracking import TrackingConfig


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingConfig]:
    """One store for all tests here, which MLflow itself asks, too."""
    place = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{place}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield TrackingConfig(uri=uri, artifacts=str(place / "artifacts"))


@pytest.fixture(scope="module")
def served(store: TrackingConfig) -> Callable[[str, Path], Any]:
    """Register an artifact as the champion of a model and let MLflow load it by its alias."""

    def load_champion(name: str, artifact: Path) -> Any:
        registry = Registry(store, model=name)
        version = registry.register(run=artifact.parent, artifact=artifact)
        registry.copy(version, artifact=artifact)
        registry.point("champion", version.version)
        return mlflow.pyfunc.load_model(f"models:/{name}@champion")

    return load_champion


def by_command(run: Any, artifact: Path, into: Path, *overrides: str) -> pl.DataFrame:
    """What the command says of all raw rows."""
    raw = run.yaml.with_name("raw.parquet")
    run("score", f"score.files={raw}", f"score.model={artifact}", f"score.into={into}", *overrides)
    return pl.concat([pl.read_parquet(path) for path in sorted(into.glob("part-*.parquet"))])


@pytest.mark.parametrize("kind", ["final_mlp", "two_labels", "calibrated", "din"])
def test_a_frame_is_scored_exactly_as_the_command_scores_its_file(
    trained_run: Any, served: Any, kind: str, tmp_path: Path
) -> None:
    run = trained_run("fused" if kind == "two_labels" else "dense")
    artifact = tmp_path / "run" / "artifact"
    told = [f"export.into={artifact}"]
    if kind == "calibrated":
        told += ["export.calibrate.method=isotonic"]
    if kind == "din":
        told += [f"runs={tmp_path / 'runs'}", "name=din"]
        run("train", *told[1:], "model={name: din, mlp: {hidden: [8]}, attention_hidden: [4]}")
    run("export", *told)
    expected = by_command(run, artifact, tmp_path / "scores")
    labels = ["score:click", "score:buy"] if kind == "two_labels" else ["score"]
    labels += ["calibrated"] if kind == "calibrated" else []

    frame = run.rows.to_pandas().set_index("id", drop=False)
    assert frame["user"].dtype == "float64"  # as pandas has integers of which some are missing
    model = served(kind, artifact)
    found = model.predict(frame)
    assert list(found.columns) == labels == model.metadata.signature.outputs.input_names()
    assert found.index.equals(frame.index)
    backwards = model.predict(frame.iloc[::-1]).iloc[::-1]
    for label in labels:
        assert expected[label].n_unique() > (2 if label == "calibrated" else 100)
        np.testing.assert_array_equal(found[label].to_numpy(), expected[label].to_numpy())
        # in another order, products round a row as its place in the batch has it, on some processors
        np.testing.assert_allclose(backwards[label].to_numpy(), expected[label].to_numpy(), rtol=1e-5)
    assert len(model.predict(frame[:0])) == 0


def test_mlflow_knows_columns_example_and_packages_and_no_code(dense_run: Any, served: Any) -> None:
    model = served("known", dense_run.artifact)
    inputs = model.metadata.signature.inputs.input_dict()
    assert set(inputs) < set(dense_run.rows.columns)
    assert "position" not in inputs  # scoring has a constant for it
    assert {name for name, spec in inputs.items() if str(spec.type) == "Array(Any)"} == {
        "tags",
        "liked",
        "liked_weights",
        "image",
        "seen",
        "ago",
    }
    assert model.metadata.metadata["ctrgate.columns"]["hour"] == "Int64"
    assert model.metadata.metadata["ctrgate.columns"]["seen"] == "List(String)"
    assert model.loader_module == "ctrgate.scoring.pyfunc"
    folder = Path(mlflow.artifacts.download_artifacts("models:/known@champion"))
    assert sorted(path.name for path in folder.rglob("*.py")) == []
    assert not [path for path in folder.rglob("*") if "pkl" in path.name or "pickle" in path.name]
    wanted = {line for line in (folder / "requirements.txt").read_text().split() if not line.startswith("mlflow==")}
    listed = (Path(__file__).parents[2] / "serving" / "requirements.txt").read_text().splitlines()
    assert wanted == {line for line in listed if line and not line.startswith("#")}
    example = model.input_example
    made_up = pl.read_parquet(folder / "artifact" / "golden" / "rows.parquet")
    users = {None if pd.isna(user) else int(user) for user in example["user"]}
    assert users <= set(made_up["user"])
    assert model.predict(example)["score"].between(0, 1).all()


def test_a_frame_that_does_not_fit_is_refused_in_our_words(dense_run: Any, served: Any) -> None:
    model = served("refusing", dense_run.artifact)
    frame = dense_run.rows.to_pandas()
    with pytest.raises(SchemaError, match=r"the frame lacks columns \['hour', 'price'\]"):
        model.predict(frame.drop(columns=["price", "hour"]))
    with pytest.raises(SchemaError, match=r"row 2 .*'user' needs an integer or string .* holds the float 1\.5"):
        model.predict(frame.assign(user=[1.0, None, 1.5] + [0.0] * (len(frame) - 3)))
    with pytest.raises(SchemaError, match="user is text in the table to encode, but was integers"):
        model.predict(frame.assign(user="7"))
    with pytest.raises(SchemaError, match="price needs a number"):
        model.predict(frame.assign(price="cheap"))
    with pytest.raises(SchemaError, match="'item' is neither numbers, text nor lists"):
        model.predict(frame.assign(item=[1, "a"] * (len(frame) // 2)))
    with pytest.raises(DataError, match=r"the frame, row 1 .*'seen' and 'ago' differ in length"):
        model.predict(frame.assign(ago=[frame["ago"][0], [0.5] * 9, *frame["ago"][2:]]))
    with pytest.raises(SchemaError, match=r"2\*\*53|9007199254740992"):
        model.predict(frame.assign(user=float(2**53)))


def test_a_row_without_a_score_has_its_number_in_the_frame(dense_run: Any) -> None:
    model = PyfuncModel(Artifact.load(dense_run.artifact))
    many = pl.concat([dense_run.rows] * 30)  # more than go through the network together
    is_odd = pl.int_range(pl.len()) == 17_003
    odd = many.with_columns(image=pl.when(is_odd).then(pl.lit([3e38, -3e38, 3e38])).otherwise("image"))
    with pytest.raises(DataError, match=r"row 17003 \(counted from 0\) has a score that is no number"):
        model.predict(odd.to_pandas())


def test_flags_are_numbers_in_frames_as_in_files(dense_run: Any, tmp_path: Path) -> None:
    rows = dense_run.rows.with_columns(red=pl.col("red") * 0.5)
    rows.write_parquet(tmp_path / "rows.parquet")
    dense_run("score", f"score.files={tmp_path}/rows.parquet", f"score.into={tmp_path}/scores")
    expected = pl.read_parquet(tmp_path / "scores/*.parquet")["score"].to_numpy()
    found = PyfuncModel(Artifact.load(dense_run.artifact)).predict(rows.to_pandas())
    np.testing.assert_array_equal(found["score"], expected)


def test_missing_values_in_any_form_are_missing(dense_run: Any, served: Any) -> None:
    model = served("missing", dense_run.artifact)
    frame = dense_run.rows[:40].to_pandas()
    expected = model.predict(frame)
    columns = list(model.metadata.get_input_schema().input_names())
    objects = pd.DataFrame(
        {name: pd.Series(dense_run.rows[name][:40].to_list(), dtype=object, index=frame.index) for name in columns}
    )
    pd.testing.assert_frame_equal(model.predict(objects), expected)
    pd.testing.assert_frame_equal(model.predict(frame.astype({"user": "Int64", "item": "category"})), expected)
    empty = frame.assign(item=None, user=np.nan, hour=None, words=np.nan, price=None)
    one = pd.concat([model.predict(empty.iloc[[row]]) for row in range(5)])
    np.testing.assert_allclose(one, model.predict(empty)[:5], rtol=1e-6)


def test_a_model_that_ranks_gives_the_commands_items(served: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    items = [f"item {number}" for number in range(12)]
    rows = pl.DataFrame(
        {
            "user": range(90),
            "item": random.choice(items, size=90).tolist(),
            "past": [random.choice(items, size=row % 6).tolist() for row in range(90)],
        },
        schema_overrides={"past": pl.List(pl.String)},
    )
    rows.write_parquet(tmp_path / "raw.parquet")
    item = {"kind": "categorical", "name": "item"}
    past = {
        "kind": "sequence",
        "name": "history",
        "max_length": 4,
        "members": [item | {"column": "past", "share": "item"}],
    }
    settings = {
        "name": "items",
        "runs": str(tmp_path / "runs"),
        "dataset": {
            "name": "steps",
            "files": str(tmp_path / "raw.parquet"),
            "split": {"by": "order", "valid": 0.2, "test": 0.0},
            "roles": {"group": "user", "keys": ["user"]},
            "features": [item | {"unknown_when_scoring": True}, past],
        },
        "prepare": {"into": str(tmp_path / "prepared")},
        "tables": {"dim": 4, "init_std": 0.1, "rule": {"name": "dense"}},
        "model": {"name": "sasrec", "num_layers": 1, "max_length": 4},
        "objective": {"name": "next_item"},
        "train": {"batch_size": 32, "epochs": 1},
        "score": {"files": str(tmp_path / "raw.parquet"), "into": str(tmp_path / "scores"), "top_k": 3},
        "tracking": {"enabled": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    for verb in (prepare, train, export, score):
        verb.run(load(tmp_path / "run.yaml", verb.Config))
    (part,) = (tmp_path / "scores").glob("part-*.parquet")
    expected = pl.read_parquet(part)
    model = served("ranking", tmp_path / "runs" / "items" / "artifact")
    found = pl.from_pandas(model.predict(rows.select("past").to_pandas(), params={"top_k": 3}))
    assert found.columns == ["row", "rank", "item", "score"] == model.metadata.signature.outputs.input_names()
    assert found.rename({"row": "user"}).equals(expected.select("user", "rank", "item", "score"))
    assert model.predict(rows.select("past").to_pandas())["rank"].max() == 10


def test_a_promoted_model_needs_no_run_folder(trained_run: Any, served: Any, tmp_path: Path) -> None:
    run = trained_run("dense")
    shutil.copytree(run.artifact, tmp_path / "gone" / "artifact")
    first = served("alone", tmp_path / "gone" / "artifact").predict(run.rows[:9].to_pandas())
    shutil.rmtree(tmp_path / "gone")
    again = mlflow.pyfunc.load_model("models:/alone@champion").predict(run.rows[:9].to_pandas())
    pd.testing.assert_frame_equal(first, again)


def test_the_example_goes_through_mlflows_json_as_a_server_reads_it(dense_run: Any, served: Any) -> None:
    model = served("by_json", dense_run.artifact)
    folder = Path(mlflow.artifacts.download_artifacts("models:/by_json@champion"))
    text = (folder / "serving_input_example.json").read_text()
    assert "NaN" not in text
    read = infer_and_parse_data(json.loads(text), schema=model.metadata.get_input_schema())
    made_up = pl.read_parquet(folder / "artifact" / "golden" / "rows.parquet")
    order = sorted(range(made_up.height), key=lambda row: sum(value is None for value in made_up.row(row)))[:3]
    whole = model.predict(pd.DataFrame({name: made_up[order][name].to_list() for name in made_up.columns}))
    pd.testing.assert_frame_equal(model.predict(read), whole)
