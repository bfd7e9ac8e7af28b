"""The search for values: its schedule, its way back, kills within it, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from ctrgate import prepare, train
from ctrgate.config import load
from ctrgate.errors import ConfigError
from ctrgate.progress import console
from ctrgate.training import loop
from ctrgate.training.runs import restore
from ctrgate.training.selection import ContinuationConfig, HardConcreteConfig, StraightThroughConfig

SEARCH = {"name": "continuation", "penalty": 0.02, "epochs": 3, "rewind_epoch": 1, "learning_rate": 0.05}
TRAIN = {"batch_size": 100, "learning_rate": 0.01, "epochs": 3, "checkpoint_every": 5}


def trained(path: Path, *overrides: str) -> dict[str, object]:
    return train.run(load(path, train.Config, overrides))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tables, their optimizer's state under the fused rule, and the network of a checkpoint."""
    tables = {name: rows for name, rows in load_file(folder / "tables-0.safetensors").items() if "table." not in name}
    return tables | load_file(folder / "network.safetensors")


def test_the_temperature_ends_at_its_last_value() -> None:
    search = ContinuationConfig(epochs=5, final_temperature=81.0)
    assert [search.temperature(epoch) for epoch in range(5)] == pytest.approx([1, 3, 9, 27, 81])
    assert {StraightThroughConfig().temperature(3), HardConcreteConfig().temperature(3)} == {1.0}


def test_a_search_of_one_epoch_or_a_way_back_behind_its_end_is_refused(write_run: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"select.*epochs"):
        load(write_run(select={**SEARCH, "epochs": 1}), train.Config)
    with pytest.raises(ConfigError, match="rewind_epoch 4 lies behind"):
        load(write_run(select={**SEARCH, "rewind_epoch": 4}), train.Config)


