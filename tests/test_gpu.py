"""Training on a GPU; run by `make test-gpu`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ctrgate import evaluate, export, train
from ctrgate.config import load
from ctrgate.errors import ConfigError
from ctrgate.training.runs import restore
from tests.training.conftest import run_file, task, write_run

__all__ = ["run_file", "task", "write_run"]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
STILL = {"name": "gdcn", "structure": "parallel", "mlp": {"hidden": [16], "batch_norm": True}}
TABLES = {
    "dense": {"dim": 6, "init_std": 0.05, "rule": {"name": "dense", "l2": 0.01}},
    "fused": {"dim": 6, "init_std": 0.05, "rule": {"name": "fused", "learning_rate": 0.05, "decay": 0.01}},
}


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("rule", TABLES)
def test_a_gpu_takes_the_steps_of_a_processor(write_run: Callable[..., Path], rule: str) -> None:
    runs = {
        device: write_run(
            under=device,
            tables=TABLES[rule],
            model=STILL,
            train={"batch_size": 100, "learning_rate": 0.01, "epochs": 2, "device": device},
        )
        for device in ("cpu", "cuda")
    }
    done = {device: train.run(load(path, train.Config)) for device, path in runs.items()}
    assert done["cuda"]["valid"]["auc"] == pytest.approx(done["cpu"]["valid"]["auc"], abs=1e-3)
    ours, theirs = (restore(load(path, train.Config).folder).model.state_dict() for path in runs.values())
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-3, rtol=1e-2, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("rule", TABLES)
@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_checkpoint_goes_on_at_the_other_place(write_run: Callable[..., Path], rule: str, first: str) -> None:
    second = {"cpu": "cuda", "cuda": "cpu"}[first]
    train_settings = {"batch_size": 100, "learning_rate": 0.01, "epochs": 2}
    whole, parts = (
        write_run(under=name, tables=TABLES[rule], model=STILL, train=train_settings) for name in ("whole", "parts")
    )
    done = train.run(load(whole, train.Config))
    train.run(load(parts, train.Config, ["train.epochs=1", f"train.device={first}"]))
    moved = train.run(load(parts, train.Config, [f"train.device={second}"]))
    assert moved["steps"] == done["steps"]
    assert moved["valid"]["auc"] == pytest.approx(done["valid"]["auc"], abs=1e-3)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"compile": True}, {"precision": "bf16", "compile": True}])
def test_a_gpu_s_run_is_evaluated_and_exported(
    write_run: Callable[..., Path], tmp_path: Path, settings: dict[str, object]
) -> None:
    path = write_run(
        "fused", train={"batch_size": 100, "learning_rate": 0.01, "epochs": 4, "device": "cuda", **settings}
    )
    assert train.run(load(path, train.Config))["valid"]["auc"] > 0.6
    assert evaluate.run(load(path, evaluate.Config))["test"]["auc"]["value"] > 0.55
    export.run(load(path, export.Config, [f"export.into={tmp_path / 'artifact'}"]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said(write_run: Callable[..., Path]) -> None:
    path = write_run()
    with pytest.raises(ConfigError, match=r"train\.device: cuda, but torch finds no GPU here .*; use cpu"):
        train.run(load(path, train.Config, ["train.device=cuda"]))
    with pytest.raises(ConfigError, match=r"train\.device: several workers train on processors"):
        train.run(load(path, train.Config, ["train.device=cuda", "train.workers=2"]))
