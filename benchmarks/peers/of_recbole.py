"""RecBole's side: its DeepFM, by its own dataset, trainer and metrics.

It reads text of its own format, which is written before. It has no batch norm in this network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.context_aware_recommender.deepfm import DeepFM
from recbole.trainer import Trainer
from recbole.utils import init_seed

from benchmarks.peers.side import recbole_rows
from benchmarks.speed.size import BATCH, CATEGORIES, DIM, HIDDEN, NUMBERS, TURN_ROWS
from benchmarks.speed.turns import Turn


def _config(folder: Path) -> tuple[Config, int]:
    """Its settings, and how many rows there are."""
    os.chdir(folder)  # where it leaves its logs
    with recbole_rows(folder).open() as lines:
        num_rows = sum(1 for _ in lines) - 1
    share = TURN_ROWS / num_rows
    settings: dict[str, Any] = {
        "data_path": str(folder / "peers"),
        "checkpoint_dir": str(folder / "peers" / "models"),
        "load_col": {"inter": ["label", *NUMBERS, *CATEGORIES]},
        "USER_ID_FIELD": None,
        "ITEM_ID_FIELD": None,
        "numerical_features": list(NUMBERS),
        "normalize_all": True,
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": [share, 0.1, 0.9 - share]}, "order": "RO", "group_by": None, "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "epochs": 1,
        "train_batch_size": BATCH,
        "eval_batch_size": BATCH,
        "embedding_size": DIM,
        "mlp_hidden_size": list(HIDDEN),
        "dropout_prob": 0.0,
        "use_gpu": False,
        "show_progress": False,
    }
    config = Config(model="DeepFM", dataset=recbole_rows(folder).stem, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    return config, num_rows


def prepare(folder: Path) -> Turn:
    """Its file to ids and numbers in memory, split."""
    config, num_rows = _config(folder)

    def turn() -> int:
        data_preparation(config, create_dataset(config))
        return num_rows

    return turn


def _ready(folder: Path) -> tuple[Trainer, Any, Any]:
    config, _ = _config(folder)
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    return Trainer(config, DeepFM(config, train_data.dataset).to(config["device"])), train_data, valid_data


def train(folder: Path) -> Turn:
    """An epoch by its ``fit``."""
    trainer, rows, _ = _ready(folder)

    def turn() -> int:
        trainer.fit(rows, saved=False)
        return len(rows.dataset)

    return turn


def evaluate(folder: Path) -> Turn:
    """AUC and log loss by its ``evaluate``."""
    trainer, _, rows = _ready(folder)

    def turn() -> int:
        trainer.evaluate(rows, load_best_model=False)
        return len(rows.dataset)

    return turn
