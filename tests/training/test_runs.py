"""The folder of a run: begun as a whole, whatever stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrgate import train
from ctrgate.config import load
from ctrgate.errors import ConfigError
from ctrgate.training import runs


def test_a_run_that_is_killed_as_it_begins_can_begin_again(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(write_run("dense"), train.Config)

    class Killed(BaseException):
        pass

    def kill(*_: Any) -> Any:
        raise Killed

    for written in ("write_json", "atomic_file"):
        with monkeypatch.context() as patched:
            patched.setattr(runs, written, kill)
            with pytest.raises(Killed):
                train.run(config)
    train.run(config)
    found = json.loads((config.folder.path / "environment.json").read_text())
    assert {"ctrgate", "torch", "polars"} <= set(found["versions"])
    assert found["threads"] == 1
    assert found["polars_threads"] >= 1
    assert "warm_start" not in found


def test_workers_that_go_on_with_a_run_cut_its_tables_as_it_began(write_run: Callable[..., Path]) -> None:
    """Row-wise Adagrad over cut columns is another rule; one process cuts nothing, whatever it is allowed."""
    path, cut = write_run("fused", train={"batch_size": 100, "epochs": 1}), "cluster.sharding=[column_wise]"
    for overrides in ([], [cut], ["train.workers=2"]):
        train.run(load(path, train.Config, overrides))
    with pytest.raises(ConfigError, match=r"other settings \(cluster\.sharding\)"):
        train.run(load(path, train.Config, [cut, "train.workers=2"]))
