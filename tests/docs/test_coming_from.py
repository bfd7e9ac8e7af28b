"""The page for those who come from elsewhere: keys that it names exist, and the translated run trains."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ctrgate import prepare, train
from ctrgate.config import load
from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.registry import Feature
from ctrgate.features.prepared import Prepared

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```yaml (\S+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
PARTS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
FUXICTR = next(part for part in PARTS if part.startswith("FuxiCTR"))


def settings_below(config: object) -> typing.Iterator[str]:
    """Dotted names of all settings of a section, those of all its forms together."""
    for part in typing.get_args(config):
        yield from settings_below(part)
    if dataclasses.is_dataclass(config) and str(getattr(config, "__module__", "")).startswith("ctrgate."):
        for name, hint in typing.get_type_hints(config, include_extras=True).items():
            yield name
            yield from (f"{name}.{below}" for below in settings_below(hint))


KNOWN = {*settings_below(train.Config), *settings_below(prepare.Config)}


def rows_of_tables() -> list[list[str]]:
    """Cells of every line of every table on the page."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| FuxiCTR")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_settings_that_the_page_names_exist() -> None:
    sections = {name.split(".")[0] for name in KNOWN}
    named = {name for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)`", PAGE) if name.split(".")[0] in sections}
    assert len(named) > 40
    assert named - KNOWN == set()


def test_kinds_of_features_that_the_page_names_exist() -> None:
    kinds = {kind.kind for kind in typing.get_args(typing.get_args(Feature)[0])}
    named = {kind for _, here, *_ in rows_of_tables() for kind in re.findall(r"`kind: (\w+)`", here)}
    assert named == kinds


def test_every_key_of_the_configuration_that_is_translated_has_its_line() -> None:
    told = set(re.findall(r"`(\w+)", FUXICTR))
    (data,), (model,) = (
        yaml.safe_load(BLOCKS[f"fuxictr_{part}_config.yaml"]).values() for part in ("dataset", "model")
    )
    columns = {key for column in data["feature_cols"] for key in column} | set(data["label_col"])
    assert {*data, *model, *(columns - {"name"})} - told == set()


def table_of_ads(num_rows: int, *, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)

    def some(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    return pl.DataFrame(
        {
            "user": some([f"u{value}" for value in random.integers(30, size=num_rows)]),
            "item": some([f"i{value}" for value in random.integers(20, size=num_rows)]),
            "device": random.choice(["phone", "desktop"], size=num_rows),
            "price": some(random.lognormal(size=num_rows).tolist()),
            "clicked_before": [
                "^".join(f"i{value}" for value in random.integers(25, size=random.integers(4))) for _ in range(num_rows)
            ],
            "click": random.integers(2, size=num_rows).astype(float),
        }
    )


def test_the_translation_trains_and_is_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ads").mkdir()
    for number, name in enumerate(("train", "valid", "test")):
        table_of_ads(400 if name == "train" else 100, seed=number).write_csv(f"ads/{name}.csv")
    rare = pl.DataFrame(
        {"user": "u0", "item": "once", "device": "phone", "price": 1.0, "clicked_before": "once", "click": 1.0}
    )
    pl.concat([pl.read_csv("ads/train.csv"), rare]).write_csv("ads/train.csv")
    name = "ads_final_mlp.yaml"
    Path(name).write_text(BLOCKS[name])
    prepare.run(load(name, prepare.Config))
    config = load(name, train.Config, ["train.epochs=1", "tracking.enabled=false"])
    result = train.run(config)

    encoder = Encoder.load(Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset).encoder_folder)
    rows = {table: known.num_rows for table, known in encoder.tables.items()}
    trained = pl.read_csv("ads/train.csv")
    assert rows["user"] == trained["user"].drop_nulls().n_unique() + 2, "a missing value has no row of its own"
    assert rows["device"] == 4
    ids = encoder.transform(trained.tail(1).lazy()).collect()
    assert ids["item"].item() >= 2, "seen once in each of two columns that share the table"

    (written,) = yaml.safe_load(BLOCKS["fuxictr_model_config.yaml"]).values()
    assert result["parameters"] == parameters(written, rows=rows, width=written["embedding_dim"])
    assert config.seed == written["seed"]
    assert config.train.strikes == written["early_stop_patience"]
    assert config.tables.rule.l2 == written["embedding_regularizer"]


def parameters(written: dict[str, Any], *, rows: dict[str, int], width: int) -> int:
    """What FuxiCTR's network has: tables, a vector for the price, gates, streams, fusion."""
    flat = 5 * width  # user, item, device, price, clicked_before
    count: int = sum(rows.values()) * width + width
    (hidden,) = written["fs_hidden_units"]
    for context in (written["fs1_context"], written["fs2_context"]):
        count += sum(rows[name] for name in context) * width
        count += (len(context) * width + 1) * hidden + (hidden + 1) * flat
    last: list[int] = []
    for stream in ("mlp1", "mlp2"):
        below = flat
        for units in written[f"{stream}_hidden_units"]:
            count += (below + 1) * units + (2 * units if written[f"{stream}_batch_norm"] else 0)
            below = units
        last.append(below)
    bilinear: int = last[0] * last[1] // written["num_heads"]
    return count + last[0] + 1 + last[1] + 1 + bilinear
