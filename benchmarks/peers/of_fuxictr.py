"""FuxiCTR's side, by its public classes.

The FinalMLP of its package takes histories and leaves its gates out. With ``forward`` as below, which puts the same
parts together as the paper does, it is the network that ctrgate trains. Its own trainer, loader and metrics run it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from fuxictr.features import FeatureMap
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from model_zoo.LongCTR.FinalMLP import FinalMLP

from benchmarks.peers.side import frappe_rows, tell, train_rows, valid_rows
from benchmarks.speed.size import BATCH, CATEGORIES, DIM, GATE_HIDDEN, HEADS, HIDDEN, NUMBERS, TURN_ROWS
from benchmarks.speed.turns import Turn

NAME = "fuxictr"
METRICS = ["AUC", "logloss"]
FRAPPE = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")


class PlainRows(FinalMLP):  # type: ignore[misc]  # its package has no types
    """FinalMLP on rows without histories."""

    get_inputs, get_labels, train_step = BaseModel.get_inputs, BaseModel.get_labels, BaseModel.train_step

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        rows = self.get_inputs(inputs)
        flat = self.embedding_layer(rows, flatten_emb=True)
        first, second = self.fs_module(rows, flat)
        return {"y_pred": self.output_activation(self.fusion_module(self.mlp1(first), self.mlp2(second)))}


def _columns(*, numbers: tuple[str, ...], categories: tuple[str, ...], kind: str) -> dict[str, Any]:
    """What ``FeatureProcessor`` is to make of which column."""
    number = {"dtype": "float", "type": "numeric", "normalizer": "StandardScaler", "active": True}
    category = {"dtype": kind, "type": "categorical", "active": True}
    features = [{"name": name, **number} for name in numbers] + [{"name": name, **category} for name in categories]
    return {"feature_cols": features, "label_col": {"name": "label", "dtype": "float"}}


def _build(into: Path, columns: dict[str, Any], **files: str) -> None:
    """Raw Parquet to ids and numbers in Parquet."""
    shutil.rmtree(into, ignore_errors=True)
    processor = FeatureProcessor(dataset_id=into.name, data_root=str(into.parent), **columns)
    build_dataset(processor, data_format="parquet", **files)


def _criteo(folder: Path, *, into: str) -> Path:
    made = folder / "peers" / into
    columns = _columns(numbers=NUMBERS, categories=CATEGORIES, kind="str")
    _build(made, columns, train_data=str(train_rows(folder)), valid_data=str(valid_rows(folder)))
    return made


def prepare(folder: Path) -> Turn:
    """Raw Parquet to encoded Parquet."""

    def turn() -> int:
        made = _criteo(folder, into="fuxictr-turn")
        return sum(len(pd.read_parquet(made / f"{split}.parquet", columns=["label"])) for split in ("train", "valid"))

    return turn


def _encoded(folder: Path) -> tuple[FeatureMap, Path]:
    """Of the rows as prepared, and a turn's part of them."""
    made, part = folder / "peers" / NAME, folder / "peers" / f"{NAME}-turn.parquet"
    if not part.exists():
        _criteo(folder, into=NAME)
        pd.read_parquet(made / "train.parquet")[:TURN_ROWS].to_parquet(part)
    return _features(made, dim=DIM), part


def _features(made: Path, *, dim: int) -> FeatureMap:
    features = FeatureMap(made.name, str(made))
    features.load(str(made / "feature_map.json"), {"embedding_dim": dim})
    return features


def _network(features: FeatureMap, folder: Path, **settings: Any) -> PlainRows:
    fixed = {"optimizer": "adam", "loss": "binary_crossentropy", "verbose": 0, "metrics": METRICS}
    model_root = folder / "peers" / "models"
    (model_root / features.dataset_id).mkdir(parents=True, exist_ok=True)
    return PlainRows(features, model_root=str(model_root), **fixed, **settings)