@pytest.mark.parametrize("rule", ["dense", "fused"])
@pytest.mark.parametrize("rewind_epoch", [0, 1, 3])
def test_the_way_back_restores_every_weight_and_keeps_the_gates(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, rule: str, rewind_epoch: int
) -> None:
    path = write_run(rule, train=TRAIN, select={**SEARCH, "rewind_epoch": rewind_epoch})
    begin, seen = loop.Fit._begin_epoch, []

    def begin_epoch(fit: loop.Fit) -> None:
        before = {name: logits.clone() for name, logits in fit.model.gates.state_dict().items() if "logits" in name}
        begin(fit)
        seen.append(fit.progress.rewound)
        at = {spec.name: rows[:, : spec.dim].clone() for spec, rows in fit.model.lookups.tables()}
        at |= {f"{of.spec.name}|{n}": s.clone() for of in fit.model.lookups.shards() for n, s in of.state.items()}
        at |= {name: value.clone() for name, value in fit.model.network.state_dict().items()}
        if fit.progress.epoch == rewind_epoch and not fit.progress.rewound:
            fit.start = at
        if fit.progress.epoch == SEARCH["epochs"]:
            assert fit.progress.rewound
            start = at if rewind_epoch == SEARCH["epochs"] else fit.start
            assert all(torch.equal(at[name], start[name]) for name in start)
            assert not any(fit.optimizer._adam.state.values())
            after = fit.model.gates.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)

    monkeypatch.setattr(loop.Fit, "_begin_epoch", begin_epoch)
    trained(path)
    assert seen == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("steps", "name"), [(13, "continuation"), (30, "hard_concrete"), (39, "continuation"), (60, "hard_concrete")]
)
def test_a_kill_anywhere_ends_bit_for_bit_as_an_undisturbed_run(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, steps: int, name: str
) -> None:
    whole, killed = (write_run(under=under, train=TRAIN, select={**SEARCH, "name": name}) for under in ("a", "b"))
    trained(whole)
    step, done = loop.Fit.step, []

    def dying(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return step(fit, batch, asked=asked)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Fit, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            trained(killed)
    trained(killed)
    folders = [load(path, train.Config).folder for path in (whole, killed)]
    for which in ("last", "best"):
        one, other = (weights(folder.checkpoints.find(which)) for folder in folders)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert json.loads((folders[0].path / "selection.json").read_text()) == json.loads(
        (folders[1].path / "selection.json").read_text()
    )


def test_the_best_state_is_one_after_the_search(write_run: Callable[..., Path]) -> None:
    path = write_run(train=TRAIN, select=SEARCH)
    summary = trained(path)
    folder = load(path, train.Config).folder
    assert summary["best_step"] > 3 * 13
    assert restore(folder).model.gates.closed
    assert {place.name for place in folder.checkpoints.folder.iterdir()} <= {
        "last",
        "best",
        *(folder.checkpoints.find(which).name for which in ("last", "best")),
    }


def test_a_search_that_has_not_ended_says_that_it_has_no_best_state(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, step = write_run(train=TRAIN, select=SEARCH), loop.Fit.step

    def dying(fit: loop.Fit, batch: object, *, asked: bool) -> object:
        if fit.progress.step == 30:
            raise KeyboardInterrupt
        return step(fit, batch, asked=asked)

    monkeypatch.setattr(loop.Fit, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(path)
    folder = load(path, train.Config).folder
    with pytest.raises(ConfigError, match=r"\(select\) has none before it ends: .* end epoch 4 first"):
        restore(folder)
    assert not restore(folder, which="last").model.gates.closed


def test_dropped_values_look_up_zeros_and_their_rows_stay_as_they_were(write_run: Callable[..., Path]) -> None:
    path = write_run(train=TRAIN, select={**SEARCH, "penalty": 1.0, "epochs": 2})
    trained(path)
    restored = restore(load(path, train.Config).folder)
    gates = restored.model.gates.by_table()
    dropped = (~gates["user"].kept()).nonzero().flatten()
    assert len(dropped) > 20
    (user,) = (spec_rows for spec, spec_rows in restored.model.lookups.tables() if spec.name == "user")
    assert user[dropped].any()  # the row itself is not touched by selection
    assert not (gates["user"](dropped)).any()


@pytest.fixture
def planted(tmp_path: Path) -> Callable[..., Path]:
    """A run file over rows of which ``noise`` says nothing and ``signal`` decides the click."""
    generator = torch.Generator().manual_seed(0)
    number = 12_000
    signal = torch.randint(0, 8, (number,), generator=generator)
    noise = torch.randint(0, 40, (number,), generator=generator)
    click = torch.rand(number, generator=generator) < torch.where(signal % 2 == 0, 0.9, 0.1)
    rows = pl.DataFrame({"signal": signal.numpy(), "noise": noise.numpy(), "click": click.int().numpy()})
    for split, part in {"train": rows[:10_000], "valid": rows[10_000:]}.items():
        part.write_parquet(tmp_path / f"{split}.parquet")

    def write(select: dict[str, object], rule: dict[str, object]) -> Path:
        values = {
            "name": f"{select['name']}_{rule['name']}",
            "runs": str(tmp_path / "runs"),
            "dataset": {
                "name": "planted",
                "splits": {split: str(tmp_path / f"{split}.parquet") for split in ("train", "valid")},
                "labels": [{"name": "click"}],
                "features": [{"kind": "categorical", "name": name} for name in ("signal", "noise")],
            },
            "prepare": {"into": str(tmp_path / "prepared")},
            "tables": {"dim": 4, "init_std": 0.1, "rule": rule},
            "model": {"name": "fm"},
            "train": {"batch_size": 200, "learning_rate": 0.01, "epochs": 3},
            "select": select,
            "tracking": {"enabled": False},
        }
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps(values))
        prepare.run(load(path, prepare.Config))
        return path

    return write


@pytest.mark.parametrize("rule", [{"name": "dense"}, {"name": "fused", "learning_rate": 0.02}], ids=["dense", "fused"])
@pytest.mark.parametrize(
    ("name", "penalty"), [("continuation", 3e-3), ("straight_through", 3e-3), ("hard_concrete", 0.02)]
)
def test_noise_is_dropped_and_signal_stays(
    planted: Callable[..., Path], name: str, penalty: float, rule: dict[str, object]
) -> None:
    path = planted({"name": name, "penalty": penalty, "epochs": 6, "learning_rate": 0.02}, rule)
    summary = trained(path)
    found = json.loads((Path(summary["run"]) / "selection.json").read_text())
    kept = {line["table"]: line["kept"] / line["values"] for line in found["tables"]}
    assert kept["signal"] == 1.0
    assert kept["noise"] < 0.1
    assert summary["valid"]["auc"] > 0.88
    assert summary["feature_ratio"] == pytest.approx(found["feature_ratio"])


@pytest.mark.parametrize(
    ("penalty", "rate", "hint"),
    [(1e-9, 1e-4, "nothing was dropped: raise select.penalty"), (9.0, 0.5, "nearly nothing stays: lower")],
)
def test_a_search_that_decides_nothing_says_what_to_change(
    write_run: Callable[..., Path], penalty: float, rate: float, hint: str
) -> None:
    with console.capture() as shown:
        trained(write_run(train=TRAIN, select={**SEARCH, "penalty": penalty, "learning_rate": rate}))
    assert hint in shown.get()
