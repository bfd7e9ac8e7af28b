"""A run that goes on from an earlier one's weights, over a vocabulary that has grown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ctrgate import evaluate, export, prepare, train
from ctrgate.config import load
from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.encoder import Encoder
from tests.training.conftest import rows


def state(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a run's last checkpoint."""
    folder = load(path, train.Config).folder.checkpoints.find("last")
    assert folder is not None
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.fixture
def days(write_run: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two trained days: the second has users that the first has not seen, and starts warm."""

    def of(
        rule: str, *, dim: int = 6, previous: bool = True, unknown: float = 0.02, **warm: object
    ) -> tuple[Path, Path]:
        first = write_run(rule, under="first")
        values = yaml.safe_load(first.read_text())
        values["tables"]["unknown_share"] = unknown
        first.write_text(yaml.safe_dump(values))
        train.run(load(first, train.Config))
        for seed, (split, number) in enumerate({"train": 700, "valid": 200, "test": 200}.items()):
            rows(number, seed=10 + seed, num_users=45).write_parquet(tmp_path / f"{split}.parquet")
        values["name"] = "second"
        values["dataset"]["splits"] = {name: str(tmp_path / f"{name}.parquet") for name in ("train", "valid", "test")}
        values["prepare"] = {"into": str(tmp_path / "prepared")}
        if previous:
            values["prepare"]["previous"] = yaml.safe_load(first.read_text())["prepare"]["into"]
        values["tables"]["dim"] = dim
        values["train"]["warm_start"] = {"run": str(load(first, train.Config).folder.path), "which": "last", **warm}
        second = first.with_name("second.yaml")
        second.write_text(yaml.safe_dump(values))
        prepare.run(load(second, prepare.Config))
        return first, second

    return of


def start_of(second: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The state in which a run begins: saved before its first step, and the run is then stopped."""

    class Stop(Exception):  # noqa: N818
        pass

    def run(fit: train.Fit, _: object) -> object:
        fit.checkpoints.save(fit.model, fit.optimizer, fit.progress, best=False)
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(train.Fit, "run", run)
        with pytest.raises(Stop):
            train.run(load(second, train.Config))
    return state(second)


@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_known_rows_go_on_and_new_ones_start_as_the_trained_unknown_row(
    days: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    first, second = days(rule)
    before, start = state(first), start_of(second, monkeypatch)
    known, grown = before["user|rows"], start["user|rows"]
    assert (len(known), len(grown)) == (32, 47)
    assert torch.equal(grown[:32], known)
    assert known[1].any()
    assert torch.equal(grown[32:], known[1:2].expand(15, -1))
    gathered = "user|sum" if rule == "fused" else "table.user|exp_avg_sq"
    assert before[gathered].any()
    assert torch.equal(start[gathered][:32], before[gathered])
    assert not start[gathered][32:].any()
    for name, value in before.items():
        if name.startswith("network.") or name in ("item|rows",):
            assert torch.equal(start[name], value), name


def test_ids_of_the_first_day_keep_their_values_in_the_second(days: Callable[..., tuple[Path, Path]]) -> None:
    first, second = days("dense")
    tables = [
        Encoder.load(load(path, train.Config).prepare.folder(load(path, train.Config).dataset) / "encoder")
        for path in (first, second)
    ]
    old, new = (encoder.tables["user"].decode(pl.Series(range(47))) for encoder in tables)
    assert new[:32].equals(old[:32], null_equal=True)
    assert new[2:].n_unique() == 45
    assert tables[1].fits == 2


@pytest.mark.parametrize(
    ("warm", "factor"), [({"optimizer": "decay", "decay": 0.25}, 0.25), ({"optimizer": "drop"}, 0.0)]
)
def test_what_was_gathered_is_shrunk_or_forgotten(
    days: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, warm: dict[str, object], factor: float
) -> None:
    first, second = days("fused", **warm)
    before, start = state(first), start_of(second, monkeypatch)
    torch.testing.assert_close(start["user|sum"][:32], before["user|sum"] * factor)
    moments = [name for name in before if name.startswith("network.") and name.endswith("|exp_avg_sq")]
    assert moments
    for name in moments:  # Adam forgets by itself, so its moments are kept as they are, or dropped
        assert torch.equal(start[name], before[name]) if factor else name not in start


def test_new_rows_keep_their_own_start_where_the_unknown_row_was_never_trained(
    days: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = days("fused", unknown=0.0)
    start, unknown = start_of(second, monkeypatch)["user|rows"], state(first)["user|rows"][1]
    assert not (start[32:] == unknown).all(dim=1).any()
    assert start[32:].unique(dim=0).size(0) == 15


def test_a_warm_run_trains_resumes_without_the_earlier_run_and_is_evaluated(
    days: Callable[..., tuple[Path, Path]],
) -> None:
    first, second = days("fused")
    found = train.run(load(second, train.Config))
    cold = train.run(load(second, train.Config, ["name=cold", "train.warm_start=null"]))
    assert found["valid"]["log_loss"] < cold["valid"]["log_loss"]
    evaluate.run(load(second, evaluate.Config))
    folder = load(first, train.Config).folder.path
    folder.rename(folder.with_name("gone"))
    assert train.run(load(second, train.Config)) == found


def test_weights_that_have_learnt_other_scalings_are_refused(days: Callable[..., tuple[Path, Path]]) -> None:
    _, second = days("fused", previous=False)
    message = (
        r"did not grow from .*the encoders differ in their scalings of numbers.*Prepare with prepare.previous set to"
    )
    with pytest.raises(ConfigError, match=message):
        train.run(load(second, train.Config))
    assert not load(second, train.Config).folder.path.exists()


@pytest.mark.parametrize("rule", ["dense", "fused"])
def test_after_a_compaction_rows_are_found_by_their_values(
    days: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rule: str
) -> None:
    """An artifact without retired and dropped values is grown from: ids move, and what was learnt moves along."""
    first, second = days(rule)
    old = encoder_of(first)
    table = old.tables["user"]
    retired = table.entries.with_columns(retired=pl.col("id") == 5)
    smaller, _ = replace(old, tables={**old.tables, "user": replace(table, entries=retired)}).compact(
        dropped={"user": [9, 10]}
    )
    artifact = tmp_path / "artifact"
    smaller.save(artifact / "encoder")
    for file in ("manifest.json", "network.json"):
        (artifact / file).write_text("{}")
    prepare.run(load(second, prepare.Config, [f"prepare.previous={artifact}"]))
    new = encoder_of(second)
    before, start = state(first), start_of(second, monkeypatch)
    values = table.decode(pl.Series(range(len(before["user|rows"])))).to_list()
    names = new.tables["user"].decode(pl.Series(range(len(start["user|rows"])))).to_list()
    assert len(set(names[2:])) == 43  # 45 users, two of which were dropped
    assert not {values[9], values[10]} & set(names)
    gathered = "user|sum" if rule == "fused" else "table.user|exp_avg_sq"
    known = 0
    for row, value in enumerate(names[2:], start=2):
        if value in values[2:]:
            known += row != values.index(value)
            assert torch.equal(start["user|rows"][row], before["user|rows"][values.index(value)]), value
            assert torch.equal(start[gathered][row], before[gathered][values.index(value)])
        else:
            assert torch.equal(start["user|rows"][row], before["user|rows"][1])
            assert not start[gathered][row].any()
    assert known > 20  # rows that have moved
    assert torch.equal(start["item|rows"], before["item|rows"])
    train.run(load(second, train.Config))


def test_a_run_that_has_dropped_values_is_gone_on_from_by_its_artifact(
    days: Callable[..., tuple[Path, Path]], write_run: Callable[..., Path]
) -> None:
    _, second = days("dense")
    gated = write_run(
        "dense", under="gated", select={"name": "continuation", "epochs": 2, "penalty": 0.001, "learning_rate": 0.05}
    )
    train.run(load(gated, train.Config))
    export.run(load(gated, export.Config))
    home = load(gated, train.Config).folder.path
    dropped = [f"{name}={len(kept)}" for name, kept in dropped_of(home / "artifact").items() if len(kept)]
    assert dropped
    warm = [f"train.warm_start.run={home}", "name=third"]
    with pytest.raises(ConfigError, match=rf"has dropped values, .*prepare.previous set to {home}/artifact"):
        train.run(load(second, train.Config, warm))
    prepare.run(load(second, prepare.Config, [f"prepare.previous={home}/artifact"]))
    third = train.run(load(second, train.Config, warm))
    assert third["epochs"] == 4
    assert dropped_of(load(second, prepare.Config).prepare.into).keys() == dropped_of(home / "artifact").keys()
    for name, values in dropped_of(home / "artifact").items():
        assert values <= dropped_of(load(second, prepare.Config).prepare.into)[name]


def encoder_of(path: Path) -> Encoder:
    config = load(path, train.Config)
    return Encoder.load(config.prepare.folder(config.dataset) / "encoder")


def dropped_of(folder: str | Path) -> dict[str, set[str | None]]:
    """The values of each table that read padding."""
    tables = Encoder.load(Path(folder) / "encoder").tables
    return {name: set(table.entries.filter(pl.col("id") == 0)["value"]) for name, table in tables.items()}


def test_other_widths_other_rules_and_missing_runs_are_refused(days: Callable[..., tuple[Path, Path]]) -> None:
    _, second = days("fused", dim=8)
    with pytest.raises(ArtifactError, match=r"should be at most \(47, 8\), holds \(32, 6\)"):
        train.run(load(second, train.Config))
    for settings, message in {
        ("tables.dim=6", "tables.rule={name: dense}"): "has tables.rule.name: fused, this run dense",
        ("train.warm_start.run=nowhere",): "nowhere holds no run",
        ("train.warm_start.which=best", "train.restart=true", "train.warm_start.run=runs/none"): "holds no run",
    }.items():
        with pytest.raises(ConfigError, match=message):
            train.run(load(second, train.Config, [*settings, "name=other"]))


def test_a_folder_is_prepared_anew_when_it_is_to_grow_from_another_and_never_from_itself(
    days: Callable[..., tuple[Path, Path]],
) -> None:
    _, second = days("fused")
    assert prepare.run(load(second, prepare.Config))["up_to_date"]
    alone = prepare.run(load(second, prepare.Config, ["prepare.previous=''"]))
    assert not alone["up_to_date"]
    into = load(second, prepare.Config).prepare.into
    with pytest.raises(ConfigError, match=r"prepare.previous: .* is the folder to be written"):
        prepare.run(load(second, prepare.Config, [f"prepare.previous={into}"]))
