"""Every network is in the union, and every run file names one of it."""

from __future__ import annotations

from pathlib import Path

import ctrgate.models
from ctrgate.config import load, settings
from ctrgate.features.dataset import DatasetConfig
from ctrgate.models.network import is_causal, task_of
from ctrgate.models.registry import ModelConfig
from tests.models.every_network import CONFIGS, variants

ROOT = Path(__file__).parents[2]


def test_every_file_of_models_is_in_the_union() -> None:
    known = {config.__module__.rsplit(".", 1)[-1] for config in CONFIGS}
    folder = Path(ctrgate.models.__file__).parent
    parts = {"__init__", "inputs", "plan", "tables", "network", "registry"}
    shared = {"blocks", "experts", "next_item", "histories"}
    assert {path.stem for path in folder.glob("*.py")} - parts - shared == known


def test_the_union_has_a_run_file_for_every_network_and_every_run_file_loads() -> None:
    @settings
    class Sections:
        name: str
        dataset: DatasetConfig
        model: ModelConfig

    files = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
    assert files
    used = {load(path, Sections).model.name for path in files}
    names = {config.__dataclass_fields__["name"].default for config in CONFIGS}
    assert used <= names
    assert names - used == set()


def test_settings_and_their_class_say_what_a_network_is_for() -> None:
    of_items = {"SASRecConfig": True, "GRU4RecConfig": True, "HGRNConfig": True, "Mamba4RecConfig": True}
    of_items["SIGMAConfig"] = False  # whose encoder looks ahead
    for config in CONFIGS:
        for either in (config, variants(config)[0]):
            assert task_of(either) == ("next_item" if config.__name__ in of_items else "click")
            assert is_causal(either) == of_items.get(config.__name__, False)
