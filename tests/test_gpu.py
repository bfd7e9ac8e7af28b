"""Training on a GPU; the same on a processor shows that the tests themselves hold. `make test-gpu` runs the rest."""

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
from tests.training.test_next_item import LOSSES, MODELS, RULES, steps
from tests.training.test_next_item import run_file as run_file_of_steps
from tests.training.test_train import Stop, killed_after

__all__ = ["run_file", "steps", "task", "write_run"]

NEEDED = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")]
STILL = {"name": "gdcn", "parallel_mlp": {"hidden": [16], "batch_norm": True}}
STEPS = {"batch_size": 100, "learning_rate": 0.01, "checkpoint_every": 5}
TABLES = {
    "dense": {"dim": 6, "init_std": 0.05, "rule": {"name": "dense", "l2": 0.01}},
    "fused": {"dim": 6, "init_std": 0.05, "rule": {"name": "fused", "learning_rate": 0.05, "decay": 0.01}},
}


@pytest.mark.parametrize("rule", TABLES)
@pytest.mark.parametrize(
    ("device", "compiled"),
    [("cpu", False), pytest.param("cuda", False, marks=NEEDED), pytest.param("cuda", True, marks=NEEDED)],
)
def test_the_steps_are_those_of_a_processor(
    write_run: Callable[..., Path], rule: str, device: str, compiled: bool
) -> None:
    hows = ({"device": "cpu"}, {"device": device, "compile": compiled})
    runs = [
        write_run(under=f"on-{place}", tables=TABLES[rule], model=STILL, train={**STEPS, "epochs": 2, **how})
        for place, how in enumerate(hows)
    ]
    one, other = (train.run(load(path, train.Config)) for path in runs)
    assert other["valid"]["auc"] == pytest.approx(one["valid"]["auc"], abs=1e-3)
    ours, theirs = (restore(load(path, train.Config).folder).model.state_dict() for path in runs)
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-3, rtol=1e-2, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("rule", TABLES)
@pytest.mark.parametrize(
    ("first", "second"),
    [("cpu", "cpu"), pytest.param("cpu", "cuda", marks=NEEDED), pytest.param("cuda", "cpu", marks=NEEDED)],
)
def test_a_checkpoint_goes_on_at_another_place(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, rule: str, first: str, second: str
) -> None:
    whole, parts = (
        write_run(under=name, tables=TABLES[rule], model=STILL, train={**STEPS, "epochs": 2})
        for name in ("whole", "parts")
    )
    done = train.run(load(whole, train.Config))
    with monkeypatch.context() as patched:
        killed_after(patched, 17)
        with pytest.raises(Stop):
            train.run(load(parts, train.Config, [f"train.device={first}"]))
    moved = train.run(load(parts, train.Config, [f"train.device={second}"]))
    assert moved["steps"] == done["steps"]
    assert moved["valid"]["auc"] == pytest.approx(done["valid"]["auc"], abs=1e-3)


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("cpu", {"precision": "bf16"}),
        pytest.param("cuda", {"precision": "bf16"}, marks=NEEDED),
        pytest.param("cuda", {"compile": True}, marks=NEEDED),
        pytest.param("cuda", {"compile": True, "precision": "bf16"}, marks=NEEDED),
    ],
)
def test_a_run_is_evaluated_and_exported(
    write_run: Callable[..., Path], tmp_path: Path, device: str, settings: dict[str, object]
) -> None:
    how = {**STEPS, "epochs": 8, "strikes": 8, "device": device, **settings}
    path = write_run(tables=TABLES["fused"], model=STILL, train=how)
    assert train.run(load(path, train.Config))["valid"]["auc"] > 0.7
    assert evaluate.run(load(path, evaluate.Config))["test"]["auc"]["value"] > 0.65
    export.run(load(path, export.Config, [f"export.into={tmp_path / 'artifact'}"]))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDED)])
@pytest.mark.parametrize(
    ("model", "positions", "loss", "rule"),
    [
        ("sasrec", "all", "softmax", "dense"),
        ("sasrec", "all", "gbce", "fused"),
        ("mamba4rec", "last", "sampled_softmax", "fused"),
        ("sigma", "last", "softmax", "dense"),
    ],
)
def test_next_items_are_learned(
    steps: Path, tmp_path: Path, model: str, positions: str, loss: str, rule: str, device: str
) -> None:
    """Where the rule that the rows follow is found, HR@1 is near 1; by chance it is a tenth."""
    sections = {
        "tables": {"dim": 8, "init_std": 0.3, "rule": RULES[rule]},
        "model": MODELS[model],
        "objective": {"name": "next_item", "cutoffs": [1, 3], "positions": positions, "loss": LOSSES[loss]},
    }
    path = run_file_of_steps(steps, tmp_path / "run.yaml", sections)
    trained = train.run(load(path, train.Config, [f"train.device={device}"]))
    assert trained["valid"]["hit_rate"] > 0.6
    assert evaluate.run(load(path, evaluate.Config))["test"]["ranking"]["hit_rate@1"]["value"] > 0.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said(write_run: Callable[..., Path]) -> None:
    path = write_run()
    with pytest.raises(ConfigError, match=r"train\.device: cuda, but torch finds no GPU here .*; use cpu"):
        train.run(load(path, train.Config, ["train.device=cuda"]))
    with pytest.raises(ConfigError, match=r"train\.device: several workers train on processors"):
        train.run(load(path, train.Config, ["train.device=cuda", "train.workers=2"]))