def _criteo_network(features: FeatureMap, folder: Path) -> PlainRows:
    streams = {f"mlp{place}_hidden_units": list(HIDDEN) for place in (1, 2)}
    norms = {f"mlp{place}_batch_norm": True for place in (1, 2)}
    gates = {"fs_hidden_units": [GATE_HIDDEN], "num_heads": HEADS}
    return _network(features, folder, embedding_dim=DIM, **streams, **norms, **gates)


def train(folder: Path) -> Turn:
    """An epoch of training by its trainer, with its loader."""
    features, part = _encoded(folder)
    rows, _ = RankDataLoader(features, stage="train", train_data=str(part), batch_size=BATCH, data_format="parquet")
    return _training(_criteo_network(features, folder), rows)


def train_in_memory(folder: Path) -> Turn:
    """The same on batches that have been read already."""
    features, part = _encoded(folder)
    rows, _ = RankDataLoader(features, stage="train", train_data=str(part), batch_size=BATCH, data_format="parquet")
    return _training(_criteo_network(features, folder), list(rows))


def _training(network: PlainRows, batches: Any) -> Turn:
    network._max_gradient_norm, network._total_steps, network._stop_training = 10.0, 0, False
    network._eval_steps = 10**9  # which its ``fit`` would set to evaluate after the epoch

    def turn() -> int:
        network.train_epoch(batches)
        return TURN_ROWS

    return turn


def evaluate(folder: Path) -> Turn:
    """AUC and log loss of encoded rows."""
    features, part = _encoded(folder)
    network = _criteo_network(features, folder)
    rows = RankDataLoader(features, stage="test", test_data=str(part), batch_size=BATCH, data_format="parquet")

    def turn() -> int:
        network.evaluate(rows)
        return TURN_ROWS

    return turn


def _frappe(folder: Path) -> tuple[PlainRows, Path]:
    """The network of the published recipe, and its rows."""
    made, rows = folder / "peers" / "fuxictr-frappe", frappe_rows()
    if not (made / "test.parquet").exists():
        files = {f"{split}_data": str(rows / f"{split}.parquet") for split in ("train", "valid", "test")}
        _build(made, _columns(numbers=(), categories=FRAPPE, kind="int"), **files)
    seed_everything(seed=2021)
    streams = {"mlp1_hidden_units": [400], "mlp2_hidden_units": [100], "mlp1_batch_norm": True, "mlp2_batch_norm": True}
    gates = {"fs_hidden_units": [400], "fs1_context": ["user"], "fs2_context": ["item"], "num_heads": 5}
    against = {"mlp1_dropout": 0.4, "mlp2_dropout": 0.4, "embedding_regularizer": 0.05}
    return _network(_features(made, dim=10), folder, embedding_dim=10, **streams, **gates, **against), made


def frappe_train(folder: Path) -> Turn:
    """A run until valid AUC has not risen for two epochs, validation included."""

    def turn() -> int:
        network, made = _frappe(folder)
        files = {f"{split}_data": str(made / f"{split}.parquet") for split in ("train", "valid")}
        train, valid = RankDataLoader(
            network.feature_map, stage="train", batch_size=4096, data_format="parquet", **files
        )
        network.fit(train, epochs=100, validation_data=valid)
        tell(folder, NAME, epochs=network._epoch_index + 1)
        return int((network._epoch_index + 1) * train.num_samples)

    return turn


def frappe_test(folder: Path) -> Turn:
    """AUC of the test rows by the best epoch of that run."""
    network, made = _frappe(folder)
    network.load_weights(network.checkpoint)
    file = str(made / "test.parquet")
    test = RankDataLoader(network.feature_map, stage="test", test_data=file, batch_size=4096, data_format="parquet")

    def turn() -> int:
        tell(folder, NAME, test_auc=float(network.evaluate(test)["AUC"]))
        return int(test.num_samples)

    return turn
