"""The dataset section: what it accepts, and what it says of what it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ctrgate.config import load, settings
from ctrgate.errors import ConfigError
from ctrgate.features.dataset import ByTime, DatasetConfig

FEATURES = "features: [{kind: categorical, name: user}]"
LOG = "features: [{{kind: sequence, name: h, max_length: 2, members: [{{kind: categorical, name: i}}], log: {}}}]"
SPLIT = "files: a.parquet, split: {by: order}"


@settings
class Config:
    """One section."""

    dataset: DatasetConfig


def read(folder: Path, text: str) -> DatasetConfig:
    path = folder / "run.yaml"
    path.write_text(f"dataset: {{name: d, {text}}}\n")
    return load(path, Config).dataset


def test_one_path_or_a_list_of_paths_names_the_files(tmp_path: Path) -> None:
    assert read(tmp_path, f"{SPLIT}, {FEATURES}").files == ("a.parquet",)
    assert read(tmp_path, f"files: [a, b], split: {{by: order}}, {FEATURES}").files == ("a", "b")


def test_a_label_and_a_role_have_sensible_defaults(tmp_path: Path) -> None:
    dataset = read(
        tmp_path, f"{SPLIT}, {FEATURES}, labels: [{{name: click}}, {{name: like, column: rating, at_least: 4}}]"
    )
    assert [label.source for label in dataset.labels] == ["click", "rating"]
    assert dataset.roles.group == ""
    assert dataset.same_second == "unseen"
    assert dataset.negative_sampling_rate == 1.0


def test_moments_are_dates_or_seconds(tmp_path: Path) -> None:
    split = "split: {by: time, valid_from: 2024-01-01, test_from: 1704153600}"
    rule = read(tmp_path, f"files: a, {split}, roles: {{timestamp: t}}, {FEATURES}").split
    assert isinstance(rule, ByTime)
    assert str(rule.valid_from) == "2024-01-01 00:00:00"
    assert rule.test_from == 1_704_153_600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{FEATURES}", "give either files (with split) or splits"),
        (f"files: a, splits: {{train: b}}, {FEATURES}", "give either files (with split) or splits"),
        (f"files: a, {FEATURES}", "split tells how files are parted"),
        (f"splits: {{train: b}}, split: {{by: user}}, {FEATURES}", "split tells how files are parted"),
        (f"files: a, split: {{by: tiem}}, {FEATURES}", "did you mean time?"),
        (f"files: a, split: {{by: time, valid: 0.1}}, {FEATURES}", "split by time needs roles.timestamp"),
        (f"files: a, split: {{by: time}}, roles: {{timestamp: t}}, {FEATURES}", "give valid_from and test_from, or"),
        (
            f"files: a, split: {{by: time, valid: 0.1, test_from: 3}}, roles: {{timestamp: t}}, {FEATURES}",
            "give valid_from and test_from, or",
        ),
        (f"files: a, split: {{by: user}}, {FEATURES}", "split by user needs roles.group"),
        (f"files: a, split: {{by: leave_one_out}}, {FEATURES}", "split by leave_one_out needs roles.group"),
        (f"files: a, split: {{by: leave_one_out, valid: false, test: false}}, {FEATURES}", "nothing is left out"),
        (f"{SPLIT}, train_rows: last, {FEATURES}", "train_rows: last needs roles.group"),
        (f"{SPLIT}, {LOG.format('{}')}", "h is built from the log, which needs roles.group"),
        (f"{SPLIT}, roles: {{group: u}}, {LOG.format('{column: c}')}", "a rule is a column and at_least or equals"),
        (f"{SPLIT}, roles: {{group: u}}, {LOG.format('{equals: 1}')}", "a rule is a column and at_least or equals"),
        (f"{SPLIT}, roles: {{group: u}}, {LOG.format('{column: c, equals: 1, at_least: 1}')}", "two rules; give one"),
        (f"{SPLIT}, roles: {{group: u}}, {LOG.format('{}, separator: x')}", "with log the members hold one value"),
        (
            f"{SPLIT}, features: [{{kind: categorical, name: u, when_scoring: 1, unknown_when_scoring: true}}]",
            "are two rules for rows that are scored; give one",
        ),
        (
            f"{SPLIT}, roles: {{group: u}}, labels: [{{name: y}}], train_rows: last, negative_sampling_rate: 0.5, "
            f"{FEATURES}",
            "negative_sampling_rate must be left out",
        ),
        (f"files: a, split: {{by: ratio, valid: 0.5, test: 0.5}}, {FEATURES}", "leave none to train on"),
        (f"{SPLIT}, labels: [{{name: y, at_least: 1, equals: 2}}], {FEATURES}", "two rules; give one"),
        (f"{SPLIT}, labels: [{{name: y}}, {{name: y}}], {FEATURES}", "label y is given 2 times"),
        (f"{SPLIT}, negative_sampling_rate: 0.5, {FEATURES}", "needs a label that tells the negatives"),
        (f"{SPLIT}, negative_sampling_rate: 0.0, {FEATURES}", "dataset.negative_sampling_rate"),
        (f"{SPLIT}, csv: {{header: false}}, {FEATURES}", "give columns where header is false, and only there"),
        (f"{SPLIT}, csv: {{columns: [a]}}, {FEATURES}", "give columns where header is false, and only there"),
        (f"{SPLIT}, joins: [{{files: u.csv}}], {FEATURES}", "dataset.joins.0.on: is required"),
        (f"{SPLIT}, roles: {{user: u}}, {FEATURES}", "dataset.roles.user: no such setting"),
        (f"{SPLIT}", "dataset.features: is required"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert said in str(error.value)


def test_a_random_split_of_timestamped_rows_is_refused_unless_asked_for(tmp_path: Path) -> None:
    roles = f"roles: {{timestamp: t}}, {FEATURES}"
    with pytest.raises(ConfigError, match="see the future of test"):
        read(tmp_path, f"files: a, split: {{by: ratio}}, {roles}")
    assert read(tmp_path, f"files: a, split: {{by: ratio, allow_random: true}}, {roles}").split is not None
    assert read(tmp_path, f"files: a, split: {{by: ratio}}, {FEATURES}").split is not None


def test_settings_are_frozen(tmp_path: Path) -> None:
    dataset: Any = read(tmp_path, f"{SPLIT}, {FEATURES}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
