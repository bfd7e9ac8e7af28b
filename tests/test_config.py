"""Run files: every fault at once, with its path and a suggestion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Discriminator

from ctrgate.compare import Config as Compare
from ctrgate.config import Place, dump, load, settings, to_yaml
from ctrgate.errors import ConfigError


@settings
class Train:
    """A section for these tests."""

    batch_size: int = 32
    lr: float = 0.001
    into: Place = "runs"
    layers: tuple[int, ...] = ()
    momentum: float = 0.0
    """How much of the last step is kept."""


@settings
class Config:
    """Two sections for these tests."""

    train: Train = dataclasses.field(default_factory=Train)
    seed: int = 0


@settings
class Dense:
    """One rule for these tests; a setting is called as the other rule is."""

    name: Literal["dense"] = "dense"
    rate: float = 0.1
    fused: int = 0


@settings
class Fused:
    """Another rule for these tests."""

    name: Literal["fused"] = "fused"
    rate: float = 0.1
    start: Literal["zero", "one"] | int = 0


Rule = Annotated[Dense | Fused, Discriminator("name")]


@settings
class Tables:
    """A section with unions for these tests."""

    rule: Rule = dataclasses.field(default_factory=Dense)
    second: Rule | None = None
    each: tuple[Rule, ...] = ()
    by: Mapping[str, Rule] = dataclasses.field(default_factory=dict)


@settings
class WithUnions:
    """A run of these tests that has unions."""

    tables: Tables = dataclasses.field(default_factory=Tables)


def written(folder: Path, text: str, *, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def faults(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(path, Config, overrides)
    return str(error.value)


def test_a_run_file_gives_typed_frozen_sections(tmp_path: Path) -> None:
    config = load(written(tmp_path, "train: {lr: 1e-3, layers: [4, 2]}\nseed: 7\n"), Config)
    assert config.train == Train(lr=0.001, layers=(4, 2))
    assert config.seed == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 8  # type: ignore[misc]


def test_all_faults_are_told_at_once_with_their_paths(tmp_path: Path) -> None:
    said = faults(written(tmp_path, "train: {bath_size: 4, lr: fast}\nseed: x\ntrane: {}\n"))
    assert "run.yaml is not a valid run:" in said
    assert "train.bath_size: no such setting; did you mean batch_size?" in said
    assert "train.lr: " in said
    assert "'fast'" in said
    assert "seed: " in said
    assert "trane: no such section; did you mean train?" in said


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("rule: {name: fused, rate: x}", "tables.rule.rate: input should be a valid number"),
        ("rule: {name: dense, rat: 1}", "tables.rule.rat: no such setting; did you mean rate?"),
        ("second: {name: fused, rat: 1}", "tables.second.rat: no such setting; did you mean rate?"),
        ("rule: {name: dense, dense: 1}", "tables.rule.dense: no such setting"),
        ("rule: {name: dense, fused: x}", "tables.rule.fused: input should be a valid integer"),
        ("each: [{name: dense}, {name: fused, rate: x}]", "tables.each.1.rate: input should be a valid number"),
        ("by: {dense: {name: dense, rate: x}}", "tables.by.dense.rate: input should be a valid number"),
        ("by: {dense: {name: dens}}", "tables.by.dense: 'dens' is none of 'dense', 'fused'; did you mean dense?"),
        ("rule: {name: FUSED}", "tables.rule: 'FUSED' is none of 'dense', 'fused'; did you mean fused?"),
        ("rule: {rate: 0.5}", "tables.rule.name: is required; it is one of dense, fused"),
        ("each: {name: dense}", "tables.each: must be a list, as in [a, b], got {'name': 'dense'}"),
        ("by: [1]", "tables.by: must be a section of names and values, got [1]"),
        ("rule: {name: fused, start: [x]}", "tables.rule.start: input should be 'zero' or 'one'"),
    ],
)
def test_a_fault_is_told_where_the_run_file_has_it_whatever_it_is_called(
    tmp_path: Path, tables: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, f"tables: {{{tables}}}\n"), WithUnions)
    assert f"  {said}" in str(error.value)


def test_a_section_that_is_missing_is_told_with_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, "seed: 1\n"), Compare)
    assert "  compare: is required; give compare.against" in str(error.value)


def test_a_known_section_that_the_verb_does_not_read_is_left_alone(tmp_path: Path) -> None:
    assert load(written(tmp_path, "model: {anything: 1}\nseed: 3\n"), Config).seed == 3


def test_overrides_change_values_and_are_typed_like_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {batch_size: 4}\n")
    config = load(path, Config, ["train.batch_size=8", "train.layers=[3,2]", "seed=5", "train.lr=2e-2"])
    assert config == Config(train=Train(batch_size=8, layers=(3, 2), lr=0.02), seed=5)


def test_a_bad_override_is_a_fault_like_any_other(tmp_path: Path) -> None:
    said = faults(written(tmp_path, "seed: 1\n"), "train.batchsize=8", "trian.lr=1", "seed.x=1", "seed")
    assert "train.batchsize: no such setting; did you mean batch_size?" in said
    assert "trian: no such section; did you mean train?" in said
    assert "seed.x: seed is a value, not a section" in said
    assert "seed: an override is written section.key=value" in said
    said = faults(written(tmp_path, "train: {layers: [1]}\n"), "train.layers.0=2")
    assert "train.layers.0: train.layers is a list; give it whole, or change the file" in said


@pytest.mark.parametrize(
    "text", ["tables: {second: null}\n", "tables: null\n", "tables: {}\n", "seed: 1\n", "tables: tables.yaml\n"]
)
def test_an_override_fills_a_section_that_is_null_or_is_not_there(tmp_path: Path, text: str) -> None:
    written(tmp_path, "second: null\n", name="tables.yaml")
    found = load(written(tmp_path, text), WithUnions, ["tables.second.name=fused", "tables.second.rate=0.5"])
    assert found.tables.second == Fused(rate=0.5)


def test_only_a_section_is_read_from_a_file_by_an_override(tmp_path: Path) -> None:
    written(tmp_path, "a: 1\n", name="a.yaml")
    said = faults(written(tmp_path, "train: {into: a.yaml}\n"), "train.into.x=1")
    assert "train.into.x: train.into is a value, not a section" in said


def test_a_section_may_lie_in_a_file_of_its_own_and_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    written(tmp_path, "batch_size: 16\nlr: 0.5\n", name="parts/train.yaml")
    path = written(tmp_path, "train: parts/train.yaml\n")
    assert load(path, Config, ["train.lr=0.25"]).train == Train(batch_size=16, lr=0.25)


def test_a_place_takes_the_environment_and_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "train: {into: '${CTRGATE_TEST_PLACE:-here}/a'}\n")
    monkeypatch.delenv("CTRGATE_TEST_PLACE", raising=False)
    assert load(path, Config).train.into == "here/a"
    monkeypatch.setenv("CTRGATE_TEST_PLACE", "there")
    assert load(path, Config).train.into == "there/a"
    monkeypatch.delenv("CTRGATE_TEST_PLACE")
    path = written(tmp_path, "train: {into: '${CTRGATE_TEST_PLACE}/a'}\n")
    assert "train.into: the environment variable CTRGATE_TEST_PLACE is not set" in faults(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", "'seed' is given twice"),
        ("seed: [\n", "is not valid YAML"),
        ("- 1\n", "must be a mapping of sections"),
        ("", "must be a mapping of sections"),
        ("train: {lr: .nan}\n", "train.lr"),
        ("train: {lr: no}\n", "train.lr"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, text: str, said: str) -> None:
    assert said in faults(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "none.yaml cannot be read: No such file" in faults(tmp_path / "none.yaml")


def test_what_is_dumped_loads_to_the_same(tmp_path: Path) -> None:
    config = Config(train=Train(batch_size=8, layers=(3, 2), lr=1e-7), seed=5)
    assert load(written(tmp_path, to_yaml(dump(config))), Config) == config


def test_settings_keep_their_meaning_in_classes_built_on_them() -> None:
    @settings
    class Longer(Train):
        """With one more."""

        epochs: int = 1
        """How often."""

    assert Longer.__pydantic_fields__["momentum"].description == "How much of the last step is kept."  # type: ignore[attr-defined]
    assert Longer.__pydantic_fields__["epochs"].description == "How often."  # type: ignore[attr-defined]
