"""Training through a compiled network: the same steps, for full batches alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from ctrgate import train
from ctrgate.config import load
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError
from ctrgate.features.prepared import Prepared
from ctrgate.training.model import CtrModel, build_model
from tests.training.test_train import Stop, killed_after

SETTINGS = {"batch_size": 100, "learning_rate": 0.01, "epochs": 6, "checkpoint_every": 5, "compile": True}


def model(config: train.Config, prepared: Prepared) -> CtrModel:
    return build_model(config.model, layout=prepared.layout, tables=config.tables, seed=3)


def test_a_compiled_step_is_the_step_and_other_batches_are_left_alone(write_run: Callable[..., Path]) -> None:
    still = {"name": "final_mlp", "mlp1": {"hidden": [16], "batch_norm": True}, "mlp2": {"hidden": [8]}, "num_heads": 2}
    config = load(write_run(model=still, tables={"dim": 6, "init_std": 0.05}), train.Config)
    prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    batches = list(Reader(prepared.files("train"), layout=prepared.layout).batches(Order(batch_size=300)))
    assert [batch.num_rows for batch in batches] == [300, 300, 300, 300, 100]
    plain, compiled = model(config, prepared), model(config, prepared)
    compiled.compile_for(300)
    counters.clear()
    for batch in batches:
        for each in (plain, compiled):
            each(batch)[0].logits.mean().backward()
        for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(
                other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name} {m}"
            )
    assert torch.equal(compiled.eval()(batches[-1])[0].logits, compiled(batches[-1])[0].logits)
    assert counters["stats"]["unique_graphs"] == 1
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_compiled_run_learns_and_goes_on_bit_by_bit(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = (load(write_run(under=name, train=SETTINGS), train.Config) for name in ("whole", "killed"))
    done = train.run(whole)
    assert done["valid"]["auc"] > 0.6
    with monkeypatch.context() as patched:
        killed_after(patched, 17)
        with pytest.raises(Stop):
            train.run(killed)
    assert train.run(killed)["valid"] == done["valid"]


def test_what_cannot_be_compiled_is_refused(write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(train=SETTINGS)
    with pytest.raises(ConfigError, match=r"train\.compile: networks of several workers"):
        train.run(load(path, train.Config, ["train.workers=2"]))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="needs the C\\+\\+ compiler no-such-compiler; install it or leave it out"):
        train.run(load(path, train.Config))
