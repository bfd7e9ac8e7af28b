"""Two training processes against one: the same steps, each other's checkpoints, every table by the run's rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ctrgate import evaluate, export, prepare, train
from ctrgate.config import load
from ctrgate.training.saved_tables import SavedTables
from tests.cluster.processes import train_together
from tests.training.conftest import RULES

CLICK = {
    "name": "din",
    "attention_hidden": [8],
    "mlp": {"hidden": [12], "batch_norm": False},
}
NEXT = {
    "model": {"name": "sasrec", "dropout": 0.0, "num_layers": 1, "max_length": 5},
    "objective": {"name": "next_item"},
}
KINDS: Mapping[str, dict[str, Any]] = {
    "fused": {"tables": {"rule": RULES["fused"]}},
    "dense": {"tables": {"rule": RULES["dense"]}},
    "columns": {"tables": {"rule": RULES["fused"]}, "cluster": {"sharding": ["column_wise"]}},
    "softmax": {"tables": {"rule": {"name": "dense"}}, **NEXT},
}


def rows(number: int, *, seed: int) -> pl.DataFrame:
    """Clicks with weights, a history of up to five items, and two labels, one of them often missing."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, 30, number), random.integers(0, 20, number)
    history = [[int(i) for i in random.integers(0, 20, random.integers(0, 6))] for _ in range(number)]
    click = random.random(number) < 1 / (1 + np.exp(-3 * np.sin(user * 1.7) * np.cos(item * 2.3)))
    bought = [None if random.random() < 0.4 else int(random.random() < 0.3) for _ in range(number)]
    shop = [None if random.random() < 0.3 else int(random.integers(0, 4)) for _ in range(number)]
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "shop": shop,
            "price": random.normal(size=number),
            "history": history,
            "weight": random.uniform(0.2, 3, number),
            "click": click.astype(int),
            "bought": bought,
        },
        schema_overrides={"history": pl.List(pl.Int64), "bought": pl.Int64, "shop": pl.Int64},
    )


def write(folder: Path, name: str) -> Path:
    """A run file; neither dropout nor batch norm, so that workers have nothing to draw apart."""
    files = {split: str(folder / f"{split}.parquet") for split in ("train", "valid", "test")}
    sections = KINDS[name]
    values = {
        "name": name,
        "seed": 5,
        "runs": str(folder / "runs"),
        "dataset": {
            "name": "together",
            "splits": files,
            "labels": [{"name": "click"}, {"name": "bought", "allow_missing": True}],
            "roles": {"group": "user", "weight": "weight"},
            "features": [
                {"kind": "categorical", "name": "user"},
                {"kind": "categorical", "name": "item"},
                {"kind": "categorical", "name": "shop", "missing": "zero"},  # looks up row 0, which is put back
                {"kind": "numeric", "name": "price"},
                {
                    "kind": "sequence",
                    "name": "history",
                    "max_length": 5,
                    "members": [{"kind": "categorical", "name": "item", "column": "history", "share": "item"}],
                },
            ],
        },
        "prepare": {"into": str(folder / "prepared")},
        "model": CLICK,
        "train": {"batch_size": 101, "learning_rate": 0.01, "epochs": 2, "strikes": 9, "learning_rate_factor": 1.0},
        "tracking": {"enabled": False},
        **sections,
    }
    values["tables"] = {"dim": 8, "init_std": 0.05, **sections["tables"]}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def state(path: Path, run: str) -> dict[str, torch.Tensor]:
    """Everything of a run's last checkpoint, tables put together."""
    folder = load(path, train.Config, [f"name={run}"]).folder.checkpoints.find("last")
    assert folder is not None
    saved = SavedTables(folder)
    tables = {key: saved.read(key) for key in saved.keys}
    rest = (load_file(folder / f"{part}.safetensors") for part in ("network", "optimizer"))
    return {name: value for part in (tables, *rest) for name, value in part.items()}


def metrics(path: Path, run: str) -> list[dict[str, float]]:
    lines = load(path, train.Config, [f"name={run}"]).folder.metrics()
    return [{key: value for key, value in line.items() if key != "rows_per_second"} for line in lines]


