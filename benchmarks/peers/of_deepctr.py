"""DeepCTR-Torch's side: its DeepFM, on rows that ctrgate has prepared, as it prepares none.

Numbers enter its MLP as they are, where ctrgate gives each a vector: its network is 429 wide below, ctrgate's 624.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import DeepFM

from benchmarks.peers.side import encoded_rows
from benchmarks.speed.size import BATCH, CATEGORIES, DIM, HIDDEN, NUMBERS, TURN_ROWS
from benchmarks.speed.turns import Turn


def _ready(folder: Path) -> tuple[DeepFM, dict[str, Any], Any]:
    """The network, the columns of a turn's rows, and their labels."""
    with np.load(encoded_rows(folder)) as rows:
        columns = {name: rows[name] for name in (*NUMBERS, *CATEGORIES)}
        features = [SparseFeat(name, int(rows[f"{name}:rows"]), embedding_dim=DIM) for name in CATEGORIES]
        labels = rows["label"]
    features += [DenseFeat(name, 1) for name in NUMBERS]
    penalties = {"l2_reg_linear": 0, "l2_reg_embedding": 0, "l2_reg_dnn": 0}
    network = DeepFM(features, features, dnn_hidden_units=HIDDEN, dnn_use_bn=True, **penalties)
    network.compile("adam", "binary_crossentropy", metrics=["auc", "binary_crossentropy"])
    return network, columns, labels


def train(folder: Path) -> Turn:
    """An epoch by its ``fit``."""
    network, columns, labels = _ready(folder)

    def turn() -> int:
        network.fit(columns, labels, batch_size=BATCH, epochs=1, verbose=0)
        return TURN_ROWS

    return turn


def evaluate(folder: Path) -> Turn:
    """AUC and log loss by its ``evaluate``."""
    network, columns, labels = _ready(folder)

    def turn() -> int:
        network.evaluate(columns, labels, batch_size=BATCH)
        return TURN_ROWS

    return turn