def go_on(path: Path, run: str) -> None:
    """Give a run of one epoch, which has ended, another one."""
    folder = load(path, train.Config, [f"name={run}"]).folder
    written = yaml.safe_load(folder.config.read_text())
    written["train"]["epochs"] = 2
    folder.config.write_text(yaml.safe_dump(written))
    last = folder.checkpoints.find("last")
    assert last is not None
    (last / "progress.json").write_text(
        (last / "progress.json").read_text().replace('"finished": true', '"finished": false')
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one and of two processes; the others went on after an epoch, with as many or another number."""
    folder = tmp_path_factory.mktemp("together")
    for seed, (split, number) in enumerate({"train": 1012, "valid": 203, "test": 101}.items()):
        rows(number, seed=seed).write_parquet(folder / f"{split}.parquet")
    paths = {name: write(folder, name) for name in KINDS}
    prepare.run(load(paths["fused"], prepare.Config))
    half = "train.epochs=1"
    for name, path in paths.items():
        train.run(load(path, train.Config, [f"name={name}-one"]))
    train.run(load(paths["fused"], train.Config, ["name=one-then-two", half]))
    begun = [(paths["fused"], [f"name={run}", half]) for run in ("two-then-one", "two-then-two")]
    train_together([(path, [f"name={name}-two"]) for name, path in paths.items()] + begun, count=2)
    for run in ("two-then-one", "two-then-two", "one-then-two"):
        go_on(paths["fused"], run)
    train.run(load(paths["fused"], train.Config, ["name=two-then-one"]))
    train_together([(paths["fused"], [f"name={run}"]) for run in ("two-then-two", "one-then-two")], count=2)
    return folder


@pytest.mark.parametrize("name", ["fused", "dense", "softmax"])
def test_two_processes_take_the_steps_of_one(folder: Path, name: str) -> None:
    path = folder / f"{name}.yaml"
    one, two = state(path, f"{name}-one"), state(path, f"{name}-two")
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=1e-5, rtol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
    for ours, theirs in zip(metrics(path, f"{name}-two"), metrics(path, f"{name}-one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_each_block_of_cut_columns_moves_by_row_wise_adagrad_of_its_own(folder: Path) -> None:
    """Each block has a sum of mean squares of its own; their mean is the whole row's while the gradients are alike."""
    path = folder / "columns.yaml"
    whole, cut = state(path, "columns-one"), state(path, "columns-two")
    last = load(path, train.Config, ["name=columns-two"]).folder.checkpoints.find("last")
    saved = SavedTables(last)
    for table in ("user", "item"):
        left, right = (saved.read(f"{table}|sum", rows=slice(0, 22), columns=slice(at, at + 4)) for at in (0, 4))
        assert not torch.allclose(left, right)
        torch.testing.assert_close(cut[f"{table}|sum"][:22], (left + right) / 2)
        torch.testing.assert_close(cut[f"{table}|sum"], whole[f"{table}|sum"], rtol=0.2, atol=1e-4)
        assert (cut[f"{table}|rows"] - whole[f"{table}|rows"]).abs().mean() < 0.05


@pytest.mark.parametrize("run", ["two-then-one", "two-then-two", "one-then-two"])
def test_a_run_goes_on_with_any_number_of_processes(folder: Path, run: str) -> None:
    path = folder / "fused.yaml"
    undisturbed, found = state(path, "fused-one"), state(path, run)
    for key in undisturbed:
        torch.testing.assert_close(found[key], undisturbed[key], atol=1e-5, rtol=1e-4)


def test_what_two_processes_trained_is_evaluated_and_exported_as_ever(folder: Path) -> None:
    path = folder / "fused.yaml"
    scores = []
    for run in ("fused-one", "fused-two"):
        evaluate.run(load(path, evaluate.Config, [f"name={run}"]))
        evaluated = load(path, train.Config, [f"name={run}"]).folder.path / "evaluation" / "test.parquet"
        scores.append(pl.read_parquet(evaluated))
    assert scores[0].height == 101
    logits = [part.select(pl.selectors.starts_with("logit")).to_numpy() for part in scores]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    export.run(load(path, export.Config, ["name=fused-two"]))


def test_tables_lie_apart_in_the_checkpoint_of_two(folder: Path) -> None:
    last = load(folder / "fused.yaml", train.Config, ["name=fused-two"]).folder.checkpoints.find("last")
    held = [set(load_file(last / f"tables-{rank}.safetensors")) for rank in (0, 1)]
    assert held[0]
    assert held[1]
    assert not held[0] & held[1]
